"""Proof 4 without its upgrade and cable: a drain and two kills while the operator is gone.

The operator is gone for as long as the drain and the kills take, and for a minute at least: the
five minutes of the text are the same thing at a greater length, since nothing here waits for it
(certificates live for days), and the tests have 25 minutes for everything.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.load.crowd import EXPIRES, HOLD, LABEL, OPERATOR, Crowd, told
from tests.cluster.phones.ledger import Failure

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

AWAY_SECONDS = 60.0
DRAINED = "node-3"
SET_UP_SECONDS = 10.0


def test_a_drain_and_two_kills_while_the_operator_is_gone(crowd: Crowd, tmp_path: Path) -> None:
    with crowd.load(tmp_path, "drain, kills, no operator") as load:
        with _without_operator(crowd):
            _drain(crowd)
            kills = [_kill(crowd, prefix) for prefix in ("edge-", "seed-")]
        crowd.wait_ready()
        report = load.end()
    of_kills = [each for each in report.failures if _may_be_of(each, kills)]
    crowd.tell(f"calls that failed by the kills: {len(of_kills)} of {report.count('tried')}")
    others = [told(each) for each in report.failures if each not in of_kills]
    assert others == []
    assert load.lost == []
    assert report.protocol_errors == {}, report.examples


@contextmanager
def _without_operator(crowd: Crowd) -> Iterator[None]:
    began = time.monotonic()
    crowd.installation.kubectl("scale", OPERATOR, "--replicas=0")
    crowd.installation.wait("--for=delete", "pods", "-l", "app.kubernetes.io/component=operator")
    try:
        yield
        time.sleep(max(0.0, began + AWAY_SECONDS - time.monotonic()))  # its absence is the trouble
    finally:
        crowd.installation.kubectl("scale", OPERATOR, "--replicas=2")
    crowd.installation.wait("--for=condition=Available", OPERATOR)
    crowd.tell(f"the operator was gone for {time.monotonic() - began:.0f} s")


def _drain(crowd: Crowd) -> None:
    """Drain a node of the fleet's peers, with the budget's leave, and give it back."""
    kubectl = crowd.cluster.kubectl
    before = {each for each, node in crowd.places().items() if node == DRAINED}
    began = time.monotonic()
    try:
        kubectl(
            "drain", DRAINED, "--ignore-daemonsets", "--delete-emptydir-data",
            f"--pod-selector={LABEL}", "--timeout=240s", timeout=250,
        )  # fmt: skip
        crowd.tell(f"{DRAINED} drained of {sorted(before)}: {time.monotonic() - began:.1f} s")
        crowd.all_ready()
    finally:
        kubectl("uncordon", DRAINED)
    assert before
    assert DRAINED not in crowd.places().values()


def _kill(crowd: Crowd, prefix: str) -> float:
    """Kill the process of a peer with SIGKILL; returns when."""
    pod = next(name for name in crowd.places() if name.startswith(prefix))
    at = time.time()
    crowd.kill(pod)
    crowd.installation.until(f"{pod} is another process", lambda: crowd.restarts(pod), 60)
    crowd.all_ready()
    crowd.tell(f"{pod} killed at {time.strftime('%H:%M:%S')}: ready {time.time() - at:.1f} s later")
    return at


def _may_be_of(failure: Failure, kills: list[float]) -> bool:
    """Whether a call ran or began while a killed peer's phones had not yet come back."""
    return any(
        failure.at > at and failure.began < at + EXPIRES / 2 + SET_UP_SECONDS
        and failure.began > at - HOLD - SET_UP_SECONDS
        for at in kills
    )  # fmt: skip
