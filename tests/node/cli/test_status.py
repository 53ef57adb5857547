"""What a fleet's answers say about it: who is down, who has left, whether the ring is whole."""

from pathlib import Path

import pytest

from chordial_node.boundary.control import MemberStatus, StatusAnswer
from chordial_node.cli.fleet import Fleet
from chordial_node.cli.status import overlay_value, peer_states, peer_values
from chordial_node.ids import NodeId
from tests.node.cli.test_fleet import make

Answers = list[StatusAnswer | None]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return make(tmp_path / "state")


def answers_of(fleet: Fleet, without: str = "", state: str = "") -> Answers:
    """A ring of the peers that are there, who hold the absent one for what `state` says."""
    places = [peer for peer in fleet.file.peers if peer.name != without]
    nodes = [peer.id for peer in places]
    gone = tuple(
        MemberStatus(peer.id, peer.name, state, "127.0.0.1:1", False, 0.0)
        for peer in fleet.file.peers
        if peer.name == without
    )
    return [
        None if peer.name == without else answer(peer.id, peer.name, nodes, gone)
        for peer in fleet.file.peers
    ]


def answer(
    own: NodeId, name: str, nodes: list[NodeId], gone: tuple[MemberStatus, ...]
) -> StatusAnswer:
    place = nodes.index(own)
    others = (*nodes[place + 1 :], *nodes[:place])
    return StatusAnswer(
        node_id=own, name=name, overlay_name="laptop", state="ready", incarnation=1,
        predecessor=others[-1], successors=others, members=gone, links=len(others), keys=1,
        owned_keys=1, registrations=0, calls=0, copies=3, in_step=True, is_degraded=False,
        uptime_seconds=1.0, counters={},
    )  # fmt: skip


def test_a_whole_ring_is_well(fleet: Fleet) -> None:
    assert overlay_value(answers_of(fleet)) == {"size": 3, "copies": 3, "health": "ok"}


def test_who_is_silent_is_down_and_missed(fleet: Fleet) -> None:
    answers = answers_of(fleet, "peer-2", "dead")
    assert peer_states(fleet, answers) == ["ready", "down", "ready"]
    assert overlay_value(answers) == {"size": 2, "copies": 3, "health": "degraded"}


def test_who_has_left_in_good_order_is_not_missed(fleet: Fleet) -> None:
    answers = answers_of(fleet, "peer-2", "left")
    assert peer_states(fleet, answers) == ["ready", "left", "ready"]
    assert overlay_value(answers) == {"size": 2, "copies": 3, "health": "ok"}


def test_where_nobody_answers_all_are_down(fleet: Fleet) -> None:
    answers: Answers = [None, None, None]
    assert peer_states(fleet, answers) == ["down"] * 3
    assert overlay_value(answers) == {"size": 0, "copies": 0, "health": "down"}


def test_the_json_of_a_peer_holds_what_scripts_rely_on(fleet: Fleet) -> None:
    value = peer_values(fleet, answers_of(fleet))[0]
    assert isinstance(value, dict)
    wanted = {
        "name", "node_id", "state", "sip", "grpc", "http", "pid", "successors", "keys",
        "registrations",
    }  # fmt: skip
    assert wanted <= value.keys()
    assert value["sip"].keys() == {"udp", "tcp", "tls", "ws", "peer"}
