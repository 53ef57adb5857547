"""The wire of the overlay: an envelope, and a struct for each request, answer and link message.

These structs are the definition: msgpack arrays, fields only ever added at the end, unknown
trailing fields ignored. A frame is a list of envelopes; an envelope's body stays bytes until its
destination, so that a forward never decodes it. Message codes are those of RFC 6940 §14.8 and
RFC 7851 §9.3; ours begin at 0xF000. No behavior belongs here.
"""

from enum import IntEnum
from typing import ClassVar, TypeVar

import msgspec

from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError

PROTOCOL_VERSION = 1
INITIAL_TTL = 100
"""RFC 6940 §11.1: the default of initial-ttl."""
ERROR = 0xFFFF


class Envelope(msgspec.Struct, array_like=True):
    """The forwarding header (RFC 6940 §6.3.2) around a body that only its destination decodes."""

    method: int
    """A message code: a request is odd, its answer one more; 0xF000 and up is ours."""
    transaction: int
    """64 random bits of the origin; a re-sent request keeps them."""
    source: NodeId
    """Who made this envelope."""
    destination: bytes
    """A Node-ID or a Resource-ID; `WILDCARD` for link control."""
    to_resource: bool
    """The destination is whoever is responsible for it, not the node of that name."""
    ttl: int
    via: list[NodeId]
    """Of a request: the peers it came through, the last one last. Of an answer: those still ahead,
    the next one last."""
    avoid: list[NodeId]
    """Peers that were found dead on the way, at most three: route around them, stand in for them."""
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
    incarnation: int
    rank: int
    name: str
    overlay_address: tuple[str, int]
    sip_address: tuple[str, int]
    """Its peer-to-peer SIP listener (`sip.peer`)."""
    failure_domain: str
    can_store: bool
    accuser: NodeId | None = None
    """Of a death: who declared it."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One stored value (RFC 6940 §7 StoredData), or the marker of one that ended."""

    key: bytes
    """The dictionary key; empty for the data model single."""
    value: bytes
    exists: bool
    """False: removed (RFC 6940 §7.4.1.3). A value that expired and shrank keeps True, and thereby
    its place in the order: its digest says that the value is gone."""
    storage_time_ms: int
    """Unix time stamped by the owner: max(now, previous + 1)."""
    expires_at_ms: int
    """Absolute, the same on every peer."""
    keep_until_ms: int
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
    retry_after: float = 0.0
    data: bytes = b""


# storage (RFC 6940 §7.4)


class KindData(msgspec.Struct, array_like=True, frozen=True):
    """The entries of one Kind at one Resource-ID, with its generation counter."""

    kind: int
    generation: int
    """In a Store: 0 does not check, else it must equal the current one (§7.4.1.1)."""
    entries: tuple[Entry, ...]


class StoreRequest(Request, frozen=True):
    """Store values of one resource, all or nothing (§7.4.1)."""

    CODE: ClassVar[int] = 0x07
    resource: ResourceId
    kinds: tuple[KindData, ...]
    """Storage times are stamped by the owner; expires_at_ms minus storage_time_ms is the
    lifetime that is asked."""


class StoreAnswer(Answer, frozen=True):
    """Stored durably by a majority of the replica set; per Kind its new generation."""

    CODE: ClassVar[int] = 0x08
    generations: tuple[tuple[int, int], ...]
    replicas: tuple[NodeId, ...]
    """Those that have acknowledged, the owner first."""
    storage_time_ms: int = 0
    is_degraded: bool = False


class FetchSpecifier(msgspec.Struct, array_like=True, frozen=True):
    """Which values of one Kind (§7.4.2.1); no keys: all of them."""

    kind: int
    generation: int = 0
    """Nonzero and current: the answer is empty (not modified)."""
    keys: tuple[bytes, ...] = ()


class FetchRequest(Request, frozen=True):
    """Fetch values of one resource (§7.4.2)."""

    CODE: ClassVar[int] = 0x09
    resource: ResourceId
    specifiers: tuple[FetchSpecifier, ...]
    from_replica: bool = False
    """Answer from what is held, markers included, without being the owner."""


class FetchAnswer(Answer, frozen=True):
    """The values that exist, per Kind that was asked."""

    CODE: ClassVar[int] = 0x0A
    kinds: tuple[KindData, ...]
    copies: int = 0
    """How many peers the answering owner knows to hold them."""
    is_degraded: bool = False
    is_complete: bool = False
    """Who answers owns this resource in step, or did until it ceded it: nobody knows more."""


class StatRequest(Request, frozen=True):
    """Metadata and digests instead of values (§7.4.3)."""

    CODE: ClassVar[int] = 0x19
    resource: ResourceId
    specifiers: tuple[FetchSpecifier, ...]


class EntryStat(msgspec.Struct, array_like=True, frozen=True):
    """An entry without its value."""

    key: bytes
    exists: bool
    storage_time_ms: int
    expires_at_ms: int
    size: int
    digest: bytes


