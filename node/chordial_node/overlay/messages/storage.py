"""Requests and answers of storage (RFC 6940 §7.4); ours begin at 0xF000."""

from typing import ClassVar

import msgspec

from chordial_node.ids import NodeId, ResourceId
from chordial_node.overlay.messages.envelope import Answer, Code, Entry, Natural, Request

NOTHING_THERE = 1
"""A generation that fits only where nothing is or was: real ones begin at the time in ms."""


class KindData(msgspec.Struct, array_like=True, frozen=True):
    """The entries of one Kind at one Resource-ID, with its generation counter."""

    kind: Code
    generation: Natural
    """In a Store: 0 does not check, else it must equal the current one (§7.4.1.1), which
    NOTHING_THERE does where there is none."""
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

    kind: Code
    generation: Natural = 0
    """Nonzero and current: the answer is empty (not modified)."""
    keys: tuple[bytes, ...] = ()
    with_markers: bool = False
    """Also what ended and still orders: who stores next must not undo it."""


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
    kinds: tuple[Code, ...]


class FindAnswer(Answer, frozen=True):
    """Per Kind the closest Resource-ID that the responsible peer holds; zeros: none."""

    CODE: ClassVar[int] = 0x0E
    closest: tuple[tuple[int, ResourceId], ...]


class ReplicaItem(msgspec.Struct, array_like=True, frozen=True):
    """One entry with its place."""

    resource: ResourceId
    kind: Code
    generation: Natural
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
    covered: bytes = b""
    """The part up to here was compared: ask again from there; empty: all of it."""
    is_complete: bool = False
    """Who answers owns all of this range in step, or did until it ceded it."""
    in_step: bool = False
    """The range of who answers is in step."""
    after: bytes = b""
    """Where the range of who answers begins."""
    members: tuple[NodeId, ...] = ()
    """Who holds copies of the range of who answers, itself first."""
    is_durable: bool = True
    """All that was compared is on the disk of who answers."""
