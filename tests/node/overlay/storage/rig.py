"""A ring of storages in virtual time: scripted neighbors, a direct network, disks of dicts.

The ring is a sorted list of who is in it; nothing stabilizes by itself. `Peers.arrange` tells
everyone its neighbors, as the ring would after it has settled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine
from random import Random
from typing import TypeVar

from chordial_node.boundary.effects import Effect, Notice, Persist
from chordial_node.boundary.events import Persisted, PersistFailed
from chordial_node.config import Acknowledge, Endpoint, OverlayConfig
from chordial_node.ids import NodeId, ResourceId, spread_node_ids, within
from chordial_node.kernel.kernel import Kernel, TimedOutError
from chordial_node.kernel.procedures import Reply
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import KindId
from chordial_node.overlay.messages import (
    Answer,
    Entry,
    ErrorAnswer,
    FetchAnswer,
    FetchRequest,
    FetchSpecifier,
    FindRequest,
    KindData,
    Message,
    RangeDigestRequest,
    ReplicateRequest,
    Request,
    StatRequest,
    StoreAnswer,
    StoreRequest,
    decode_body,
    encode_body,
)
from chordial_node.overlay.requests import Answered, RequestContext
from chordial_node.overlay.storage.journal import Journal
from chordial_node.overlay.storage.storage import Storage

WALL = 1_700_000_000.0
DELAY = 0.001
COMMIT = 0.002
ACCEPTOR = NodeId(b"\xaa" * 16)
OPEN = KindId.OPEN_VALUE
REGISTRATION = KindId.REGISTRATION
N = TypeVar("N", bound=Notice)
A = TypeVar("A", bound=Answer)


def make_config(
    copies: int = 3, max_entries: int = 10_000, acknowledge: Acknowledge = "quorum"
) -> OverlayConfig:
    """Return the configuration of one peer."""
    endpoint = Endpoint("127.0.0.1", 6084)
    return OverlayConfig(
        "test",
        endpoint,
        endpoint,
        ("00" * 16,),
        copies=copies,
        acknowledge=acknowledge,
        max_entries=max_entries,
    )


def entry(
    value: bytes = b"value",
    *,
    key: bytes = b"",
    at: float = WALL,
    lifetime: float = 600.0,
    exists: bool = True,
    precedence: bytes = b"",
    acceptor: NodeId = ACCEPTOR,
) -> Entry:
    """Return an entry as a writer sends it."""
    at_ms = int(at * 1000)
    end_ms = at_ms + int(lifetime * 1000)
    return Entry(key, value, exists, at_ms, end_ms, end_ms, acceptor, precedence)


def raise_error(answer: Answer) -> None:
    """Raise the error of an answer that is one."""
    if isinstance(answer, ErrorAnswer):
        error = OverlayError(ErrorCode(answer.code), answer.info, answer.retry_after)
        error.data = answer.data
        raise error


class ScriptedRing:
    """What the ring says, as it was arranged."""

    def __init__(self, own: NodeId) -> None:
        self.own = own
        self.state = "starting"
        self.predecessor: NodeId | None = None
        self.successors: list[NodeId] = []

    def is_responsible_for(self, resource: ResourceId) -> bool:
        if self.state != "joined":
            return False
        return self.predecessor is None or within(self.predecessor, resource, self.own)

    def replica_candidates(self) -> list[NodeId]:
        return list(self.successors)


class Peer:
    """One storage with its kernel, its disk and its part of the network."""

    def __init__(self, peers: Peers, node: NodeId, config: OverlayConfig) -> None:
        self.peers = peers
        self.node = node
        self.config = config
        self.disk: dict[bytes, bytes] = {}
        self.disk_fails = False
        self.silent = False
        self.scripted: Callable[[Message], Answer | None] = lambda request: None
        """What it answers instead of its storage."""
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        """Start a new life from what is on disk."""
        self.life = object()
        self.boots += 1
        self.woken_at = 0.0
        self.notices: list[Notice] = []
        self.kernel = Kernel(Random(self.node + bytes([self.boots])))
        self.kernel.begin(self.peers.now)
        self.kernel.set_wall_offset(WALL)
        self.ring = ScriptedRing(self.node)
        self.journal = Journal(self.kernel)
        self.storage = Storage(self.kernel, self.config, self.node, self, self.ring, self.journal)
        self.turn(lambda: self.storage.start(dict(self.disk)))

    def turn(self, work: Callable[[], None]) -> None:
        """Give the peer a turn, and perform its effects."""
        self.kernel.begin(self.peers.now)
        work()
        self.kernel.procedures.run()
        for effect in self.kernel.take():
            self._perform(effect)
        deadline = self.kernel.deadline()
        if deadline is not None and not self.peers.now < self.woken_at <= deadline:
            self.woken_at = max(deadline, self.peers.now)
            self.peers.at(self.woken_at, self, lambda: None)

    def told(self, kind: type[N]) -> list[N]:
        """Return the notices of one type, in order."""
        return [notice for notice in self.notices if isinstance(notice, kind)]

    async def ask(
        self,
        destination: bytes,
        request: Request,
        *,
        to_resource: bool,
        trace: Trace | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # there is no asyncio here
    ) -> Answered:
        """Ask over the rig's network; the other end gets what was encoded."""
        node = self.peers.owner_of(destination) if to_resource else NodeId(destination)
        self.peers.messages.append((self.node, node, request))
        reply: Reply[Answer] = self.kernel.reply(timeout or 15.0)
        self.peers.deliver(self, node, request, reply, hops=1)
        try:
            answer = await reply
        except TimedOutError as error:
            raise OverlayError(ErrorCode.REQUEST_TIMEOUT, "no answer") from error
        raise_error(answer)
        return Answered(answer, node, 1)

    async def serve(self, request: Message, source: NodeId) -> Answer:
        """Answer as the peer that dispatches requests would."""
        context = RequestContext(source=source, trace=None, hops=1, stand_in=False)
        storage = self.storage
        scripted = self.scripted(request)
        if scripted is not None:
            return scripted
        try:
            match request:
                case StoreRequest():
                    return await storage.on_store(request, context)
                case FetchRequest():
                    return await storage.on_fetch(request, context)
                case StatRequest():
                    return await storage.on_stat(request, context)
                case FindRequest():
                    return await storage.on_find(request, context)
                case ReplicateRequest():
                    return await storage.on_replicate(request, context)
                case RangeDigestRequest():
                    return await storage.on_range_digest(request, context)
                case _:
                    raise AssertionError(request)
        except OverlayError as error:
            return ErrorAnswer(error.code, error.info, error.retry_after, error.data)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Notice):
            self.notices.append(effect)
        elif isinstance(effect, Persist):
            life = self.life
            self.peers.at(
                self.peers.now + COMMIT,
                self,
                lambda: self._commit(effect) if life is self.life else None,
            )

    def _commit(self, effect: Persist) -> None:
        if self.disk_fails:
            self.journal.on_persist_failed(PersistFailed(effect.sequence, "disk full"))
            return
        for key, value in effect.records:
            if value is None:
                self.disk.pop(key, None)
            else:
                self.disk[key] = value
        self.journal.on_persisted(Persisted(effect.sequence))


