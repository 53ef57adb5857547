"""Coverage: what a peer accepts for an arc reaches, by its own hand, each live peer of that arc.

protocol.md §2 and §8, read from the frames on the wire: Events that came in, Events that went out,
and their acknowledgements. What the events say about members is not judged here.
"""

from __future__ import annotations

import msgspec

from chordial_node.boundary.control import StatusAnswer
from chordial_node.boundary.effects import Effect, Notice, WriteFrame
from chordial_node.boundary.events import Event, FrameReceived, LinkOpened
from chordial_node.boundary.notices import PeerDied, PeerJoined
from chordial_node.ids import NodeId, between
from chordial_node.overlay.messages import (
    EventGroup,
    Events,
    EventsAck,
    MemberRecord,
    Message,
    decode_body,
    decode_frame,
)
from chordial_node.simulation.checkers import Checker, Situation
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.population import FOUNDERS
from chordial_node.simulation.ring_checkers import LONGEST_STALL

MOST_PEERS = 24
"""Every frame is read: in larger runs that would be most of the work."""
GIVEN_SECONDS = 10.0
PATIENCE_US = 90_000
"""A child that has not acknowledged after a little longer is passed over."""
_READ = (Events.CODE, EventsAck.CODE)

EventKey = tuple[NodeId, int, int]


class _Sent(msgspec.Struct):
    at_us: int
    number: int
    groups: tuple[EventGroup, ...]


class _Life:
    """What one life of a peer has sent, and knows."""

    def __init__(self) -> None:
        self.nodes: dict[int, NodeId] = {}
        """Who is at the other end of a link, by its number."""
        self.known: dict[NodeId, int] = {}
        """Whom it holds alive, and since when."""
        self.sent: dict[NodeId, list[_Sent]] = {}
        """Frames that a child has not acknowledged."""
        self.handed: dict[EventKey, list[tuple[NodeId, NodeId]]] = {}
        """Arcs, from a child to their end, for which an event was acknowledged."""
        self.late: dict[NodeId, int] = {}
        """When a child was waited for in vain last: it was given up then, rightly."""
        self.accepted: dict[EventKey, NodeId] = {}
        """The end of the largest arc for which an event came."""


