"""Fingers and arcs against the ring as a plain sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from chordial_node.ids import RING_SIZE, NodeId, between, distance, offset
from chordial_node.overlay.ring.fingers import arc_length, fingers, next_in_arc, split

nodes = st.lists(
    st.binary(min_size=16, max_size=16).map(NodeId), min_size=1, max_size=40, unique=True
).map(sorted)


def test_fingers_double_their_distance() -> None:
    live = [NodeId(bytes([index]) + bytes(15)) for index in range(0, 256, 4)]
    assert [node[0] for node in fingers(live, live[0])] == [4, 8, 16, 32, 64, 128]


@given(nodes)
def test_the_first_finger_is_the_successor_and_each_is_first_after_its_power(
    live: list[NodeId],
) -> None:
    own = live[0]
    chosen = fingers(live, own)
    expected = []
    for power in range(128):
        start = offset(own, 1 << power)
        ahead = [node for node in live if node != own and distance(own, node) >= 1 << power]
        if ahead:
            expected.append(min(ahead, key=lambda node: distance(start, node)))
    assert chosen == list(dict.fromkeys(expected))


@given(nodes, st.data())
def test_a_broadcast_reaches_everybody_once(live: list[NodeId], data: st.DataObject) -> None:
    origin = data.draw(st.sampled_from(live))
    reached: list[NodeId] = []
    waiting = [(origin, origin)]
    while waiting:
        own, end = waiting.pop()
        chosen = fingers(live, own, arc_end=end)
        assert split(chosen, own, end) == split(fingers(live, own), own, end)
        for child, part_end in split(chosen, own, end):
            reached.append(child)
            waiting.append((child, part_end))
    assert sorted([*reached, origin]) == live


@given(nodes, st.data())
def test_what_a_dead_child_owed_goes_to_the_next_of_its_arc(
    live: list[NodeId], data: st.DataObject
) -> None:
    after, end = data.draw(st.sampled_from(live)), data.draw(st.sampled_from(live))
    inside = [node for node in live if between(after, node, end)]
    expected = min(inside, key=lambda node: distance(after, node), default=None)
    assert next_in_arc(live, after, end) == expected


def test_skipped_peers_are_replaced_by_the_next_one() -> None:
    live = [NodeId(bytes([index]) + bytes(15)) for index in (0, 1, 2, 3)]
    assert fingers(live, live[0], {live[1]})[0] == live[2]


def test_an_arc_from_a_peer_to_itself_is_the_whole_ring() -> None:
    own = NodeId(bytes(16))
    assert arc_length(own, own) == RING_SIZE
    assert arc_length(own, NodeId(bytes(15) + b"\x07")) == 7
