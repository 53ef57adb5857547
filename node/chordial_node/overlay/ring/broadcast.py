"""The acknowledged broadcast of membership events down the finger tree (protocol.md §2).

Who accepts events for an arc hands them, for each live peer of the arc, to one child, and keeps
them until that child has acknowledged; what is not acknowledged in time, or whose child dies, goes
to the next live peer of that arc. Which record wins is not decided here, nor who is dead.
"""

from collections.abc import Iterable

import msgspec

from chordial_node.ids import RING_SIZE, NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.timers import Timer
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import EventGroup, Events, EventsAck, MemberRecord
from chordial_node.overlay.ring.fingers import arc_length, fingers, next_in_arc, split
from chordial_node.overlay.table import Table

FRAME_SECONDS = 0.05
"""Event frames to one link at most this often."""
LEAST_ACK_SECONDS = 0.1
DIAL_SECONDS = 1.0
"""How long a child without an open link is waited for."""
LATE_SECONDS = 0.02
"""A deadline that fires later than this is judged again after what had arrived was read."""
MOST_SEEN = 4096
MOST_IDLE = 64
"""From so many children on, those that are owed nothing are forgotten."""
MOST_PENDING = 4096
"""Groups that wait for one child; what finds no room is left to the digests."""

_TOLERANCE = 0.001
"""Of deadlines that are sums of others."""

EventKey = tuple[NodeId, int, int]


class _Sent(msgspec.Struct):
    number: int
    groups: tuple[EventGroup, ...]
    due: float


class _Child:
    """What is owed to one child."""

    __slots__ = ("dial_due", "frame_timer", "next_frame", "pending", "sent", "watch")

    def __init__(self) -> None:
        self.pending: dict[NodeId, dict[NodeId, MemberRecord]] = {}
        """Records by arc end and subject."""
        self.sent: list[_Sent] = []
        """Frames that it has not acknowledged, the oldest first."""
        self.next_frame = 0.0
        self.frame_timer: Timer | None = None
        self.watch: Timer | None = None
        self.dial_due = 0.0

    def is_idle(self, now: float) -> bool:
        """Tell whether nothing is owed, and another frame could go at once."""
        return not self.sent and not self.pending and self.next_frame <= now

    def stop(self) -> None:
        """Cancel both timers."""
        for timer in (self.frame_timer, self.watch):
            if timer is not None:
                timer.cancel()


