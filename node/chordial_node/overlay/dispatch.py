"""What arrives for this peer, by its code: requests become procedures, link messages calls.

RFC 6940 §6.1 and §6.3.3.1: an OverlayError becomes an error answer here, once. A fault of our own
is told to the asker before it ends the procedure. Whom a request is for is decided in `routing.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.diagnostics import Diagnostics
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import (
    METHODS,
    Answer,
    Digest,
    DigestDiff,
    Doubt,
    Envelope,
    Events,
    EventsAck,
    FetchRequest,
    FindRequest,
    FormRequest,
    JoinRequest,
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
    StatRequest,
    StoreRequest,
    UpdateRequest,
    decode_body,
)
from chordial_node.overlay.requests import RequestContext, Serving
from chordial_node.overlay.ring.ring import Ring
from chordial_node.overlay.routing import Routing, error_answer
from chordial_node.overlay.storage.storage import Storage

R = TypeVar("R", bound=Request)
L = TypeVar("L", bound=LinkMessage)
Serve = Callable[[Request, RequestContext], Awaitable[Answer]]
Take = Callable[[NodeId, LinkMessage], None]


class Dispatch:
    """Two tables: who serves a request, who takes a link message."""

    def __init__(
        self,
        kernel: Kernel,
        own: NodeId,
        links: Links,
        routing: Routing,
        serving: Serving,
        ring: Ring,
        storage: Storage,
        diagnostics: Diagnostics,
    ) -> None:
        self._kernel = kernel
        self._own = own
        self._links = links
        self._routing = routing
        self._serving = serving
        self._serve_by_code = self._request_table(ring, storage, diagnostics)
        self._take_by_code = self._link_table(ring)

    def on_request(self, previous: NodeId, envelope: Envelope, stand_in: bool) -> None:
        """Work on a request that is for us, unless that is done already."""
        try:
            is_new = self._serving.begin(previous, envelope)
        except OverlayError as error:
            self._routing.answer(envelope, previous, error_answer(error))
            return
        if is_new:
            self._kernel.start(self._serve(previous, envelope, stand_in))

    def on_link_message(self, node: NodeId, envelope: Envelope) -> None:
        """Hand on what the other end of a link said; nonsense ends the link."""
        take = self._take_by_code.get(envelope.method)
        if take is None:
            self._kernel.counters.envelopes_dropped += 1
            return
        try:
            message = cast(LinkMessage, decode_body(envelope.method, envelope.body))
        except OverlayError as error:
            self._links.close(node, f"refused: {error.info}")
            return
        take(node, message)

    async def _serve(self, previous: NodeId, envelope: Envelope, stand_in: bool) -> None:
        hops = len(envelope.via) + (previous != self._own)
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
                chordial_overlay_stand__in=stand_in,
            )
        self._serving.end(envelope, answer)
        if fault is not None:
            raise fault

    async def _on_ping(self, request: PingRequest, context: RequestContext) -> PingAnswer:
        return PingAnswer(self._kernel.random.getrandbits(64), self._kernel.wall_ms)

    def _request_table(
        self, ring: Ring, storage: Storage, diagnostics: Diagnostics
    ) -> dict[int, Serve]:
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

    def _link_table(self, ring: Ring) -> dict[int, Take]:
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


def _serves(
    kind: type[R], serve: Callable[[R, RequestContext], Awaitable[Answer]]
) -> tuple[int, Serve]:
    """Pair a request's code with what serves it; the code decides what a body is decoded as."""
    return kind.CODE, cast(Serve, serve)


def _takes(kind: type[L], take: Callable[[NodeId, L], None]) -> tuple[int, Take]:
    """Pair a link message's code with what takes it."""
    return kind.CODE, cast(Take, take)
