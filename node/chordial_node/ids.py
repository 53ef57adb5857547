"""Identifiers of the overlay: 16 big-endian bytes that order like the numbers they stand for.

RFC 6940 §10.1 and §10.2. A `NewType` of bytes, because bisect and msgspec take bytes as they are;
what msgspec decodes has the right length, or is refused. Ring arithmetic lives here and nowhere
else; nothing that knows a peer or a message belongs here.
"""

import hashlib
from typing import Annotated, NewType, TypeAlias

from msgspec import Meta

ID_LENGTH = 16
Identifier: TypeAlias = Annotated[bytes, Meta(min_length=ID_LENGTH, max_length=ID_LENGTH)]
NodeId = NewType("NodeId", Identifier)
ResourceId = NewType("ResourceId", Identifier)

RING_SIZE = 1 << (8 * ID_LENGTH)
WILDCARD = NodeId(b"\xff" * ID_LENGTH)
"""Consumed by whoever receives it, never forwarded (RFC 6940 §6.1.1): link control uses it."""


def node_id(text: str) -> NodeId:
    """Return the Node-ID that 32 hexadecimal digits spell; ValueError says what is wrong."""
    return NodeId(_from_hex("Node-ID", text))


def resource_id(text: str) -> ResourceId:
    """Return the Resource-ID that 32 hexadecimal digits spell; ValueError says what is wrong."""
    return ResourceId(_from_hex("Resource-ID", text))


def resource_id_of(name: bytes) -> ResourceId:
    """Return the Resource-ID of a Resource Name: the first 128 bits of its SHA-1 (§10.2)."""
    return ResourceId(hashlib.sha1(name, usedforsecurity=False).digest()[:ID_LENGTH])


def between(after: bytes, identifier: bytes, before: bytes) -> bool:
    """Tell whether an identifier lies strictly on the clockwise open arc from one to another.

    From an identifier to itself the arc is the whole ring but that identifier.
    """
    if after < before:
        return after < identifier < before
    return after < identifier or identifier < before


def within(after: bytes, identifier: bytes, last: bytes) -> bool:
    """Tell whether an identifier lies in the half-open range (after, last] of the ring."""
    return identifier == last or between(after, identifier, last)


def distance(start: bytes, end: bytes) -> int:
    """Return the clockwise distance from one identifier to another."""
    return (int.from_bytes(end, "big") - int.from_bytes(start, "big")) % RING_SIZE


def offset(start: bytes, by: int) -> bytes:
    """Return the identifier that lies a number of steps clockwise from another."""
    return ((int.from_bytes(start, "big") + by) % RING_SIZE).to_bytes(ID_LENGTH, "big")


def spread_node_ids(count: int) -> list[NodeId]:
    """Return Node-IDs that divide the ring evenly, in ring order, none of them zero."""
    step = RING_SIZE // count
    return [NodeId(offset(b"\0" * ID_LENGTH, step * index + step // 2)) for index in range(count)]


def _from_hex(what: str, text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise ValueError(f"a {what} is 32 hexadecimal digits, not {text!r}") from error
    if len(value) != ID_LENGTH:
        raise ValueError(f"a {what} is 32 hexadecimal digits, not {len(text)}: {text!r}")
    return value
