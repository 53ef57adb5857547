"""Fingers and arcs: which peers a broadcast goes to, and how much of the ring each of them serves.

protocol.md §2: an event for an arc goes to each live finger inside it, with the end of its part.
Fingers are chosen by identifier (first live peer at or after own + 2^k), so that they stay the
same while others come and go. Pure functions over a sorted list; no table, link or clock here.
"""

from bisect import bisect_left
from collections.abc import Container

from chordial_node.ids import ID_LENGTH, RING_SIZE, NodeId, between, distance, offset


def fingers(
    live: list[NodeId],
    own: NodeId,
    skip: Container[NodeId] = (),
    arc_end: NodeId | None = None,
) -> list[NodeId]:
    """Return the fingers of a peer, nearest first: its successor, then doubling distances.

    With an end those inside the open arc (own, arc_end) alone: most arcs end at the next peer.
    """
    chosen: list[NodeId] = []
    start = int.from_bytes(own, "big")
    reach = 1
    while reach < RING_SIZE:
        wanted = ((start + reach) % RING_SIZE).to_bytes(ID_LENGTH, "big")
        node = _first(live, wanted, own, skip)
        if node is None:
            break
        gap = (int.from_bytes(node, "big") - start) % RING_SIZE
        if gap < reach or (arc_end is not None and not between(own, node, arc_end)):
            break
        chosen.append(node)
        reach = 1 << gap.bit_length()
    return chosen


def split(chosen: list[NodeId], own: NodeId, arc_end: NodeId) -> list[tuple[NodeId, NodeId]]:
    """Return the fingers inside the open arc (own, arc_end), each with the end of its part.

    An arc from a peer to itself is the whole ring but that peer.
    """
    inside = [node for node in chosen if between(own, node, arc_end)]
    return list(zip(inside, [*inside[1:], arc_end], strict=True)) if inside else []


def next_in_arc(
    live: list[NodeId], after: NodeId, arc_end: NodeId, skip: Container[NodeId] = ()
) -> NodeId | None:
    """Return the next live peer strictly inside (after, arc_end), or None."""
    node = _first(live, offset(after, 1), after, skip)
    return node if node is not None and between(after, node, arc_end) else None


def arc_length(own: NodeId, arc_end: NodeId) -> int:
    """Return how much of the ring an arc covers; from a peer to itself: all of it."""
    return distance(own, arc_end) or RING_SIZE


def _first(
    live: list[NodeId], identifier: bytes, own: NodeId, skip: Container[NodeId]
) -> NodeId | None:
    """Return the first live peer at or after an identifier that is neither own nor skipped."""
    start = bisect_left(live, identifier)
    for index in range(start, start + len(live)):
        node = live[index % len(live)]
        if node == own:
            return None
        if node not in skip:
            return node
    return None
