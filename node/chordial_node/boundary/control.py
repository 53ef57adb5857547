"""Questions and answers of the control service, as the core sees them.

`wire/control_codec.py` maps them to the protobuf of `control.proto`; a question always gets one
answer, `Refused` when it cannot be had. No gRPC type belongs here.
"""

import msgspec

from chordial_node.ids import NodeId, ResourceId


class Question(msgspec.Struct, frozen=True):
    """What an operator, the command or a client asks of a peer."""


class Answer(msgspec.Struct, frozen=True):
    """What a peer answers."""


class Refused(Answer, frozen=True):
    """The question cannot be answered; says why and what to do."""

    code: str
    """A RELOAD error name in snake case: not_found, forbidden, busy, invalid_message, …"""
    reason: str
    retry_after: float = 0.0
    """Seconds after which the same question may be answered; 0: do not retry."""


class Done(Answer, frozen=True):
    """It was done, and holds."""


class AskStatus(Question, frozen=True):
    """How is this peer, and what does it see?"""


class MemberStatus(msgspec.Struct, frozen=True):
    """Another peer as this one sees it."""

    node_id: NodeId
    name: str
    state: str
    """alive, suspect, dead or left."""
    overlay_address: str
    is_linked: bool
    round_trip_ms: float


class StatusAnswer(Answer, frozen=True):
    """This peer's own view; nothing in it is a secret."""

    node_id: NodeId
    name: str
    overlay_name: str
    state: str
    """starting, joining, forming, ready, draining or stopped."""
    incarnation: int
    predecessor: NodeId | None
    successors: tuple[NodeId, ...]
    members: tuple[MemberStatus, ...]
    links: int
    keys: int
    """Entries held, replicas included, markers not."""
    owned_keys: int
    registrations: int
    """Bindings whose accepting edge is this peer."""
    calls: int
    copies: int
    """Copies of a value that the overlay wants."""
    in_step: bool
    """Every entry of the own range is on a majority of its replica set."""
    is_degraded: bool
    uptime_seconds: float
    counters: dict[str, int]
    is_ready: bool = False
    """Phones may be sent here; latched, and lost for local reasons alone."""
    ready_reason: str = ""
    version: str = ""
    failure_domain: str = ""
    not_after: float = 0.0
    """Unix time at which the certificate ends."""
    bundle_hash: str = ""
    """Of the authorities and key numbers that are believed: `security.bundles`."""
    membership_digest: str = ""
    """Of everyone held alive and their lives: peers that agree tell the same one."""
    copies_missing: int = 0
    """Of the entries of the own range, against what so many peers can hold."""
    phones_waiting: int = 0
    """Phones that only this edge reaches, and whose registration outlasts a drain's short ones."""


class AskTrace(Question, frozen=True):
    """Look something up and tell the way there (RFC 7851 PathTrack)."""

    target: str
    """sip:USER@DOMAIN, key:TEXT, resource:HEX or node:HEX."""


class Hop(msgspec.Struct, frozen=True):
    """One peer on the way of a lookup."""

    node_id: NodeId
    peer: str
    rule: str
    """How its predecessor chose it: self, connection, table, successor or fallback."""
    queued_ms: float
    round_trip_ms: float


class Contact(msgspec.Struct, frozen=True):
    """A binding of an AOR, as a trace shows it."""

    contact: str
    edge: NodeId
    edge_name: str
    expires_in: float
    reach: str


class TraceAnswer(Answer, frozen=True):
    """The way of a lookup, hop by hop, and what stood at its end."""

    resource_id: ResourceId
    hops: tuple[Hop, ...]
    found: bool
    contacts: tuple[Contact, ...] = ()


class Put(Question, frozen=True):
    """Store a value of the open service."""

    key: bytes
    value: bytes
    lifetime_seconds: float
    secret: bytes = b""
    """Who knows it may remove or overwrite the value; empty: nobody may remove it."""


class Get(Question, frozen=True):
    """Fetch a value of the open service."""

    key: bytes


class Remove(Question, frozen=True):
    """Remove a value of the open service by its secret."""

    key: bytes
    secret: bytes


class ValueAnswer(Answer, frozen=True):
    """A value of the open service, or that there is none."""

    resource_id: ResourceId
    found: bool
    value: bytes = b""
    copies: int = 0
    """How many peers are known to hold it."""
    expires_at: float = 0.0
    """Unix time."""


class SetUser(Question, frozen=True):
    """Add or change a SIP user; the credentials come sealed under the overlay's key."""

    user: str
    domain: str
    sealed: bytes


class RemoveUser(Question, frozen=True):
    """Remove a SIP user and all its bindings."""

    user: str
    domain: str


class ListUsers(Question, frozen=True):
    """Which SIP users does this peer own? The asker asks all peers and joins the answers."""


class UserStatus(msgspec.Struct, frozen=True):
    """A SIP user, without anything secret."""

    user: str
    domain: str
    is_registered: bool
    source: str = ""
    """Who keeps this user: `namespace/name/uid` of a SipUser; empty: added by the command."""
    contacts: int = 0
    """Bindings that hold now."""
    key_number: int = 0
    """Of the overlay's key under which the credentials are sealed."""


class UsersAnswer(Answer, frozen=True):
    """The SIP users whose records this peer owns."""

    users: tuple[UserStatus, ...]


class Drain(Question, frozen=True):
    """Move phones and calls away, hand over, leave the overlay, then end the process."""

    restart: bool = False
    """Do not leave: the range stays on the disk, for this peer's next life."""


class DrainAnswer(Answer, frozen=True):
    """The peer has ended its service; what it held is acknowledged by others, or kept on disk."""

    ranges_handed_over: int
    """Entries that others hold now; 0 where the range was kept."""
    seconds: float


class Lookup(Question, frozen=True):
    """Fetch one key over the ring and count its hops: what a benchmark asks."""

    resource_id: ResourceId


class LookupAnswer(Answer, frozen=True):
    """Where a lookup ended."""

    responsible: NodeId
    hops: int
    found: bool


class ForceTrace(Question, frozen=True):
    """Sample the trace of a call to come, whatever head sampling says."""

    call_id: bytes


class ForcedTrace(Answer, frozen=True):
    """The trace that the call will be told in."""

    trace_id: bytes


class Configure(Question, frozen=True):
    """Take up a newer configuration of the overlay: it tells who is shut out from now on."""

    configuration: bytes
    """Signed; by whom counts, and not who asks."""

    def __repr__(self) -> str:
        return f"Configure({len(self.configuration)} bytes)"


ANSWERS: dict[type[Question], type[Answer]] = {
    AskStatus: StatusAnswer,
    AskTrace: TraceAnswer,
    Put: ValueAnswer,
    Get: ValueAnswer,
    Remove: Done,
    SetUser: Done,
    RemoveUser: Done,
    ListUsers: UsersAnswer,
    Drain: DrainAnswer,
    Lookup: LookupAnswer,
    ForceTrace: ForcedTrace,
    Configure: Done,
}
"""What each question is answered with, if it is not refused."""