class Coverage(Checker):
    """Who accepted an event for an arc has handed it to each live peer of the arc that it knows."""

    name = "Coverage"

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._lives: dict[tuple[Host, int], _Life] = {}
        self._newest: dict[NodeId, tuple[int, int]] = {}
        if len(situation.population.hosts) > MOST_PEERS:
            self.skip(f"more than {MOST_PEERS} peers: reading every frame takes too long")
            return
        self.world.observers.append(self)
        self.world.listen(PeerJoined, self._on_joined)
        self.world.listen(PeerDied, self._on_died)

    def at_end(self, statuses: dict[Host, StatusAnswer]) -> None:
        """Say so when nobody had to join: then there was nothing to tell."""
        if len(self.situation.population.hosts) <= FOUNDERS:
            self.skip("all peers are founders: they take their places without an event")

    def _life(self, host: Host) -> _Life:
        return self._lives.setdefault((host, host.lives), _Life())

    def _on_joined(self, host: Host, notice: PeerJoined) -> None:
        self._life(host).known[notice.node] = self.world.now_us

    def _on_died(self, host: Host, notice: PeerDied) -> None:
        self._life(host).known.pop(notice.node, None)

    def on_notice(self, host: Host, notice: Notice) -> None:
        """Notices are heard one by one."""

    def on_turn(self, host: Host, event: Event, effects: list[Effect]) -> None:
        """Read the frames that a turn took and wrote."""
        if type(event) is LinkOpened:
            self._life(host).nodes[event.link] = event.node
        elif type(event) is FrameReceived:
            life = self._life(host)
            for message in _messages(event.data):
                if isinstance(message, EventsAck):
                    self._acknowledged(life, life.nodes[event.link], message.number)
                elif isinstance(message, Events):
                    self._accepted(host, life, message)
        for effect in effects:
            if type(effect) is WriteFrame:
                life = self._life(host)
                for message in _messages(effect.data):
                    if isinstance(message, Events):
                        self._handed(host, life, life.nodes[effect.link], message)

    def _handed(self, host: Host, life: _Life, child: NodeId, message: Events) -> None:
        """Note what a child got; outside of the arc that came, the peer itself announces it."""
        sent = _Sent(self.world.now_us, message.number, message.groups)
        life.sent.setdefault(child, []).append(sent)
        for group in message.groups:
            for record in group.records:
                arc_end = life.accepted.get(_key(record))
                if arc_end is None or not between(host.node_id, child, arc_end):
                    self._take(host, life, record, host.node_id)

    def _acknowledged(self, life: _Life, child: NodeId, number: int) -> None:
        waiting = life.sent.get(child, [])
        life.sent[child] = [sent for sent in waiting if sent.number > number]
        for sent in waiting:
            if sent.number <= number:
                if self.world.now_us - sent.at_us > PATIENCE_US:
                    life.late[child] = self.world.now_us
                for group in sent.groups:
                    for record in group.records:
                        arcs = life.handed.setdefault(_key(record), [])
                        arcs.append((child, group.arc_end))

    def _accepted(self, host: Host, life: _Life, message: Events) -> None:
        for group in message.groups:
            for record in group.records:
                self._take(host, life, record, group.arc_end)

    def _take(self, host: Host, life: _Life, record: MemberRecord, arc_end: NodeId) -> None:
        """Note an event for an arc; look later whether all of the arc was served."""
        key = _key(record)
        rank = (record.incarnation, record.rank)
        self._newest[record.node_id] = max(self._newest.get(record.node_id, rank), rank)
        before = life.accepted.get(key)
        if before is None or (
            before not in (host.node_id, arc_end) and between(host.node_id, before, arc_end)
        ):
            life.accepted[key] = arc_end
            self._look_later(host, life, key, arc_end)

    def _look_later(self, host: Host, life: _Life, key: EventKey, arc_end: NodeId) -> None:
        own, views, population = host.node_id, self.views, self.situation.population
        since_us = self.world.now_us
        lives = {
            node: population.by_node[node].lives
            for node, known_us in life.known.items()
            if known_us < since_us
            and node in views.members
            and node != key[0]
            and between(own, node, arc_end)
        }
        here = host.lives

        def look() -> None:
            if host.process is None or host.lives != here or not views.in_ring(host):
                return
            if self._newest[key[0]] != key[1:]:
                return  # something newer about the same peer was told instead
            if not self._is_mild():
                self.skip("stalls, resets or a split: links are given up though both ends live")
                return
            arcs = life.handed.get(key, [])
            for node, its_life in lives.items():
                other = population.by_node[node]
                if other.process is not None and other.process.stalled_until_us >= since_us:
                    self.skip("a child stalled and was given up: digests tell it")
                elif life.late.get(node, 0) >= since_us or life.sent.get(node):
                    self.skip("a child was given up that answered late: digests tell it")
                elif node in views.members and other.lives == its_life and node in life.known:
                    is_handed = any(
                        node == child or between(child, node, end) for child, end in arcs
                    )
                    self.check(
                        is_handed,
                        "{} has not handed news of {} to {}",
                        host.name,
                        population.by_node[key[0]].name,
                        other.name,
                    )

        self.world.at(GIVEN_SECONDS, look)

    def _is_mild(self) -> bool:
        faults = self.world.network.faults
        is_mild = faults.stall <= LONGEST_STALL and faults.reset_per_minute == 0.0
        return is_mild and not self.situation.was_cut


def _key(record: MemberRecord) -> EventKey:
    return (record.node_id, record.incarnation, record.rank)


def _messages(frame: bytes) -> list[Message]:
    return [
        decode_body(envelope.method, envelope.body)
        for envelope in decode_frame(frame)
        if envelope.method in _READ
    ]