class StatAnswer(Answer, frozen=True):
    """Per Kind: number, generation, entries."""

    CODE: ClassVar[int] = 0x1A
    kinds: tuple[tuple[int, int, tuple[EntryStat, ...]], ...]


class FindRequest(Request, frozen=True):
    """Which Resource-ID at or after this one has values of these Kinds (§7.4.4)."""

    CODE: ClassVar[int] = 0x0D
    resource: ResourceId
    kinds: tuple[int, ...]


class FindAnswer(Answer, frozen=True):
    """Per Kind the closest Resource-ID that the responsible peer holds; zeros: none."""

    CODE: ClassVar[int] = 0x0E
    closest: tuple[tuple[int, ResourceId], ...]


class ReplicaItem(msgspec.Struct, array_like=True, frozen=True):
    """One entry with its place."""

    resource: ResourceId
    kind: int
    generation: int
    entry: Entry


class ReplicateRequest(Request, frozen=True):
    """Merge entries: a replica Store (§7.4.1 with replica_number), repair, handover, in bulk."""

    CODE: ClassVar[int] = 0xF001
    items: tuple[ReplicaItem, ...]
    handover: bool = False
    """The receiver is to become their owner."""


class ReplicateAnswer(Answer, frozen=True):
    """All of them are on the disk of who answers."""

    CODE: ClassVar[int] = 0xF002
    newer: tuple[ReplicaItem, ...] = ()
    """Entries that the sender had older versions of."""


class RangeDigestRequest(Request, frozen=True):
    """Do we hold the same in the range (after, last]? Anti-entropy by buckets."""

    CODE: ClassVar[int] = 0xF003
    after: ResourceId
    last: ResourceId
    digests: tuple[bytes, ...]
    """One per bucket: the XOR of the digests of all entries in it, markers included."""
    sets: tuple[tuple[NodeId, ...], ...] = ()
    """Of an owner about its whole range: the sets that hold copies, the last one in step first."""


class RangeDigestAnswer(Answer, frozen=True):
    """The buckets that differ, and what the answering peer holds in them."""

    CODE: ClassVar[int] = 0xF004
    buckets: tuple[int, ...]
    items: tuple[ReplicaItem, ...]
    is_whole: bool = True
    """False: there is more in these buckets than fits; ask again from `covered` on."""
    covered: bytes = b""
    """The part up to here was compared; empty: all of it."""
    is_complete: bool = False
    """Who answers owns all of this range in step, or did until it ceded it."""
    in_step: bool = False
    """The range of who answers is in step."""
    after: bytes = b""
    """Where the range of who answers begins."""
    members: tuple[NodeId, ...] = ()
    """Who holds copies of the range of who answers, itself first."""


# ring (RFC 6940 §6.4.2, §10)


class JoinRequest(Request, frozen=True):
    """A joining peer asks its successor to be let in (§6.4.2.1)."""

    CODE: ClassVar[int] = 0x0F
    member: MemberRecord


class JoinAnswer(Answer, frozen=True):
    """Admitted: the highest incarnation known of the joiner, and the ring around it."""

    CODE: ClassVar[int] = 0x10
    incarnation: int
    predecessor: NodeId | None
    successors: tuple[NodeId, ...]
    members: tuple[MemberRecord, ...]


class LeaveRequest(Request, frozen=True):
    """A peer leaves; its neighbors close the gap at once (§6.4.2.2)."""

    CODE: ClassVar[int] = 0x11
    member: MemberRecord
    predecessor: NodeId | None
    successors: tuple[NodeId, ...]


class LeaveAnswer(Answer, frozen=True):
    """The gap is closed."""

    CODE: ClassVar[int] = 0x12


class UpdateRequest(Request, frozen=True):
    """Zave's query, and her notify when it says so (§6.4.2.3)."""

    CODE: ClassVar[int] = 0x13
    notify: bool
    """The sender takes the receiver for its first successor: rectify."""


class UpdateAnswer(Answer, frozen=True):
    """The whole extended successor list of who answers, and its predecessor."""

    CODE: ClassVar[int] = 0x14
    predecessor: NodeId | None
    successors: tuple[NodeId, ...]
    in_ring: bool
    members: tuple[MemberRecord, ...] = ()
    """Records of the peers named, so that the asker can dial them."""


class PingRequest(Request, frozen=True):
    """RFC 6940 §6.5.3."""

    CODE: ClassVar[int] = 0x17
    padding: bytes = b""


class PingAnswer(Answer, frozen=True):
    """A random response_id and the time in milliseconds."""

    CODE: ClassVar[int] = 0x18
    response_id: int
    time_ms: int


class RouteQueryRequest(Request, frozen=True):
    """Where would you send this (§6.4.2.4)?"""

    CODE: ClassVar[int] = 0x15
    destination: bytes
    to_resource: bool


class RouteQueryAnswer(Answer, frozen=True):
    """The next hop, or the answering peer itself when it is responsible."""

    CODE: ClassVar[int] = 0x16
    next_hop: NodeId
    rule: str


class PathTrackRequest(Request, frozen=True):
    """Where would you send this, and how are you (RFC 7851 §4.3)?"""

    CODE: ClassVar[int] = 0x27
    destination: bytes
    to_resource: bool


