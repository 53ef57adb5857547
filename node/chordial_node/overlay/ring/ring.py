"""The ring: this peer's place in it, from start to leave, and what it knows of the others.

RFC 6940 §10 with Zave's corrections (`stabilize.py`), and protocol.md §1, §2, §4 and §7 in the
files beside this one, which it joins. It tells who is responsible for a resource and who should
hold copies. No stored value belongs here, and nothing that a neighboring file decides.
"""

from typing import Protocol

from chordial_node.boundary.effects import Stopped
from chordial_node.boundary.events import Address
from chordial_node.boundary.notices import StateChanged
from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId, ResourceId, within
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import (
    PROTOCOL_VERSION,
    Digest,
    DigestDiff,
    Doubt,
    Events,
    EventsAck,
    FormAnswer,
    FormRequest,
    Hello,
    JoinAnswer,
    JoinRequest,
    LeaveAnswer,
    LeaveRequest,
    LinkPing,
    LinkPong,
    MemberRecord,
    ProposeAnswer,
    ProposeRequest,
    Rank,
    Report,
    UpdateAnswer,
    UpdateRequest,
)
from chordial_node.overlay.requests import RequestContext, Requests
from chordial_node.overlay.ring.contacts import Contacts
from chordial_node.overlay.ring.digests import Digests
from chordial_node.overlay.ring.formation import Formation
from chordial_node.overlay.ring.joining import Admission, Joining
from chordial_node.overlay.ring.liveness import Liveness
from chordial_node.overlay.ring.membership import Membership
from chordial_node.overlay.ring.merge import Merge
from chordial_node.overlay.ring.queries import Queries
from chordial_node.overlay.ring.records import by_failure_domain, records_around, records_for
from chordial_node.overlay.ring.snapshot import (
    Memory,
    Snapshot,
    read_agreement,
    read_incarnation,
    read_members,
)
from chordial_node.overlay.ring.stabilize import Stabilizer, Unanswered
from chordial_node.overlay.table import Table

STARTING = ("starting", "joining", "forming")
ANNOUNCE_SECONDS = 1.0
"""A joiner that nobody has announced by then does it itself."""
LET_GO_SECONDS = 1.0
JOINER_DIGEST_SECONDS = (0.0, 1.0, 3.0)
LEAVE_SECONDS = 2.0
PURGE_SECONDS = 60.0
SHORT_LIST_HASTE = 4.0
"""A list that lost entries grows by one with each step: steps come so much faster meanwhile."""


class RingUser(Protocol):
    """Who acts on what happens in the ring: storage."""

    def on_neighbors_changed(self) -> None:
        """Predecessor or successors have changed."""
        ...

    def on_member_dead(self, node: NodeId) -> None:
        """A peer is held dead, or has left."""
        ...


