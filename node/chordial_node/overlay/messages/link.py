"""Link control: what the two ends of a link tell each other, one hop, without an answer."""

from typing import ClassVar

import msgspec

from chordial_node.ids import NodeId
from chordial_node.overlay.messages.envelope import MemberRecord, Message


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


class Goodbye(LinkMessage, frozen=True):
    """The sender has no room for an idle link: it reads on for a moment and writes no more."""

    CODE: ClassVar[int] = 0xF113