class Broadcast:
    """Membership events on their way through this peer."""

    def __init__(self, kernel: Kernel, own: NodeId, links: Links, table: Table) -> None:
        self._kernel = kernel
        self._own = own
        self._links = links
        self._table = table
        self._seen: dict[EventKey, int] = {}
        """The largest arc that each event was forwarded for."""
        self._children: dict[NodeId, _Child] = {}
        self._last_number = 0

    def has_seen(self, record: MemberRecord) -> bool:
        """Tell whether an event has come through here, for whatever arc."""
        return _key(record) in self._seen

    def owes(self, node: NodeId) -> bool:
        """Tell whether events are on their way to a child, or were a moment ago."""
        child = self._children.get(node)
        return child is not None and not child.is_idle(self._kernel.now)

    def announce(self, records: Iterable[MemberRecord]) -> None:
        """Deliver events to the whole ring, unless that was done already."""
        fresh = [record for record in records if self._extend(record, RING_SIZE)]
        self._deliver(fresh, self._own)

    def accept(self, node: NodeId, message: Events) -> list[EventGroup]:
        """Acknowledge a frame; return what of it is news here, or goes on to a larger arc."""
        self._links.send_control(node, EventsAck(number=message.number))
        news: list[EventGroup] = []
        for group in message.groups:
            size = arc_length(self._own, group.arc_end)
            fresh = tuple(each for each in group.records if self._extend(each, size))
            self._kernel.counters.events_duplicate += len(group.records) - len(fresh)
            if fresh:
                news.append(EventGroup(arc_end=group.arc_end, records=fresh))
        return news

    def forward(self, group: EventGroup) -> None:
        """Serve the arc of a group."""
        self._kernel.counters.events_forwarded += len(group.records)
        self._deliver(list(group.records), group.arc_end)

    def on_ack(self, node: NodeId, number: int) -> None:
        """Forget what a child has taken."""
        child = self._children.get(node)
        if child is not None:
            child.sent = [sent for sent in child.sent if sent.number > number]
            self._watch(node, child)

    def on_link_up(self, node: NodeId) -> None:
        """Send what has waited for this link."""
        child = self._children.get(node)
        if child is not None and child.pending:
            self._serve(node, child)

    def on_gone(self, node: NodeId) -> None:
        """Re-deliver what a child has not acknowledged: it died, or its link broke."""
        child = self._children.pop(node, None)
        if child is None:
            return
        child.stop()
        owed = {end: dict(records) for end, records in child.pending.items()}
        for sent in child.sent:
            for group in sent.groups:
                records = owed.setdefault(group.arc_end, {})
                for record in group.records:
                    _keep_larger(records, record)
        for arc_end, records in owed.items():
            self._redeliver(node, arc_end, records)

    # downwards

    def _extend(self, record: MemberRecord, size: int) -> bool:
        """Note an event for an arc; False if it was forwarded for one as large before."""
        key = _key(record)
        if self._seen.get(key, 0) >= size:
            return False
        self._seen.pop(key, None)
        self._seen[key] = size
        if len(self._seen) > MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        return True

    def _deliver(self, records: list[MemberRecord], arc_end: NodeId) -> None:
        if not records:
            return
        chosen = fingers(self._table.live_ids(), self._own, self._table.avoid, arc_end)
        for node, end in split(chosen, self._own, arc_end):
            self._queue(node, end, records)

    def _redeliver(self, after: NodeId, arc_end: NodeId, owed: dict[NodeId, MemberRecord]) -> None:
        avoid = self._table.avoid
        node = next_in_arc(self._table.live_ids(), after, arc_end, avoid)
        if node is not None and node != self._own:
            self._queue(node, arc_end, list(owed.values()))

    def _queue(self, node: NodeId, arc_end: NodeId, records: list[MemberRecord]) -> None:
        child = self._children.get(node) or self._new_child(node)
        if len(child.pending) >= MOST_PENDING and arc_end not in child.pending:
            return
        pending = child.pending.setdefault(arc_end, {})
        for record in records:
            _keep_larger(pending, record)
        if not self._links.is_up(node):
            self._links.ensure(node)
            child.dial_due = child.dial_due or self._kernel.now + DIAL_SECONDS
            self._watch(node, child)
        elif child.next_frame <= self._kernel.now:
            self._serve(node, child)
        elif child.frame_timer is None or not child.frame_timer.is_armed:
            wait = child.next_frame - self._kernel.now
            child.frame_timer = self._kernel.after(wait, lambda: self._on_frame(node, child))

    def _new_child(self, node: NodeId) -> _Child:
        """Begin to owe a peer something; those that are owed nothing are forgotten in time."""
        if len(self._children) >= MOST_IDLE:
            now = self._kernel.now
            self._children = {
                each: child for each, child in self._children.items() if not child.is_idle(now)
            }
        child = self._children[node] = _Child()
        return child

    def _on_frame(self, node: NodeId, child: _Child) -> None:
        if self._children.get(node) is child and child.pending:
            self._serve(node, child)

    def _serve(self, node: NodeId, child: _Child) -> None:
        """Send one frame of what is pending."""
        groups = tuple(
            EventGroup(arc_end=end, records=tuple(records.values()))
            for end, records in child.pending.items()
        )
        self._last_number += 1
        if self._links.send_control(node, Events(number=self._last_number, groups=groups)):
            child.pending = {}
            child.dial_due = 0.0
            due = self._kernel.now + self._ack_seconds(node)
            child.sent.append(_Sent(self._last_number, groups, due))
            child.next_frame = self._kernel.now + FRAME_SECONDS
        else:
            self._links.ensure(node)
            pause = FRAME_SECONDS if self._links.is_up(node) else DIAL_SECONDS
            child.dial_due = self._kernel.now + pause
        self._watch(node, child)

    def _watch(self, node: NodeId, child: _Child) -> None:
        """Look at a child again when it is next due; never when nothing is owed."""
        if child.watch is not None:
            child.watch.cancel()
        if child.sent:
            due = child.sent[0].due
        elif child.pending:
            due = max(child.dial_due, child.next_frame)
        else:
            return
        wait = max(0.0, due - self._kernel.now)
        child.watch = self._kernel.after(wait, lambda: self._on_due(node, child, due))

    def _on_due(self, node: NodeId, child: _Child, due: float) -> None:
        if self._children.get(node) is not child:
            return
        now = self._kernel.now
        if child.sent:
            is_overdue = child.sent[0].due <= now + _TOLERANCE
        else:
            is_overdue = bool(child.pending) and not self._links.is_up(node)
        if is_overdue and now - due <= LATE_SECONDS:
            self.on_gone(node)
        elif is_overdue:
            if child.sent:
                child.sent[0].due = now + LATE_SECONDS
            child.dial_due = now + LATE_SECONDS
            self._watch(node, child)
        elif child.pending and child.next_frame <= now + _TOLERANCE:
            self._serve(node, child)
        else:
            self._watch(node, child)

    def _ack_seconds(self, node: NodeId) -> float:
        round_trip = self._links.round_trip(node)
        return LEAST_ACK_SECONDS + 4.0 * round_trip.srtt + self._kernel.lag


def _key(record: MemberRecord) -> EventKey:
    return (record.node_id, record.incarnation, record.rank)


def _keep_larger(records: dict[NodeId, MemberRecord], record: MemberRecord) -> None:
    known = records.get(record.node_id)
    if known is None or (known.incarnation, known.rank) < (record.incarnation, record.rank):
        records[record.node_id] = record
