"""Everything the world can tell the core.

Each event has exactly one taker, in the table of `core.py`. An event that answers an effect
carries the effect's number, and every such question is answered exactly once, failure included.
No parsed message belongs here.
"""

from enum import Enum
from typing import TypeAlias

import msgspec

from chordial_node.boundary.control import Question
from chordial_node.config import ListenerConfig
from chordial_node.ids import NodeId

Address: TypeAlias = tuple[str, int]
"""Host (an IP literal without brackets) and port."""

Record: TypeAlias = tuple[bytes, bytes | None]
"""A key and its value on disk; None deletes."""


class LinkFailure(Enum):
    """Why a link that the core asked for could not be opened."""

    REFUSED = "refused"
    """Nobody listens at the peer's own address: with a broken stream, proof that it is gone."""
    UNREACHABLE = "unreachable"
    IDENTITY = "identity"
    """Somebody answered, but proved another Node-ID, or none."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened outside of the core."""


class Started(Event, frozen=True):
    """The process runs, its disk was read: the first event of each core."""

    wall_offset: float
    """Seconds to add to the monotonic clock to get Unix time."""
    records: tuple[tuple[bytes, bytes], ...]
    """Everything on disk."""


class IdentityTaken(Event, frozen=True):
    """This peer's certificate was taken up: at the start, and renewed while it runs."""

    not_after: float
    """Unix time."""
    bundle_hash: str
    revoked: tuple[NodeId, ...] = ()
    """Peers whose certificates count no more: no link to them may stay."""
    rekeyed: tuple[NodeId, ...] = ()
    """Peers of which another key counts now: who is at the other end must prove it anew."""


class SeedsFound(Event, frozen=True):
    """What the names among the seeds resolve to at present, own addresses perhaps included."""

    addresses: tuple[Address, ...]


class AdvertiseChanged(Event, frozen=True):
    """Phones know the listeners by other addresses from now on."""

    listeners: tuple[ListenerConfig, ...]
    """The same ones in the same order, but for what is advertised."""


class FaultFound(Event, frozen=True):
    """The edge has tried its own listeners: one of them does not answer, or all do again."""

    reason: str
    """Empty: nothing is wrong."""


class DeadlineReached(Event, frozen=True):
    """Nothing happened but time: the core's own deadline is due."""


class ClockStepped(Event, frozen=True):
    """The wall clock was set; the monotonic clock went on."""

    wall_offset: float


class LoopLagged(Event, frozen=True):
    """The driver's loop ran late: time-outs must stretch, nobody is to be accused."""

    seconds: float


class LinkOpened(Event, frozen=True):
    """A link is up and mutual TLS has proven the peer's Node-ID.

    The core numbers the links that it asked for (even), the edge those it accepted (odd).
    """

    link: int
    node: NodeId
    remote: Address


class LinkFailed(Event, frozen=True):
    """A link that the core asked for could not be opened."""

    link: int
    failure: LinkFailure
    reason: str


class LinkLost(Event, frozen=True):
    """An open link has ended, for whatever reason; its number is never used again."""

    link: int
    reason: str


class FrameReceived(Event, frozen=True):
    """One whole frame of envelopes arrived on a link."""

    link: int
    data: bytes


class FrameWritten(Event, frozen=True):
    """The link may take its next frame: the only back-pressure there is."""

    link: int


class Persisted(Event, frozen=True):
    """All records up to this sequence are on disk: one event for a whole group commit."""

    sequence: int


class PersistFailed(Event, frozen=True):
    """Nothing after the last reported sequence, up to this one, is on disk."""

    sequence: int
    reason: str


class DatagramReceived(Event, frozen=True):
    """A datagram arrived on a SIP listener."""

    listener: int
    source: Address
    data: bytes


class FlowOpened(Event, frozen=True):
    """A SIP connection is up: one that the core asked for (even) or an accepted one (odd)."""

    flow: int
    listener: int
    remote: Address
    node: NodeId | None
    """The Node-ID that mutual TLS has proven, on a peer-to-peer connection."""


class FlowFailed(Event, frozen=True):
    """A SIP connection that the core asked for could not be opened."""

    flow: int
    reason: str


class FlowReceived(Event, frozen=True):
    """Bytes arrived on a SIP connection, cut anywhere."""

    flow: int
    data: bytes


class FlowLost(Event, frozen=True):
    """An open SIP connection has ended; its number is never used again."""

    flow: int
    reason: str


class Asked(Event, frozen=True):
    """The control service has a question; `Answered` with the same number is owed."""

    call: int
    question: Question


class StopAsked(Event, frozen=True):
    """The process is to end; `Stopped` is owed: at once, unless a drain is wished."""

    leave: bool
    """Drain, hand the range over and leave; otherwise the range is kept."""
    restart: bool = False
    """Drain, but keep the range."""
