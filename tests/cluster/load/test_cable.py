"""Proof 4, last: a node's cable is pulled for good while phones register and call.

What fails in the seconds in which nobody can know that the node is gone is told, with how long it
lasted: flows to its relays, and new flows that Kubernetes goes on sending there until the node is
NotReady (fleet H26). Afterwards nothing fails, its peers are replaced by new identities, and
another node can be drained. The cable is plugged in again only when all has been counted.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.harness import network
from tests.cluster.load.crowd import EXPIRES, HOLD, LABEL, RELAYS, SEEDS, Crowd, told
from tests.cluster.phones.ledger import Failure

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

CUT, DRAINED = 3, "node-2"
"""The cut node is none through which phones go."""
NOTICED_SECONDS = 60.0
TRANSACTION_SECONDS = 32.0
"""RFC 3261, timers B and F: so long a phone waits for an answer of a peer that is gone."""


def test_a_cut_node_is_replaced_and_another_can_be_drained(crowd: Crowd, tmp_path: Path) -> None:
    with crowd.load(tmp_path, "cable") as load, _cut_off(crowd) as at:
        lost_peers = {p for p, node in crowd.places().items() if node == f"node-{CUT}"}
        assert lost_peers
        node = f"node/node-{CUT}"
        crowd.cluster.kubectl.wait("--for=condition=Ready=Unknown", node, seconds=NOTICED_SECONDS)
        noticed = time.time()
        crowd.tell(
            f"node-{CUT} cut off with {sorted(lost_peers)}: noticed {noticed - at:.1f} s later"
        )
        crowd.installation.until("its peers are replaced", lambda: _are_replaced(crowd), 240)
        crowd.tell(f"its peers replaced {time.time() - at:.1f} s after the cut")
        began = time.monotonic()
        crowd.cluster.kubectl(
            "drain", DRAINED, "--ignore-daemonsets", "--delete-emptydir-data",
            f"--pod-selector={LABEL}", "--timeout=240s", timeout=250,
        )  # fmt: skip
        crowd.tell(f"{DRAINED} drained after that: {time.monotonic() - began:.1f} s")
        crowd.cluster.kubectl("uncordon", DRAINED)
        crowd.installation.until("all are ready", lambda: _are_replaced(crowd), 120)
        crowd.wait_ready()
        report = load.end()
    of_cut = [each for each in report.failures if _is_of_cut(each, at, noticed)]
    crowd.tell(f"failed because of the cut: {len(of_cut)} of {report.count('tried')} calls tried")
    if of_cut:
        last = max(each.began for each in of_cut)
        crowd.tell(f"the last of them began {last - at:.1f} s after the cut")
    assert [told(each) for each in report.failures if each not in of_cut] == []
    assert load.lost == []


@contextmanager
def _cut_off(crowd: Crowd) -> Iterator[float]:
    network.pull_cable(CUT)
    try:
        yield time.time()
    finally:
        network.plug_cable(CUT)
        crowd.cluster.kubectl("uncordon", DRAINED)
        crowd.cluster.wait_ready()


def _are_replaced(crowd: Crowd) -> bool:
    there = crowd.ready_peers()
    return len(there) == SEEDS + RELAYS and f"node-{CUT}" not in there.values()


def _is_of_cut(failure: Failure, at: float, noticed: float) -> bool:
    begins_before = noticed + TRANSACTION_SECONDS + EXPIRES
    return failure.at > at and at - HOLD - TRANSACTION_SECONDS < failure.began < begins_before
