"""What a swarm of phones counts: second by second, with every failure and protocol error named.

Counts are kept for each second, so that a test can ask for those since any moment. Times are the
machine's clock, which all processes of a test share. What a count means for a proof is never
decided here.
"""

import itertools
import time
from collections import Counter, deque

import msgspec

MOST_FAILURES = 5_000
MOST_SECONDS = 7_200
MOST_EXAMPLES = 3
"""Of each kind of protocol error this many are kept whole."""


class Failure(msgspec.Struct, frozen=True):
    """A call or a registration that did not do what it should."""

    at: float
    what: str
    """`call` as its caller saw it, `answer` as its callee did, or `registration`."""
    user: str
    """Whose phone counted it."""
    other: str
    """The other side of a call."""
    call_id: str
    began: float
    """When the call or the registration began."""
    phase: str
    status: int
    """The final response, 0 when none came."""
    cause: str


class Ledger:
    """The counts of one swarm."""

    def __init__(self) -> None:
        self.series: dict[int, Counter[str]] = {}
        self.failures: deque[Failure] = deque(maxlen=MOST_FAILURES)
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self._calls_ended: deque[float] = deque(maxlen=200_000)

    def count(self, name: str, much: int = 1) -> None:
        """Count something in this second."""
        second = int(time.time())
        counts = self.series.get(second)
        if counts is None:
            counts = self.series[second] = Counter()
            if len(self.series) > MOST_SECONDS:
                del self.series[next(iter(self.series))]
        counts[name] += much

    def answered(self) -> None:
        """Note that a call was answered."""
        self.count("answered")
        self._calls_ended.append(time.time())

    def fail(
        self, what: str, user: str, other: str, call_id: str, began: float, phase: str,
        status: int, cause: str,
    ) -> None:  # fmt: skip
        """Note a failure."""
        self.count(f"{what}s_failed")
        self.failures.append(
            Failure(time.time(), what, user, other, call_id, began, phase, status, cause)
        )

    def accuse(self, kind: str, example: bytes | str) -> None:
        """Note that the proxy broke the protocol."""
        self.count("protocol_errors")
        self.errors[kind] += 1
        self.show(kind, example)

    def show(self, kind: str, example: bytes | str) -> None:
        """Keep an example of something strange."""
        examples = self.examples.setdefault(kind, [])
        if len(examples) < MOST_EXAMPLES:
            text = example if isinstance(example, str) else example.decode("utf-8", "replace")
            examples.append(text)

    def totals(self, since: float = 0.0) -> dict[str, int]:
        """The sums of all counts since a moment."""
        sums: Counter[str] = Counter()
        for second, counts in self.series.items():
            if second >= int(since):
                sums.update(counts)
        return dict(sums)

    def longest_gap(self, since: float = 0.0) -> float:
        """The longest time in which no call was answered, between the first and the last."""
        moments = [moment for moment in self._calls_ended if moment >= since]
        return max((b - a for a, b in itertools.pairwise(moments)), default=0.0)
