"""Kinds: what may be stored, how much of it, for how long, and in which order versions stand.

RFC 6940 §7.2 and §7.3. The order is total and rests on the entry alone, so that merging is taking
the larger one, in any order, grouping and repetition.
"""

import hashlib
import struct
from enum import Enum, IntEnum

import msgspec

from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import Entry

DIGEST_LENGTH = 16
PRECEDENCE_LENGTH = 28
_NO_PRECEDENCE = bytes(PRECEDENCE_LENGTH)
_ORDER = struct.Struct(">28sQ?16s16s")
_PRECEDENCE = struct.Struct(">Q16sI")


class DataModel(Enum):
    """RFC 6940 §7.2; array is not used by any Kind of ours."""

    SINGLE = "single"
    DICTIONARY = "dictionary"


class KindId(IntEnum):
    """Kind-IDs of the private range (RFC 6940 §14.6)."""

    REGISTRATION = 0xF0000001
    CREDENTIALS = 0xF0000002
    OPEN_VALUE = 0xF0000003
    RELAY_DIRECTORY = 0xF0000004
    MAILBOX = 0xF0000005
    READINESS_PROBE = 0xF0000006


class Kind(msgspec.Struct, frozen=True):
    """What a Kind allows at one Resource-ID."""

    id: KindId
    name: str
    model: DataModel
    max_count: int
    """Entries that exist, markers not counted."""
    max_size: int
    """Bytes of one value."""
    max_lifetime_seconds: float


DAY = 86_400.0
YEARS = 3650 * DAY

KINDS: dict[int, Kind] = {
    kind.id: kind
    for kind in (
        Kind(KindId.REGISTRATION, "sip-registration", DataModel.DICTIONARY, 10, 4096, DAY),
        Kind(KindId.CREDENTIALS, "sip-credentials", DataModel.SINGLE, 1, 2048, YEARS),
        Kind(KindId.OPEN_VALUE, "open-value", DataModel.SINGLE, 1, 20 * 1024, 7 * DAY),
        Kind(KindId.READINESS_PROBE, "readiness-probe", DataModel.SINGLE, 1, 64, 3600.0),
    )
}


def kind_of(kind_id: int) -> Kind:
    """Return a Kind; OverlayError(UNKNOWN_KIND) with the Kind-ID when there is none (§7.4.1.1)."""
    kind = KINDS.get(kind_id)
    if kind is None:
        error = OverlayError(ErrorCode.UNKNOWN_KIND, f"unknown Kind-ID {kind_id:#x}")
        error.data = kind_id.to_bytes(4, "big")
        raise error
    return kind


def digest_of(entry: Entry) -> bytes:
    """Return the digest of an entry's value; a marker keeps that of the value it stands for."""
    return entry.digest or hashlib.blake2b(entry.value, digest_size=DIGEST_LENGTH).digest()


def order_of(entry: Entry) -> bytes:
    """Return 69 bytes that order like the entry among all versions of its key; larger wins."""
    return _ORDER.pack(
        entry.precedence or _NO_PRECEDENCE,
        entry.storage_time_ms,
        not entry.exists,
        entry.acceptor,
        digest_of(entry),
    )


def precedence_of(first_accepted_ms: int, call_id: bytes, cseq: int) -> bytes:
    """Return what orders registrations before their storage time."""
    hashed = hashlib.blake2b(call_id, digest_size=16).digest()
    return _PRECEDENCE.pack(first_accepted_ms, hashed, cseq)


def first_accepted_ms(precedence: bytes) -> int:
    """Return the time at which the Call-ID of a registration was first accepted."""
    return int.from_bytes(precedence[:8], "big")
