"""What enrollment counts, as Prometheus reads it."""

from collections.abc import Iterator, Mapping

from chordial_operator.enrollment.checks import Reason
from chordial_operator.enrollment.last_issue import Step

NAME = "chordial_operator_enrollment_total"
OUTCOMES = (
    *sorted(step.value for step in Step if step is not Step.REFUSED),
    *sorted(reason.value for reason in Reason),
    "failed",
)


def enrollment_lines(outcomes: Mapping[str, int]) -> Iterator[str]:
    """Give the requests by outcome; one that never happened is told as 0."""
    yield f"# HELP {NAME} Requests for a certificate by what came of them."
    yield f"# TYPE {NAME} counter"
    for outcome in OUTCOMES:
        yield f'{NAME}{{outcome="{outcome}"}} {outcomes.get(outcome, 0)}'
