"""How a link begins: the Hello, and what may be wrong with it (protocol.md §1 and §3).

Mutual TLS has proven the Node-ID before; here it is told which overlay and which life of that
peer is at the other end. Pure functions.
"""

from chordial_node.ids import WILDCARD, NodeId
from chordial_node.overlay.messages import (
    PROTOCOL_VERSION,
    Envelope,
    Hello,
    LinkMessage,
    encode_body,
)
from chordial_node.overlay.table import Table


def control_envelope(own: NodeId, message: LinkMessage) -> Envelope:
    """Return the envelope of a link message: it goes one hop, to whoever is at the other end."""
    return Envelope(message.CODE, 0, own, WILDCARD, False, 1, [], [], None, 0, encode_body(message))


def objection_to(hello: Hello, node: NodeId, overlay_name: str, table: Table) -> str:
    """Return why a peer is refused after its Hello; empty: it is welcome.

    A peer that is not in the ring yet may have forgotten its incarnation: it is told at its Join.
    """
    member = hello.member
    if hello.version != PROTOCOL_VERSION:
        return f"it speaks version {hello.version}, this peer {PROTOCOL_VERSION}"
    if hello.overlay_name != overlay_name:
        return f"it belongs to the overlay {hello.overlay_name!r}, this peer to {overlay_name!r}"
    if member.node_id != node:
        return f"its Hello names Node-ID {member.node_id.hex()}, its certificate another"
    known = table.get(node)
    if known is None or not hello.in_ring or table.is_dead(node):
        return ""
    if member.incarnation < known.incarnation:
        return f"it is life {member.incarnation} of a peer whose life {known.incarnation} is known"
    return ""