class Ring:
    """This peer's place in the ring."""

    user: RingUser

    def __init__(
        self,
        kernel: Kernel,
        config: OverlayConfig,
        own: NodeId,
        name: str,
        sip_address: Address,
        links: Links,
        requests: Requests,
        table: Table,
        memory: Memory,
    ) -> None:
        self.state = "starting"
        """starting, joining, forming, joined, left."""
        self.boot = 0
        """The incarnation with which this process took its place."""
        self._kernel = kernel
        self._config = config
        self._own = own
        self._links = links
        self._table = table
        address, domain = config.advertise.address, config.failure_domain
        record = MemberRecord(own, 0, Rank.ALIVE, name, address, sip_address, domain, True)
        self._membership = Membership(kernel, links, table, record)
        self.announce_end = self._membership.announce_end
        self._digests = Digests(kernel, own, links, table)
        self._merge = Merge(kernel, config, own, links, table, self._membership, self._digests)
        self._liveness = Liveness(kernel, own, links, table)
        self._snapshot = Snapshot(kernel, memory, table)
        self._queries = Queries(kernel, links, requests, table, lambda: self.record)
        self._contacts = Contacts(kernel, config, own, links, requests, self._queries)
        self._stabilizer = Stabilizer(kernel, own, config.successors, self)
        self.seed_takers = (self._contacts.found_seeds, self._merge.found_seeds)
        self._formation = Formation(kernel, config, self._contacts, self._snapshot, self)
        self._admission = Admission(kernel)
        self._joining = Joining(
            kernel,
            config,
            own,
            self._contacts,
            self._formation,
            requests,
            self._membership,
            self,
        )
        self._is_known_to_head = False
        self._next_purge = 0.0
        self._membership.user = self
        self._digests.learner = self._merge
        self._digests.on_period = self._on_digest_period
        self._liveness.announce = self._membership.announce
        self._liveness.neighbors = self._nearest

    def start(self, records: dict[bytes, bytes]) -> None:
        """Begin a life: with the next incarnation, look for a ring or form one."""
        assert self.incarnation == 0
        self._contacts.remember(read_members(records))
        self._formation.recall(read_agreement(records))
        life = read_incarnation(records) + 1
        self._membership.set_incarnation(life)
        self._snapshot.keep_incarnation(life)
        self._kernel.emit(StateChanged(state=self.state))
        self._kernel.start(self._joining.run())

    # what others ask

    @property
    def record(self) -> MemberRecord:
        """What this peer says of itself."""
        return self._membership.record

    @property
    def incarnation(self) -> int:
        """The present incarnation of this peer."""
        return self.record.incarnation

    @property
    def predecessor(self) -> NodeId | None:
        """The predecessor by Zave's steps."""
        return self._stabilizer.predecessor

    @property
    def successors(self) -> list[NodeId]:
        """The successor list by Zave's steps, nearest first."""
        return self._stabilizer.successors

    @property
    def is_in_ring(self) -> bool:
        """This peer has a place in a ring."""
        return self.state == "joined"

    @property
    def is_starting(self) -> bool:
        """There is no place yet, and one is wanted."""
        return self.state in STARTING

    def hello(self) -> Hello:
        """Return what a new link starts with."""
        return Hello(
            version=PROTOCOL_VERSION,
            overlay_name=self._config.name,
            member=self.record,
            wall_ms=self._kernel.wall_ms,
            in_ring=self.is_in_ring,
        )

    def is_neighbor(self, node: NodeId) -> bool:
        """Tell whether a link to a peer is needed whatever the budget."""
        if node in self.successors or node == self.predecessor:
            return True
        return node in self._liveness.watched()

    def is_responsible_for(self, resource: ResourceId) -> bool:
        """Tell whether this peer answers for a Resource-ID: it lies in (predecessor, self].

        While the predecessor is dead or not known, whoever is first at or after it by the table.
        """
        if self.state != "joined":
            return False
        before = self._stabilizer.predecessor
        if before is not None and self._table.is_alive(before):
            return within(before, resource, self._own)
        return self._table.first_at_or_after(resource) == self._own

    def replica_candidates(self) -> list[NodeId]:
        """Return live successors that can store; those of other failure domains come first."""
        return by_failure_domain(self.record, self._table, self.successors, self._config.copies)

    # requests of others

    async def on_update(self, request: UpdateRequest, context: RequestContext) -> UpdateAnswer:
        """Tell our neighbors; hear that somebody takes us for its first successor."""
        member = request.member
        if request.notify and self.is_in_ring:
            if member is not None and member.node_id == context.source:
                self._membership.learn((member,))
            self._stabilizer.on_notify(context.source)
        return UpdateAnswer(
            predecessor=self.predecessor,
            successors=tuple(self.successors),
            in_ring=self.is_in_ring,
            members=records_for(context.source, self._table, self._named(), self._kernel.now),
        )

    async def on_join(self, request: JoinRequest, context: RequestContext) -> JoinAnswer:
        """Let a peer in that takes the first part of our range."""
        joiner = request.member.node_id
        if joiner != context.source or joiner == self._own:
            raise OverlayError(ErrorCode.FORBIDDEN, "a peer joins with its own Node-ID only")
        if not self.is_in_ring:
            raise OverlayError(ErrorCode.BUSY, "this peer is in no ring yet", 1.0)
        if not context.stand_in and not self.is_responsible_for(ResourceId(joiner)):
            reason = "another peer is responsible for this Node-ID"
            raise OverlayError(ErrorCode.UPSTREAM_MISROUTING, reason, 0.5)
        self._admission.admit(request.member)
        known = self._table.get(joiner)
        return JoinAnswer(
            incarnation=known.incarnation if known else 0,
            predecessor=self.predecessor,
            successors=tuple(self.successors),
            members=records_around(self._own, self._table),
        )

    async def on_leave(self, request: LeaveRequest, context: RequestContext) -> LeaveAnswer:
        """Close the gap that a leaving neighbor makes."""
        member = request.member
        if member.node_id != context.source or member.rank != Rank.LEFT:
            raise OverlayError(ErrorCode.FORBIDDEN, "a peer leaves for itself only")
        self._membership.learn((member,))
        self._stabilizer.on_left(member.node_id)
        return LeaveAnswer()

    async def on_propose(self, request: ProposeRequest, context: RequestContext) -> ProposeAnswer:
        """Agree to a formation, or say that we are in a ring."""
        return await self._formation.on_propose(request, context)

    async def on_form(self, request: FormRequest, context: RequestContext) -> FormAnswer:
        """Take the place that a formation gives."""
        return await self._formation.on_form(request, context)

    # link messages

    def on_events(self, node: NodeId, message: Events) -> None:
        """Take membership events for an arc."""
        self._membership.on_events(node, message)

    def on_ack(self, node: NodeId, message: EventsAck) -> None:
        """Note that a child has taken its events."""
        self._membership.broadcast.on_ack(node, message.number)

    def on_report(self, node: NodeId, message: Report) -> None:
        """Hear that a peer before us is silent."""
        self._liveness.on_report(node, message)

    def on_doubt(self, node: NodeId, message: Doubt) -> None:
        """Hear that somebody could not reach a peer before us."""
        self._liveness.on_doubt(node, message)

    def on_digest(self, node: NodeId, message: Digest) -> None:
        """Compare tables."""
        if self.is_in_ring:
            self._digests.on_digest(node, message)

    def on_digest_diff(self, node: NodeId, message: DigestDiff) -> None:
        """Take in what another table has."""
        if self.is_in_ring:
            self._digests.on_diff(node, message)

    def on_ping(self, node: NodeId, message: LinkPing) -> None:
        """Give a sign of life."""
        self._liveness.on_ping(node, message)

    def on_pong(self, node: NodeId, message: LinkPong) -> None:
        """Take a sign of life."""
        self._liveness.on_pong(node, message)

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        """See who is at the other end of a new link."""
        self._queries.on_link_up(node)
        if not self.is_in_ring:
            if self.is_starting and hello.in_ring:
                self._membership.learn((hello.member,))
            return
        self._liveness.on_link_up(node, hello)
        self._merge.on_link_up(node, hello)
        self._membership.broadcast.on_link_up(node)
        self._digests.on_link_up(node)
        if hello.in_ring:
            self._stabilizer.on_alive(node)

    def on_link_lost(self, node: NodeId, refused: bool, _reason: str) -> None:
        """See what the end of a link proves."""
        self._queries.on_link_lost(node)
        self._digests.on_link_lost(node)
        self._liveness.on_link_lost(node, refused)
        self._membership.broadcast.on_gone(node)

    # leave

    async def leave(self) -> None:
        """Leave the ring: tell the neighbors and everybody, then answer nothing any more."""
        if not self.is_in_ring:
            self._stop()
            return
        self._membership.leave()
        request = LeaveRequest(self.record, self.predecessor, tuple(self.successors))
        await self._contacts.ask_each(self._nearest(), request, LEAVE_SECONDS)
        self._stop()

    # the start: what joining and formation do to us

    def set_state(self, state: str) -> None:
        """Tell how far we are."""
        if state != self.state:
            self.state = state
            self._kernel.emit(StateChanged(state=state))

    def take_place(self, members: tuple[MemberRecord, ...]) -> None:
        """Enter the ring that these members form: ranges stay where the data is."""
        assert self.is_starting
        nodes = sorted({member.node_id: None for member in members})
        at = nodes.index(self._own)
        others = [*nodes[at + 1 :], *nodes[:at]]
        own = next(member for member in members if member.node_id == self._own)
        life = max(self.incarnation, own.incarnation)
        self._enter(life, members, others[-1] if others else None, others)

    def join_after(self, admitting: NodeId, answer: JoinAnswer) -> None:
        """Take the place before the admitting peer, and tell it so."""
        assert self.is_starting
        life = max(self.incarnation, answer.incarnation + 1)
        contacts = self._links.up()
        self._enter(life, answer.members, None, [admitting, *answer.successors])
        self._stabilizer.stabilize()
        self._kernel.after(ANNOUNCE_SECONDS, self._membership.announce_self)
        self._kernel.after(LET_GO_SECONDS, lambda: self._let_go(contacts))
        for seconds in JOINER_DIGEST_SECONDS:
            self._kernel.after(seconds, self._compare_with_successor)

    # what the parts tell us

    async def query(self, node: NodeId, *, notify: bool) -> UpdateAnswer | Unanswered:
        """Ask a peer for its neighbors, for a step of stabilization."""
        introduce = notify and not self._is_known_to_head
        answer = await self._queries.query(node, notify=notify, introduce=introduce)
        if isinstance(answer, UpdateAnswer):
            self._membership.learn(answer.members)
            if notify:
                self._is_known_to_head = answer.predecessor == self._own
        return answer

    def candidates(self) -> list[NodeId]:
        """Return the next live peers by hearsay."""
        nodes = self._table.next_live(self._own, 8)
        return [node for node in nodes if self._table.is_alive(node)]

    def on_neighbors_changed(self) -> None:
        """Keep links to our neighbors, and tell storage."""
        self._snapshot.changed(self._merge.lost)
        for node in self._nearest():
            self._links.ensure(node)
        self.user.on_neighbors_changed()

    def on_rectified(self, node: NodeId) -> None:
        """Announce a new predecessor: it is in the ring now; an old member is known to all."""
        self._admission.settled(node)
        self._membership.announce_new(node)

    def on_member_alive(self, record: MemberRecord) -> None:
        """See whether a peer came up beside us."""
        self._merge.found(record)
        if self.is_in_ring:
            self._snapshot.changed(self._merge.lost)
            self._stabilizer.on_alive(record.node_id)

    def on_member_dead(self, record: MemberRecord) -> None:
        """Remember whom we lost, look at our own list, and tell storage."""
        self._merge.remember(record)
        if self.is_in_ring:
            self._snapshot.changed(self._merge.lost)
            self._stabilizer.on_dead(record.node_id)
            self.user.on_member_dead(record.node_id)

    def on_incarnation(self, incarnation: int) -> None:
        """Keep our incarnation."""
        self._snapshot.keep_incarnation(incarnation)

    def on_later_life(self, record: MemberRecord) -> None:
        """End ourselves: of two lives of one Node-ID the lower one ends."""
        if self.is_in_ring:
            self._stop()
            reason = f"a later life of this Node-ID runs at {record.overlay_address[0]}"
            self._kernel.emit(Stopped(reason=reason, failed=True))

    # the life of a member

    def _enter(
        self,
        life: int,
        members: tuple[MemberRecord, ...],
        predecessor: NodeId | None,
        successors: list[NodeId],
    ) -> None:
        self._membership.set_incarnation(life)
        self._snapshot.keep_incarnation(life)
        self.boot = life
        for record in self._contacts.remembered.values():
            self._merge.remember(record)
        self._membership.learn(members)
        self._membership.enter()
        self.state = "joined"
        self._stabilizer.place(predecessor, successors)
        self._kernel.emit(StateChanged(state=self.state))
        self._liveness.start()
        self._digests.start()
        self._arm_stabilize()
        self._snapshot.changed(self._merge.lost)
        if not successors:
            self.user.on_neighbors_changed()

    def _stop(self) -> None:
        self._liveness.stop()
        self._digests.stop()
        self._membership.is_member = False
        self.set_state("left")
        self._stabilizer.displace()

    def _arm_stabilize(self) -> None:
        others = len(self._table.live_ids()) - 1
        is_short = len(self.successors) < min(self._config.successors, others)
        period = self._config.stabilize_period_seconds
        seconds = self._kernel.jittered(period / SHORT_LIST_HASTE if is_short else period)
        self._kernel.at_beat(seconds, self._on_stabilize_period)

    def _on_stabilize_period(self) -> None:
        if self.is_in_ring:
            self._arm_stabilize()
            self._stabilizer.stabilize()

    def _on_digest_period(self) -> None:
        self._merge.probe()
        if self._kernel.now >= self._next_purge:
            self._next_purge = self._kernel.now + PURGE_SECONDS
            self._membership.purge()

    def _let_go(self, contacts: list[NodeId]) -> None:
        """End links that only the start needed: seeds would keep one to everybody.

        One with events on their way to its other end is kept until these were taken.
        """
        owed = [node for node in contacts if self._membership.broadcast.owes(node)]
        for node in contacts:
            if self.is_in_ring and not self.is_neighbor(node) and node not in owed:
                self._links.close(node, "it was only needed to join")
        if owed:
            self._kernel.after(LET_GO_SECONDS, lambda: self._let_go(owed))

    def _compare_with_successor(self) -> None:
        if self.is_in_ring and self.successors:
            self._digests.exchange(self.successors[0])

    def _nearest(self) -> list[NodeId]:
        near = self.successors[: self._config.copies]
        before = self.predecessor
        return near if before is None or before in near else [*near, before]

    def _named(self) -> list[NodeId]:
        before = self.predecessor
        return [*([before] if before is not None else []), self._own, *self.successors]
