"""Where in the ring the next peer stands (fleet H7): a founder's place, else the widest gap.

Pure, so that two operators with one view choose one place; and salted with the peer's name, so
that two names never get one Node-ID, whatever their views were.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence

from chordial_node.ids import ID_LENGTH, WILDCARD, NodeId, distance, offset
from chordial_operator.decisions.views import PeerView

_SALTED_LENGTH = ID_LENGTH // 2
_NOBODY = frozenset((NodeId(b"\0" * ID_LENGTH), WILDCARD))


def next_node_id(
    existing: Collection[NodeId], founders: Sequence[NodeId], salt: str, *, may_found: bool = True
) -> NodeId:
    """Return the first founder's Node-ID that nobody has, else one inside the widest gap.

    `existing` are those of all peers and of all that were shut out; `salt` names the peer: instance
    id, namespace, set and name. Only seeds may found: a relay keeps out of founders' places.
    """
    held = frozenset(existing)
    if may_found:
        for founder in founders:
            if founder not in held:
                return founder
    everyone = held.union(founders)
    middle = _middle_of_widest_gap(everyone)
    attempt = 0
    while True:
        low = hashlib.blake2b(f"{salt}/{attempt}".encode(), digest_size=_SALTED_LENGTH).digest()
        chosen = NodeId(middle[:_SALTED_LENGTH] + low)
        if chosen not in everyone and chosen not in _NOBODY:
            return chosen
        attempt += 1


def salt_of(instance_id: str, namespace: str, set_name: str, peer: str) -> str:
    """Return the salt of a peer's Node-ID."""
    return f"{instance_id}/{namespace}/{set_name}/{peer}"


def twins(peers: Iterable[PeerView]) -> tuple[str, ...]:
    """Return the peers whose Node-ID an older one has: two operators chose for two sets at once.

    None of them can have run beside the older one: enrollment and ring shut the second out.
    """
    first: dict[NodeId, str] = {}
    later = []
    for peer in sorted(peers, key=lambda each: (each.created_at, each.name)):
        if first.setdefault(peer.node_id, peer.name) != peer.name:
            later.append(peer.name)
    return tuple(later)


def _middle_of_widest_gap(held: Collection[NodeId]) -> bytes:
    ring = sorted(held)
    if not ring:
        return offset(b"\0" * ID_LENGTH, 1 << (8 * ID_LENGTH - 1))
    if len(ring) == 1:
        return offset(ring[0], 1 << (8 * ID_LENGTH - 1))
    gaps = [
        (distance(start, end), start) for start, end in zip(ring, [*ring[1:], ring[0]], strict=True)
    ]
    width, start = max(gaps, key=lambda gap: gap[0])  # of equals the first on the ring
    return offset(start, width // 2)
