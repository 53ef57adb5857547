"""Everything that happened and that an operator may want to know: notices.

The adapters turn notices into log lines, metrics and spans; the simulator's checkers read the
same. What is only counted stands in `counters.py`. Each notice has an observer and a line in the
docs. No text for humans is composed here.
"""

from chordial_node.boundary.effects import Notice
from chordial_node.ids import NodeId, ResourceId

AttributeValue = str | int | float | bool


class SpanEnded(Notice, frozen=True):
    """A span of a sampled trace, told once, at its end, with ids and times of the core."""

    name: str
    kind: str
    """internal, server, client, producer or consumer."""
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    started: float
    ended: float
    error: str | None
    attributes: dict[str, AttributeValue]


class ProcedureFaulted(Notice, frozen=True):
    """A fault of our own ended a procedure: always a bug."""

    procedure: str
    error: str
    where: str


# links and membership


class LinkUp(Notice, frozen=True):
    """An overlay link is open."""

    node: NodeId
    dialed: bool


class LinkDown(Notice, frozen=True):
    """An overlay link has ended, or could not be opened."""

    node: NodeId
    reason: str


class PeerRefused(Notice, frozen=True):
    """Somebody was refused: an outsider, an older life, another overlay."""

    node: NodeId | None
    reason: str


class PeerSuspected(Notice, frozen=True):
    """A peer is silent or its link broke; nothing is decided by that."""

    node: NodeId
    reason: str


class PeerJoined(Notice, frozen=True):
    """A peer is alive that was not in the table, or came back."""

    node: NodeId
    incarnation: int


class PeerDied(Notice, frozen=True):
    """A peer is held dead, or has left."""

    node: NodeId
    incarnation: int
    left: bool
    reason: str


class NeighborsChanged(Notice, frozen=True):
    """Predecessor or successors changed (by one of Zave's steps)."""

    predecessor: NodeId | None
    successors: tuple[NodeId, ...]


class StateChanged(Notice, frozen=True):
    """This peer went from one state of its life to the next."""

    state: str


class RingFormed(Notice, frozen=True):
    """A majority of the founders formed a ring of these peers."""

    members: tuple[NodeId, ...]


class RingsMerging(Notice, frozen=True):
    """A peer of another ring of this overlay was found; the rings merge."""

    node: NodeId


# requests and storage


class LookupFinished(Notice, frozen=True):
    """A request to a Resource-ID was answered, or given up."""

    method: str
    hops: int
    seconds: float
    error: str | None


class StoreAcknowledged(Notice, frozen=True):
    """A Store was acknowledged to whoever asked, by so many copies on disk."""

    resource: ResourceId
    kind: int
    key: bytes
    order: bytes
    """The order key of the entry, comparable as bytes."""
    copies: int


class RangeInStep(Notice, frozen=True):
    """Every entry of the own range is on a majority of its replica set."""

    entries: int


class RangeDegraded(Notice, frozen=True):
    """The own range is answered with fewer copies asked than its replica set has."""

    reason: str


class RangeHandedOver(Notice, frozen=True):
    """A range was handed to another peer, every entry acknowledged."""

    to: NodeId
    entries: int


class DiskFailed(Notice, frozen=True):
    """The disk refuses writes: Stores are refused, fetches go on."""

    reason: str


class DiskRecovered(Notice, frozen=True):
    """The disk takes writes again."""


# SIP


class Registered(Notice, frozen=True):
    """A binding was made or refreshed."""

    resource: ResourceId
    device: bytes
    edge: NodeId
    expires: int


class Unregistered(Notice, frozen=True):
    """A binding was removed by its device."""

    resource: ResourceId
    device: bytes


class RequestRefused(Notice, frozen=True):
    """A SIP request was refused by us, with this status and reason."""

    method: str
    status: int
    reason: str
    source: str


class CallRouted(Notice, frozen=True):
    """An INVITE was forked to so many targets."""

    branches: int


class CallAnswered(Notice, frozen=True):
    """An INVITE got its 2xx: post-dial and set-up time in seconds."""

    seconds: float


class CallEnded(Notice, frozen=True):
    """A dialog that this edge counted has ended."""

    seconds: float


class DrainTimedOut(Notice, frozen=True):
    """A drain goes on at its time-out, although calls run or phones have not come again."""

    calls: int
    phones: int


class PhonesMoving(Notice, frozen=True):
    """This edge ends within a short registration; so many phones are known to move."""

    phones: int


class FlowDied(Notice, frozen=True):
    """A phone's flow is dead: its connection ended, or it missed three keepalives."""

    flow: str
    reason: str


class Ready(Notice, frozen=True):
    """This peer joined, is in step, and its synthetic Store and Fetch worked; or no longer."""

    is_ready: bool
    reason: str