class Peers:
    """All peers, their agenda and who is up."""

    def __init__(
        self,
        count: int,
        copies: int = 3,
        max_entries: int = 10_000,
        acknowledge: Acknowledge = "quorum",
    ) -> None:
        self.now = 0.0
        self.messages: list[tuple[NodeId, NodeId, Request]] = []
        self._agenda: list[tuple[float, int, Peer, Callable[[], None]]] = []
        self._order = 0
        self.ids = spread_node_ids(count)
        config = make_config(copies, max_entries, acknowledge)
        self.down: list[NodeId] = []
        self.by_id: dict[NodeId, Peer] = {}
        for node in self.ids:
            self.by_id[node] = Peer(self, node, config)
        self.members: list[NodeId] = []

    def __getitem__(self, index: int) -> Peer:
        return self.by_id[self.ids[index]]

    def arrange(self, *indexes: int) -> None:
        """Make a ring of these peers, and tell each of them its neighbors."""
        members = sorted(self.ids[index] for index in indexes)
        self.members = members
        for position, node in enumerate(members):
            ring = self.by_id[node].ring
            later = members[position + 1 :] + members[:position]
            ring.state = "joined"
            ring.successors = later
            ring.predecessor = later[-1] if later else None
        for node in members:
            peer = self.by_id[node]
            peer.turn(peer.storage.on_neighbors_changed)

    def crash(self, index: int) -> None:
        """Stop a peer; what was on disk stays there."""
        peer = self[index]
        peer.life = object()
        self.down.append(peer.node)

    def restart(self, index: int, *, blank: bool = False) -> None:
        """Start a peer again from its disk, or from a blank one."""
        peer = self[index]
        if peer.node in self.down:
            self.down.remove(peer.node)
        if blank:
            peer.disk.clear()
        peer.boot()

    def owner_of(self, resource: bytes) -> NodeId:
        """Return who is responsible for a resource."""
        return next((node for node in self.members if node >= resource), self.members[0])

    def at(self, when: float, peer: Peer, work: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (when, self._order, peer, work))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._agenda and self._agenda[0][0] <= end:
            when, _, peer, work = heapq.heappop(self._agenda)
            self.now = max(self.now, when)
            if peer.node not in self.down:
                peer.turn(work)
        self.now = end

    def deliver(
        self, source: Peer, node: NodeId, request: Request, reply: Reply[Answer], hops: int
    ) -> None:
        """Carry a request to a peer and its answer back, encoded both ways."""
        body = encode_body(request)
        target = self.by_id[node]
        life = target.life

        async def answer() -> None:
            given = await target.serve(decode_body(request.CODE, body), source.node)
            data = encode_body(given)
            back = decode_body(given.CODE, data)
            assert isinstance(back, Answer)
            self.at(self.now + DELAY, source, lambda: reply.resolve(back))

        def arrive() -> None:
            if target.life is life and not target.silent:
                target.kernel.start(answer())

        self.at(self.now + DELAY, target, arrive)

    def call(self, peer: Peer, work: Coroutine[Reply[object], None, A], limit: float = 40.0) -> A:
        """Run a procedure at a peer to its end; return or raise what it did."""
        outcome: list[A | OverlayError] = []

        async def run() -> None:
            try:
                outcome.append(await work)
            except OverlayError as error:
                outcome.append(error)

        peer.turn(lambda: peer.kernel.start(run()))
        end = self.now + limit
        while not outcome and self.now < end:
            self.run(0.01)
        assert outcome, "no outcome in time"
        if isinstance(outcome[0], OverlayError):
            raise outcome[0]
        return outcome[0]

    # what tests do

    def store(
        self,
        resource: ResourceId,
        *entries: Entry,
        kind: int = OPEN,
        generation: int = 0,
        at: int | None = None,
    ) -> StoreAnswer:
        """Store at the owner, or at the peer that a test names."""
        request = StoreRequest(resource, (KindData(kind, generation, entries),))
        return self.ask_owner(request, StoreAnswer, at)

    def fetch(self, resource: ResourceId, kind: int = OPEN, at: int | None = None) -> FetchAnswer:
        """Fetch from the owner, or from the peer that a test names."""
        request = FetchRequest(resource, (FetchSpecifier(kind),))
        return self.ask_owner(request, FetchAnswer, at)

    def ask_owner(self, request: Request, expected: type[A], at: int | None = None) -> A:
        """Send a request to the owner of its resource and return the answer."""
        resource = request.resource  # type: ignore[attr-defined]  # each of storage has one
        peer = self.by_id[self.owner_of(resource)] if at is None else self[at]

        async def ask() -> A:
            answer = await peer.serve(request, peer.node)
            raise_error(answer)
            assert isinstance(answer, expected)
            return answer

        return self.call(peer, ask())

    def values(self, resource: ResourceId, kind: int = OPEN) -> list[bytes]:
        """Return the values that a fetch at the owner gives."""
        return [each.value for each in self.fetch(resource, kind).kinds[0].entries]

    def writer(self, value: bytes = b"value", **fields: object) -> Entry:
        """Return an entry stamped with the present time."""
        return entry(value, at=WALL + self.now, **fields)  # type: ignore[arg-type]


def settled(
    count: int,
    copies: int = 3,
    max_entries: int = 10_000,
    acknowledge: Acknowledge = "quorum",
) -> Peers:
    """Return a ring that is in step."""
    peers = Peers(count, copies, max_entries, acknowledge)
    peers.arrange(*range(count))
    peers.run(3.0)
    assert all(peers[index].storage.in_step for index in range(count))
    return peers


def resource_before(peers: Peers, index: int, number: int = 1) -> ResourceId:
    """Return a resource that a peer owns: one that lies a little before it."""
    value = int.from_bytes(peers.ids[index], "big") - number
    return ResourceId(value.to_bytes(16, "big"))
