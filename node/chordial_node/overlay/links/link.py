"""One link: what waits to be sent on it, in which order it leaves, and how long it takes.

protocol.md §3: no queue waits for another. Each kind of traffic has a share of every frame, so
that the oldest of each leaves soon. The round trip is smoothed as RFC 6298 says. Nothing that
knows a second link belongs here.
"""

from enum import Enum, IntEnum

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.ids import NodeId
from chordial_node.kernel.timers import Timer
from chordial_node.kernel.tracing import Attribute, Span
from chordial_node.overlay.messages import (
    ERROR,
    Envelope,
    Hello,
    RangeDigestAnswer,
    RangeDigestRequest,
    ReplicateRequest,
)

FRAME_BYTES = 256 * 1024
"""A frame ends at the first envelope beyond; each kind of traffic sends at least one."""
BULK_BYTES = 64 * 1024
"""Bulk in one frame, and so in flight."""
LARGE_BODY = 16 * 1024
"""A body of this size is bulk, whatever it is."""
MOST_CONTROL = 1024
"""Link messages that wait on one link."""
MOST_BULK = 256
"""Bulk that waits on one link: 16 MiB of values at the most."""
FIRST_LINK_CODE = 0xF100
"""Codes from here up to ERROR are link control: one hop, no answer by transaction."""
OWED_SECONDS = 15.0
"""Room reserved for an answer is given up after one to two times this."""

_BULK_CODES = (RangeDigestRequest.CODE, RangeDigestAnswer.CODE)


class Priority(IntEnum):
    """Kinds of traffic in the order in which they leave."""

    CONTROL = 0
    ANSWER = 1
    REPLICA = 2
    REQUEST = 3
    BULK = 4


class LinkState(Enum):
    """Where a link is between its dial and its end."""

    DIALING = "dialing"
    OPEN = "open"
    """Our Hello is on its way; nothing but a Hello is taken from the other side."""
    UP = "up"
    RETIRING = "retiring"
    """Another link to the same peer carries everything; this one is read for a moment."""


class RoundTrip(msgspec.Struct):
    """Smoothed round trip of a link in seconds, its variation, and whether it was measured."""

    srtt: float = 0.1
    rttvar: float = 0.05
    is_measured: bool = False

    def measured(self, seconds: float) -> None:
        """Take one measurement in (RFC 6298 §2)."""
        if not self.is_measured:
            self.srtt, self.rttvar, self.is_measured = seconds, seconds / 2, True
            return
        self.rttvar += (abs(self.srtt - seconds) - self.rttvar) / 4
        self.srtt += (seconds - self.srtt) / 8


class Watched:
    """A forward's span that waits for its envelope to be written."""

    __slots__ = ("attributes", "queued_at", "span")

    def __init__(self, span: Span, queued_at: float, attributes: dict[str, Attribute]) -> None:
        self.span = span
        self.queued_at = queued_at
        self.attributes = attributes


class Link:
    """A link, from its dial or its acceptance to its end."""

    __slots__ = (
        "address",
        "backlog_since",
        "due",
        "has_backlog",
        "hello",
        "is_dialed",
        "is_writing",
        "last_heard",
        "node",
        "number",
        "owed",
        "owed_before",
        "owed_since",
        "queues",
        "round_trip",
        "state",
        "timer",
        "up_since",
        "used_at",
        "waiting",
        "watched",
        "written",
    )

    def __init__(self, number: int, node: NodeId, address: Address, is_dialed: bool) -> None:
        self.number = number
        self.node = node
        self.address = address
        self.is_dialed = is_dialed
        self.state = LinkState.DIALING
        self.hello: Hello | None = None
        self.queues: tuple[list[Envelope], ...] = tuple([] for _ in Priority)
        self.waiting = 0
        """How many envelopes wait in all queues."""
        self.round_trip = RoundTrip()
        self.is_writing = False
        self.due = 0.0
        self.timer: Timer | None = None
        self.last_heard = 0.0
        self.up_since = 0.0
        self.used_at = 0.0
        self.has_backlog = False
        self.backlog_since = 0.0
        self.owed = 0
        self.owed_before = 0
        self.owed_since = 0.0
        self.watched: dict[bytes, Watched] = {}
        self.written: list[Watched] = []

    def push(self, envelope: Envelope, most: int) -> bool:
        """Queue an envelope; False when its kind of traffic has no room."""
        priority = priority_of(envelope)
        if priority is Priority.CONTROL:
            return self.push_control(envelope)
        is_answer = envelope.method % 2 == 0 or envelope.method == ERROR
        if is_answer:
            self._settle_one()
        if priority is Priority.BULK:
            most = min(most, MOST_BULK)
            if is_answer and len(self.queues[priority]) >= most:
                priority = Priority.ANSWER  # where room was reserved for it
        queue = self.queues[priority]
        if len(queue) >= most:
            return False
        queue.append(envelope)
        self.waiting += 1
        return True

    def push_control(self, envelope: Envelope) -> bool:
        """Queue a link message; False when too many wait."""
        queue = self.queues[Priority.CONTROL]
        if len(queue) >= MOST_CONTROL:
            return False
        queue.append(envelope)
        self.waiting += 1
        return True

    def reserve(self, now: float, most: int) -> bool:
        """Keep room for one answer, as an admitted request needs it; False when there is none."""
        if now - self.owed_since > OWED_SECONDS:
            self.owed_before, self.owed, self.owed_since = self.owed, 0, now
        if self.owed + self.owed_before + len(self.queues[Priority.ANSWER]) >= most:
            return False
        self.owed += 1
        return True

    def leads_to(self, address: Address) -> bool:
        """Tell whether the other end is, or says it is, at an address."""
        return self.address == address or (
            self.hello is not None and self.hello.member.overlay_address == address
        )

    def next_frame(self) -> list[Envelope]:
        """Take what the next frame carries, first things first, a share for each kind."""
        if self.waiting == 1:
            self.waiting = 0
            return [queue.pop() for queue in self.queues if queue]
        frame: list[Envelope] = []
        size = 0
        for priority, queue in zip(_PRIORITIES, self.queues, strict=True):
            if not queue:
                continue
            limit = size + BULK_BYTES if priority is Priority.BULK else FRAME_BYTES
            taken = 0
            for envelope in queue:
                taken += 1
                size += len(envelope.body) + 100
                if size >= limit:
                    break
            frame += queue[:taken]
            del queue[:taken]
            self.waiting -= taken
            if not self.waiting:
                break
        return frame

    def take_all(self) -> list[Envelope]:
        """Take everything that waits, link control left out: it is for this link alone."""
        self.queues[Priority.CONTROL].clear()
        unsent = [envelope for queue in self.queues for envelope in queue]
        for queue in self.queues:
            queue.clear()
        self.waiting = 0
        return unsent

    def _settle_one(self) -> None:
        if self.owed_before:
            self.owed_before -= 1
        elif self.owed:
            self.owed -= 1


_PRIORITIES = tuple(Priority)


def priority_of(envelope: Envelope) -> Priority:
    """Return the kind of traffic that an envelope is."""
    method = envelope.method
    if FIRST_LINK_CODE <= method < ERROR:
        return Priority.CONTROL
    if method in _BULK_CODES or len(envelope.body) >= LARGE_BODY:
        return Priority.BULK
    if method % 2 == 0 or method == ERROR:
        return Priority.ANSWER
    return Priority.REPLICA if method == ReplicateRequest.CODE else Priority.REQUEST
