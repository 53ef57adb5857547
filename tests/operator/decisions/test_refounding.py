"""Founding once more only where nobody else could, and nothing can be lost."""

import msgspec
import pytest

from chordial_node.ids import NodeId
from chordial_operator.decisions.refounding import founders_anew
from chordial_operator.decisions.views import PeerView
from tests.operator.decisions.views_made import NOW, id_of, peer, report

GONE = tuple(id_of(f"gone-{number}") for number in range(4))
SUCCESSORS = 3


def ringless(name: str, **changes: object) -> PeerView:
    said = msgspec.structs.replace(report(is_ready=False, in_step=False), entries=0)
    alone = msgspec.structs.replace(peer(name, ready=False), report=said)
    return msgspec.structs.replace(alone, **changes)


SEEDS = tuple(ringless(f"seeds-{number}") for number in range(5))
RELAY = ringless("edge-0")


def asked(peers: tuple[PeerView, ...], founders: tuple[NodeId, ...] = GONE) -> tuple[NodeId, ...]:
    return founders_anew(peers, founders, SUCCESSORS, NOW)


def test_the_first_seeds_found_when_no_founder_is_left() -> None:
    assert asked((*SEEDS, RELAY)) == tuple(seed.node_id for seed in SEEDS[:4])


def test_a_majority_of_founders_needs_nobody() -> None:
    founders = tuple(seed.node_id for seed in SEEDS[:3])
    assert asked(SEEDS, (*founders, GONE[0])) == ()
    assert asked(SEEDS, (*founders[:2], *GONE[:2])) != ()


def test_too_few_seeds_found_nothing() -> None:
    assert asked((*SEEDS[:3], RELAY)) == ()


@pytest.mark.parametrize(
    "other",
    [
        ringless("edge-1", report=msgspec.structs.replace(report(is_ready=False), entries=1)),
        ringless("edge-1", report=report()),
        ringless("edge-1", report=None),
        ringless("edge-1", report=report(is_ready=False, at=NOW - 60.0)),
        ringless("edge-1", report=report(is_ready=False, members_alive=(GONE[0], GONE[1]))),
        ringless("edge-1", pod=None),
        ringless("edge-1", leaving_since=NOW - 5.0),
    ],
    ids=["holds", "serves", "silent", "was-heard", "sees-others", "no-pod", "leaves"],
)
def test_one_peer_that_may_hold_something_is_enough_to_wait(other: PeerView) -> None:
    assert asked((*SEEDS, other)) == ()
