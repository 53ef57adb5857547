"""Requests and answers of the ring and its diagnostics (RFC 6940 §6.4.2, §10; RFC 7851)."""

from typing import ClassVar

from chordial_node.ids import Identifier, NodeId
from chordial_node.overlay.messages.envelope import Answer, MemberRecord, Natural, Request


class JoinRequest(Request, frozen=True):
    """A joining peer asks its successor to be let in (§6.4.2.1)."""

    CODE: ClassVar[int] = 0x0F
    member: MemberRecord


class JoinAnswer(Answer, frozen=True):
    """Admitted: the highest incarnation known of the joiner, and the ring around it."""

    CODE: ClassVar[int] = 0x10
    incarnation: Natural
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
    member: MemberRecord | None = None
    """The sender's own record, until the receiver is known to have it: it announces a joiner."""


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
    destination: Identifier
    to_resource: bool


class RouteQueryAnswer(Answer, frozen=True):
    """The next hop, or the answering peer itself when it is responsible."""

    CODE: ClassVar[int] = 0x16
    next_hop: NodeId
    rule: str


class PathTrackRequest(Request, frozen=True):
    """Where would you send this, and how are you (RFC 7851 §4.3)?"""

    CODE: ClassVar[int] = 0x27
    destination: Identifier
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
    number: int = 0
    """Of the proposal that founders have agreed to; they take their place for no other."""


class FormAnswer(Answer, frozen=True):
    """The receiver has taken its place."""

    CODE: ClassVar[int] = 0xF008
