"""Proof 2, the phone behind a symmetric NAT that says nothing for three minutes and is called.

It registered when the first test that wants it began, and waits while others work. "Quiet" is
what a capture at the phone shows: it has sent nothing of its own, and answered what keeps its
flow alive.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.fleet import UDP, Fleet
from tests.cluster.harness import network
from tests.cluster.harness.cluster import NODES
from tests.cluster.phones import foreign
from tests.cluster.phones.foreign import Edge
from tests.cluster.quiet import QUIET_USER, QuietPhone
from tests.integration import sipp

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

CALLER = 73
IDLE_SECONDS = 180.0


@pytest.fixture
def caller(fleet: Fleet) -> Iterator[str]:
    """The namespace of who calls, through another node than the quiet phone."""
    network.remove_phone(CALLER)
    yield network.add_phone(CALLER, NODES, gateway=1)
    network.remove_phone(CALLER)


def test_a_phone_behind_a_symmetric_nat_is_called_after_three_minutes_of_silence(
    fleet: Fleet, quiet_phone: QuietPhone, caller: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    fleet.add_users("erna")
    left = quiet_phone.since + IDLE_SECONDS - time.monotonic()
    tell(f"quiet phone: {max(left, 0.0):.0f} of {IDLE_SECONDS:.0f} s waited for it alone")
    time.sleep(max(left, 0.0))  # the silence itself
    own = quiet_phone.said_unasked()
    edge = Edge(fleet.address, UDP)
    called = foreign.call(tmp_path, caller, edge, [("erna", QUIET_USER)], "-d", "500")
    assert own == []
    assert called == sipp.Counts(1, 0, 0)
    report = quiet_phone.swarm.report()
    assert report.count("heard") == report.count("answers_completed") == 1, report.told()
    assert report.protocol_errors == {}, report.examples
    assert report.count("requests") >= 5, "it was not kept alive"