class PathTrackAnswer(Answer, frozen=True):
    """The next hop and the diagnostics of the answering peer."""

    CODE: ClassVar[int] = 0x28
    next_hop: NodeId
    rule: str
    queued_ms: float
    """How long what waits on the link to the next hop has been waiting."""
    uptime_seconds: float
    members: tuple[MemberRecord, ...] = ()
    """The record of the next hop."""


class ProposeRequest(Request, frozen=True):
    """A founder proposes to form the ring: nobody it can reach is in one."""

    CODE: ClassVar[int] = 0xF005
    proposer: NodeId
    number: int


class ProposeAnswer(Answer, frozen=True):
    """Agreed, on disk, to this proposal and no other; or already in a ring."""

    CODE: ClassVar[int] = 0xF006
    agreed: bool
    in_ring: bool
    member: MemberRecord


class FormRequest(Request, frozen=True):
    """The ring is formed: these are its members, in ring order."""

    CODE: ClassVar[int] = 0xF007
    proposer: NodeId
    members: tuple[MemberRecord, ...]


class FormAnswer(Answer, frozen=True):
    """The receiver has taken its place."""

    CODE: ClassVar[int] = 0xF008


# link control: one hop, no answer by transaction; destination is the wildcard


class LinkMessage(Message, frozen=True):
    """What the two ends of a link tell each other."""


class Hello(LinkMessage, frozen=True):
    """The first message on a link, from both ends."""

    CODE: ClassVar[int] = 0xF101
    version: int
    overlay_name: str
    member: MemberRecord
    wall_ms: int
    in_ring: bool


class LinkPing(LinkMessage, frozen=True):
    """A sign of life is wanted; the number comes back."""

    CODE: ClassVar[int] = 0xF103
    number: int


class LinkPong(LinkMessage, frozen=True):
    """A sign of life, with the sender's own loop lag."""

    CODE: ClassVar[int] = 0xF105
    number: int
    lag_ms: int


class EventGroup(msgspec.Struct, array_like=True, frozen=True):
    """Membership events for one arc of the ring, which the receiver is to serve."""

    arc_end: NodeId
    records: tuple[MemberRecord, ...]


class Events(LinkMessage, frozen=True):
    """Membership events on their way down the finger tree."""

    CODE: ClassVar[int] = 0xF107
    number: int
    groups: tuple[EventGroup, ...]


class EventsAck(LinkMessage, frozen=True):
    """All Events up to this number were taken, on this link."""

    CODE: ClassVar[int] = 0xF109
    number: int


class Report(LinkMessage, frozen=True):
    """The sender has heard nothing of a peer for too long; told to its first live successor."""

    CODE: ClassVar[int] = 0xF10B
    node_id: NodeId
    incarnation: int


class Doubt(LinkMessage, frozen=True):
    """The sender's request to a peer failed; its successor is to look at once."""

    CODE: ClassVar[int] = 0xF10D
    node_id: NodeId
    incarnation: int


class Digest(LinkMessage, frozen=True):
    """64 bucket hashes of the sender's table."""

    CODE: ClassVar[int] = 0xF10F
    hashes: tuple[int, ...]


class DigestDiff(LinkMessage, frozen=True):
    """The sender's records of the buckets that differ; those of the receiver are wanted too."""

    CODE: ClassVar[int] = 0xF111
    buckets: tuple[int, ...]
    """Buckets whose records the sender wants back; empty: none."""
    records: tuple[MemberRecord, ...]


MESSAGES: dict[int, type[Message]] = {
    message.CODE: message
    for base in (Request, Answer, LinkMessage)
    for message in base.__subclasses__()
}
"""Every message by its code."""

M = TypeVar("M", bound=Message)

_encoder = msgspec.msgpack.Encoder()
_frame_decoder = msgspec.msgpack.Decoder(list[Envelope])
_body_decoders = {code: msgspec.msgpack.Decoder(message) for code, message in MESSAGES.items()}


def encode_frame(envelopes: list[Envelope]) -> bytes:
    """Return the bytes of a frame."""
    return _encoder.encode(envelopes)


def decode_frame(data: bytes) -> list[Envelope]:
    """Return the envelopes of a frame; OverlayError(INVALID_MESSAGE) when it is malformed."""
    try:
        return _frame_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise OverlayError(ErrorCode.INVALID_MESSAGE, f"malformed frame: {error}") from error


def encode_body(message: Message) -> bytes:
    """Return the bytes of a body; its code travels in the envelope."""
    return _encoder.encode(message)


def decode_body(code: int, body: bytes) -> Message:
    """Return the message of a body; OverlayError when the code is unknown or the body malformed."""
    decoder = _body_decoders.get(code)
    if decoder is None:
        raise OverlayError(ErrorCode.INVALID_MESSAGE, f"unknown message code {code:#x}")
    try:
        message: Message = decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise OverlayError(ErrorCode.INVALID_MESSAGE, f"malformed {code:#x}: {error}") from error
    return message
