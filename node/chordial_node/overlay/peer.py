"""This peer: the parts of the overlay joined, and what the usages see of them.

Envelopes that are for us become requests here, by one table; an OverlayError becomes an error
answer here, once (RFC 6940 §6.3.3.1). Lookups are counted and told here. No rule of routing,
ring or storage belongs here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar, cast

from chordial_node.boundary.events import Address
from chordial_node.boundary.notices import LookupFinished, PeerSuspected
from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.diagnostics import Diagnostics
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.links.link import FIRST_LINK_CODE
from chordial_node.overlay.messages import (
    ERROR,
    METHODS,
    Answer,
    Digest,
    DigestDiff,
    Doubt,
    Envelope,
    Events,
    EventsAck,
    FetchAnswer,
    FetchRequest,
    FetchSpecifier,
    FindAnswer,
    FindRequest,
    FormRequest,
    Hello,
    JoinRequest,
    KindData,
    LeaveRequest,
    LinkMessage,
    LinkPing,
    LinkPong,
    Message,
    PathTrackRequest,
    PingAnswer,
    PingRequest,
    ProposeRequest,
    RangeDigestRequest,
    ReplicateRequest,
    Report,
    Request,
    RouteQueryRequest,
    StatAnswer,
    StatRequest,
    StoreAnswer,
    StoreRequest,
    UpdateRequest,
    decode_body,
)
from chordial_node.overlay.requests import Answered, RequestContext, Requests, Serving
from chordial_node.overlay.ring.ring import Ring
from chordial_node.overlay.routing import Routing, error_answer
from chordial_node.overlay.storage.journal import Journal
from chordial_node.overlay.storage.storage import Storage
from chordial_node.overlay.table import Table

RETRY_SECONDS = 4.0
"""A lookup that is refused with a retry time is tried again for so long."""
DETOUR_SECONDS = 0.1
"""Views of the ring differ for a moment: a request that went in circles is tried again."""

_DETOURS = (ErrorCode.LOOP_DETECTED, ErrorCode.TTL_EXCEEDED, ErrorCode.UPSTREAM_MISROUTING)

A = TypeVar("A", bound=Answer)
R = TypeVar("R", bound=Request)
L = TypeVar("L", bound=LinkMessage)
Serve = Callable[[Request, RequestContext], Awaitable[Answer]]
Take = Callable[[NodeId, LinkMessage], None]


class Peer:
    """One peer of the overlay."""

    def __init__(
        self, kernel: Kernel, config: OverlayConfig, own: NodeId, name: str, sip_address: Address
    ) -> None:
        self.node_id = own
        self._kernel = kernel
        self.table = Table(own)
        self.links = Links(kernel, config, own, self.table)
        self.routing = Routing(kernel, own, self.table, self.links)
        self.requests = Requests(kernel, config, own, self.table, self.links, self.routing)
        self.journal = Journal(kernel)
        self.ring = Ring(
            kernel,
            config,
            own,
            name,
            sip_address,
            self.links,
            self.requests,
            self.table,
            self.journal,
        )
        self.storage = Storage(kernel, config, own, self.requests, self.ring, self.journal)
        self.diagnostics = Diagnostics(
            kernel, own, self.table, self.links, self.requests, self.routing
        )
        self.on_member_dead: list[Callable[[NodeId], None]] = []
        """Called with each peer that is held dead, or that has left."""
        self._serving = Serving(kernel, self.routing, config.in_flight)
        self._serve_by_code = self._request_table()
        self._take_by_code = self._link_table()
        self.links.user = self
        self.routing.user = self
        self.routing.ring = self.ring
        self.ring.user = _RingEars(self)

    def start(self, records: Mapping[bytes, bytes]) -> None:
        """Begin with what is on disk: values first, then the way into a ring."""
        self.diagnostics.start()
        self.storage.start(records)
        self.ring.start(dict(records))

    async def leave(self) -> int:
        """Hand over what is held, then leave the ring; return how many entries were handed over."""
        entries = await self.storage.hand_over()
        await self.ring.leave()
        return entries

    # what usages ask

    async def fetch(
        self,
        resource: ResourceId,
        specifiers: tuple[FetchSpecifier, ...],
        trace: Trace | None = None,
    ) -> FetchAnswer:
        """Fetch values of a resource from whoever is responsible; OverlayError when that fails."""
        return await self._lookup(resource, FetchRequest(resource, specifiers), FetchAnswer, trace)

    async def store(
        self, resource: ResourceId, kinds: tuple[KindData, ...], trace: Trace | None = None
    ) -> StoreAnswer:
        """Store values of a resource, all or nothing; OverlayError when that fails."""
        return await self._lookup(resource, StoreRequest(resource, kinds), StoreAnswer, trace)

    async def stat(
        self,
        resource: ResourceId,
        specifiers: tuple[FetchSpecifier, ...],
        trace: Trace | None = None,
    ) -> StatAnswer:
        """Ask for digests and times of values instead of the values."""
        return await self._lookup(resource, StatRequest(resource, specifiers), StatAnswer, trace)

    async def find(
        self, resource: ResourceId, kinds: tuple[int, ...], trace: Trace | None = None
    ) -> FindAnswer:
        """Ask for the closest resources that hold values of some Kinds."""
        return await self._lookup(resource, FindRequest(resource, kinds), FindAnswer, trace)

    async def lookup(
        self, resource: ResourceId, request: Request, trace: Trace | None = None
    ) -> Answered:
        """Send a request to whoever is responsible; tell also who that was, and how far away."""
        started = self._kernel.now
        self._kernel.counters.lookups += 1
        try:
            answered = await self._ask_patiently(resource, request, trace)
        except OverlayError as error:
            self._kernel.counters.lookups_failed += 1
            self._tell_lookup(request, 0, started, error.code.name.lower())
            raise
        self._tell_lookup(request, answered.hops, started, None)
        return answered

    async def ping(self, node: NodeId, trace: Trace | None = None) -> float:
        """Return the seconds that a Ping to a peer and back takes (RFC 6940 §6.5.3)."""
        started = self._kernel.now
        await self.requests.ask(node, PingRequest(), to_resource=False, trace=trace)
        return self._kernel.now - started

    def is_alive(self, node: NodeId) -> bool:
        """Tell whether a peer is held alive, and our own link to it is not known broken."""
        return node == self.node_id or self.table.is_alive(node)

    def is_dead(self, node: NodeId) -> bool:
        """Tell whether a peer is known, and held dead or gone."""
        return self.table.is_dead(node)

    def sip_address(self, node: NodeId) -> Address | None:
        """Return where a peer listens for SIP of other peers."""
        record = self.table.get(node)
        return record.sip_address if record else None

    def peer_name(self, node: NodeId) -> str:
        """Return the name of a peer, for people; its Node-ID when it is unknown."""
        record = self.table.get(node)
        return record.name if record else node.hex()

    def find_node(self, prefix: bytes) -> NodeId | None:
        """Return the peer, alive or not, whose Node-ID begins so."""
        return self.table.find(prefix)

    def round_trip(self, node: NodeId) -> float:
        """Return the smoothed round trip to a peer in seconds, a cautious guess without a link."""
        return self.links.round_trip(node).srtt

    def doubt(self, node: NodeId, reason: str) -> None:
        """Tell the failure detector that a peer did not answer in time."""
        record = self.table.get(node)
        if record is not None and not self.table.is_dead(node):
            self._kernel.emit(PeerSuspected(node=node, reason=reason))
            self.ring.on_doubt(self.node_id, Doubt(node, record.incarnation))

    # links and routing report here

    def hello(self) -> Hello:
        """Return what a new link starts with."""
        return self.ring.hello()

    def is_needed(self, node: NodeId) -> bool:
        """Tell whether a link stays whatever the budget: neighbors hold our copies."""
        return self.ring.is_neighbor(node)

    def on_envelope(self, node: NodeId, envelope: Envelope) -> None:
        """Take link control at once, and route everything else."""
        if FIRST_LINK_CODE <= envelope.method < ERROR:
            self._on_link_message(node, envelope)
        else:
            self.routing.on_envelope(node, envelope)

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        """Tell the ring that a neighbor is linked."""
        self.ring.on_link_up(node, hello)

    def on_link_lost(
        self, node: NodeId, refused: bool, reason: str, unsent: list[Envelope]
    ) -> None:
        """Judge first, then send again by what is known now."""
        self.ring.on_link_lost(node, refused, reason)
        self.requests.on_link_lost(node)
        self.routing.on_unsent(node, unsent)

    def on_request(self, previous: NodeId, envelope: Envelope, stand_in: bool) -> None:
        """Work on a request that is for us, unless that is done already."""
        try:
            is_new = self._serving.begin(previous, envelope)
        except OverlayError as error:
            self.routing.answer(envelope, previous, error_answer(error))
            return
        if is_new:
            self._kernel.start(self._serve(previous, envelope, stand_in))

    def on_answer(self, envelope: Envelope) -> None:
        """Resolve the request of ours that was answered."""
        self.requests.on_answer(envelope)

    # inside

    async def _serve(self, previous: NodeId, envelope: Envelope, stand_in: bool) -> None:
        hops = len(envelope.via) + (previous != self.node_id)
        span = self._kernel.span("overlay.serve", envelope.trace, "server")
        context = RequestContext(envelope.source, span.trace, hops, stand_in)
        failure = None
        fault: Exception | None = None
        try:
            serve = self._serve_by_code.get(envelope.method)
            if serve is None:
                reason = f"requests of code {envelope.method:#x} are not served here"
                raise OverlayError(ErrorCode.INVALID_MESSAGE, reason)
            request = cast(Request, decode_body(envelope.method, envelope.body))
            answer: Message = await serve(request, context)
        except OverlayError as error:
            failure = error.code.name.lower()
            answer = error_answer(error)
        except Exception as error:  # a fault of our own: the asker is told, the procedure ends
            fault, failure = error, "internal_fault"
            reason = "a fault of the peer that should answer"
            answer = error_answer(OverlayError(ErrorCode.INTERNAL_FAULT, reason))
        if span.trace is not None:
            span.end(
                self._kernel.now,
                failure,
                chordial_overlay_method=METHODS.get(envelope.method, "unknown"),
                chordial_overlay_hop=hops,
                chordial_overlay_standin=stand_in,
            )
        self._serving.end(envelope, answer)
        if fault is not None:
            raise fault

    async def _lookup(
        self, resource: ResourceId, request: Request, kind: type[A], trace: Trace | None
    ) -> A:
        answer = (await self.lookup(resource, request, trace)).answer
        if not isinstance(answer, kind):
            raise OverlayError(ErrorCode.INVALID_MESSAGE, f"{type(answer).__name__} was answered")
        return answer

    async def _ask_patiently(
        self, resource: ResourceId, request: Request, trace: Trace | None
    ) -> Answered:
        until = self._kernel.now + RETRY_SECONDS
        while True:
            try:
                return await self.requests.ask(resource, request, to_resource=True, trace=trace)
            except OverlayError as error:
                pause = error.retry_after or (DETOUR_SECONDS if error.code in _DETOURS else 0.0)
                pause = self._kernel.jittered(pause)
                if not pause or self._kernel.now + pause > until:
                    raise
            await self._kernel.sleep(pause)

    def _tell_lookup(self, request: Request, hops: int, started: float, error: str | None) -> None:
        method = METHODS[request.CODE]
        seconds = self._kernel.now - started
        self._kernel.emit(LookupFinished(method=method, hops=hops, seconds=seconds, error=error))

    def _on_link_message(self, node: NodeId, envelope: Envelope) -> None:
        take = self._take_by_code.get(envelope.method)
        if take is None:
            self._kernel.counters.envelopes_dropped += 1
            return
        try:
            message = cast(LinkMessage, decode_body(envelope.method, envelope.body))
        except OverlayError as error:
            self.links.close(node, f"refused: {error.info}")
            return
        take(node, message)

    async def _on_ping(self, request: PingRequest, context: RequestContext) -> PingAnswer:
        return PingAnswer(self._kernel.random.getrandbits(64), self._kernel.wall_ms)

    def _request_table(self) -> dict[int, Serve]:
        ring, storage, diagnostics = self.ring, self.storage, self.diagnostics
        return dict(
            (
                _serves(StoreRequest, storage.on_store),
                _serves(FetchRequest, storage.on_fetch),
                _serves(StatRequest, storage.on_stat),
                _serves(FindRequest, storage.on_find),
                _serves(ReplicateRequest, storage.on_replicate),
                _serves(RangeDigestRequest, storage.on_range_digest),
                _serves(UpdateRequest, ring.on_update),
                _serves(JoinRequest, ring.on_join),
                _serves(LeaveRequest, ring.on_leave),
                _serves(ProposeRequest, ring.on_propose),
                _serves(FormRequest, ring.on_form),
                _serves(PingRequest, self._on_ping),
                _serves(RouteQueryRequest, diagnostics.on_route_query),
                _serves(PathTrackRequest, diagnostics.on_path_track),
            )
        )

    def _link_table(self) -> dict[int, Take]:
        ring = self.ring
        return dict(
            (
                _takes(LinkPing, ring.on_ping),
                _takes(LinkPong, ring.on_pong),
                _takes(Events, ring.on_events),
                _takes(EventsAck, ring.on_ack),
                _takes(Report, ring.on_report),
                _takes(Doubt, ring.on_doubt),
                _takes(Digest, ring.on_digest),
                _takes(DigestDiff, ring.on_digest_diff),
            )
        )


class _RingEars:
    """Hands on what the ring tells: storage first, then requests, then who else watches."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def on_neighbors_changed(self) -> None:
        self._peer.storage.on_neighbors_changed()

    def on_member_dead(self, node: NodeId) -> None:
        self._peer.storage.on_member_dead(node)
        self._peer.requests.on_member_dead(node)
        for tell in self._peer.on_member_dead:
            tell(node)


def _serves(
    kind: type[R], serve: Callable[[R, RequestContext], Awaitable[Answer]]
) -> tuple[int, Serve]:
    """Pair a request's code with what serves it; the code decides what a body is decoded as."""
    return kind.CODE, cast(Serve, serve)


def _takes(kind: type[L], take: Callable[[NodeId, L], None]) -> tuple[int, Take]:
    """Pair a link message's code with what takes it."""
    return kind.CODE, cast(Take, take)
