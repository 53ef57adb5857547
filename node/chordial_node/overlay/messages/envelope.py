"""The envelope, and what every message of the overlay is made of (RFC 6940 §6.3).

A frame is a list of envelopes; an envelope's body stays bytes until its destination, so that a
forward never decodes it. The types say what a field may be, so that what is decoded is never out
of range. No behavior belongs here.
"""

from enum import IntEnum
from typing import Annotated, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from chordial_node.config import Port
from chordial_node.ids import Identifier, NodeId
from chordial_node.kernel.tracing import Trace

PROTOCOL_VERSION = 1
INITIAL_TTL = 100
"""RFC 6940 §11.1: the default of initial-ttl."""
ERROR = 0xFFFF

Natural: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 62)]
"""A count or a time: adding to it never leaves what msgpack and the disk can hold."""
Code: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 32)]
"""A Kind-ID, or any other 32 bits."""
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=86_400)]
PeerAddress: TypeAlias = tuple[Annotated[str, Meta(max_length=255)], Port]
"""Host and port that a peer says of itself."""


class Envelope(msgspec.Struct, array_like=True):
    """The forwarding header (RFC 6940 §6.3.2) around a body that only its destination decodes."""

    method: Code
    """A message code: a request is odd, its answer one more; 0xF000 and up is ours."""
    transaction: int
    """64 random bits of the origin; a re-sent request keeps them."""
    source: NodeId
    """Who made this envelope."""
    destination: Identifier
    """A Node-ID or a Resource-ID; `WILDCARD` for link control."""
    to_resource: bool
    """The destination is whoever is responsible for it, not the node of that name."""
    ttl: int
    via: list[NodeId]
    """Of a request: the peers it came through, the last one last. Of an answer: those still ahead,
    the next one last."""
    avoid: list[NodeId]
    """Peers found dead on the way, at most three: route around them, stand in for them."""
    trace: Trace | None
    hops: int
    """Of an answer: how many links the request crossed. Of a request: 0."""
    body: bytes


class Rank(IntEnum):
    """What is known of a member at one incarnation; the larger rank wins."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3
    BACK = 4
    """Alive after all, said by its own side after a partition."""


class MemberRecord(msgspec.Struct, array_like=True, frozen=True):
    """What the overlay knows of one peer; merged by the larger (incarnation, rank)."""

    node_id: NodeId
    incarnation: Natural
    rank: int
    name: str
    overlay_address: PeerAddress
    sip_address: PeerAddress
    """Its peer-to-peer SIP listener (`sip.peer`)."""
    failure_domain: str
    can_store: bool
    accuser: NodeId | None = None
    """Of a death: who declared it."""
    is_ending: bool = False
    """It drains: it will leave, or be away for a restart."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One stored value (RFC 6940 §7 StoredData), or the marker of one that ended."""

    key: bytes
    """The dictionary key; empty for the data model single."""
    value: bytes
    exists: bool
    """False: removed (RFC 6940 §7.4.1.3). A value that expired and shrank keeps True, and thereby
    its place in the order: its digest says that the value is gone."""
    storage_time_ms: Natural
    """Unix time stamped by the owner: max(now, previous + 1)."""
    expires_at_ms: Natural
    """Absolute, the same on every peer."""
    keep_until_ms: Natural
    """The greatest expires_at of anything this entry superseded, itself included."""
    acceptor: NodeId
    """The peer that accepted it from outside, proven hop by hop by mutual TLS."""
    precedence: bytes = b""
    """Of a registration: 28 bytes that order before the storage time (time the Call-ID was first
    accepted, hash of the Call-ID, CSeq). Empty otherwise."""
    digest: bytes = b""
    """Of a marker whose value is gone: the digest of the value, which the order needs."""


class Message(msgspec.Struct, array_like=True, frozen=True):
    """The body of an envelope."""

    CODE: ClassVar[int] = 0


class Request(Message, frozen=True):
    """Asks one destination for one answer."""


class Answer(Message, frozen=True):
    """Answers one request."""


class ErrorAnswer(Answer, frozen=True):
    """RFC 6940 §6.3.3.1."""

    CODE: ClassVar[int] = ERROR
    code: int
    info: str
    retry_after: Seconds = 0.0
    data: bytes = b""
