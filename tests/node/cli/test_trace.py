"""The way of a lookup, drawn."""

from chordial_node.boundary.control import Hop
from chordial_node.cli.trace import path_lines
from chordial_node.ids import NodeId

A, B = NodeId(b"\x11" * 16), NodeId(b"\x22" * 16)


def test_each_hop_is_a_line_with_its_rule_and_round_trip() -> None:
    hops = (Hop(A, "peer-1", "self", 0.0, 0.0), Hop(B, "", "table", 0.0, 0.514))
    assert path_lines(hops) == ["peer-1", "└─ 22222222  by table, 0.51 ms"]


def test_a_peer_that_is_responsible_itself_says_so() -> None:
    assert path_lines((Hop(A, "peer-1", "self", 0.0, 0.0),)) == [
        "peer-1, which is responsible itself"
    ]
