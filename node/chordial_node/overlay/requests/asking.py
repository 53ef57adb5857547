"""Requests of our own: asked with one await, sent again past the dead and around the slow.

RFC 6940 §6.2.1 with the faster retransmission of protocol.md §4, level 1. A request keeps its
transaction id, so that sending it again is harmless. Only peers whose link is broken, or that are
held dead, are named in `avoid`; one that is merely slow is never accused. What requests say does
not belong here.
"""

import msgspec

from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel, TimedOutError
from chordial_node.kernel.procedures import Reply
from chordial_node.kernel.timers import Timer
from chordial_node.kernel.tracing import Span, Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import (
    ERROR,
    INITIAL_TTL,
    METHODS,
    Answer,
    Envelope,
    ErrorAnswer,
    Request,
    decode_body,
    encode_body,
)
from chordial_node.overlay.requests.patience import Patience
from chordial_node.overlay.routing import BUSY_RETRY_SECONDS, MOST_AVOID, Routing
from chordial_node.overlay.table import Table

SENDS = 5
"""RFC 6940 §6.2.1: given up after five reliability timers."""
MOST_LOSSES = 3
"""Links that may break under one request before it is given up."""
MOST_TRIED = 8
"""Next hops that one request tries because the ones before are slow."""


class Answered(msgspec.Struct):
    """An answer, who gave it, and how many links the request crossed."""

    answer: Answer
    source: NodeId
    hops: int


class _Pending:
    __slots__ = (
        "avoid",
        "body",
        "destination",
        "first_sent_at",
        "hop",
        "losses",
        "method",
        "reply",
        "sends",
        "span",
        "timer",
        "to_resource",
        "transaction",
        "tried",
    )

    def __init__(
        self,
        transaction: int,
        destination: bytes,
        to_resource: bool,
        request: Request,
        avoid: list[NodeId],
        reply: Reply[Envelope],
        span: Span,
    ) -> None:
        self.transaction = transaction
        self.destination = destination
        self.to_resource = to_resource
        self.method = request.CODE
        self.body = encode_body(request)
        self.avoid = avoid
        self.reply = reply
        self.span = span
        self.hop: NodeId | None = None
        self.tried: list[NodeId] = []
        self.sends = 0
        self.first_sent_at = 0.0
        self.losses = 0
        self.timer: Timer | None = None


class Requests:
    """All requests of this peer that wait for their answers."""

    def __init__(
        self,
        kernel: Kernel,
        config: OverlayConfig,
        own: NodeId,
        table: Table,
        links: Links,
        routing: Routing,
    ) -> None:
        self._kernel = kernel
        self._config = config
        self._own = own
        self._table = table
        self._routing = routing
        self._patience = Patience(kernel, links)
        self._pending: dict[int, _Pending] = {}
        self._by_hop: dict[NodeId, dict[int, _Pending]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    async def ask(
        self,
        destination: bytes,
        request: Request,
        *,
        to_resource: bool,
        trace: Trace | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # there is no asyncio here
        avoid: tuple[NodeId, ...] = (),
    ) -> Answered:
        """Send a request and return its answer; OverlayError tells why there is none."""
        if len(self._pending) >= self._config.in_flight:
            self._kernel.counters.requests_busy += 1
            reason = "too many own requests wait for their answers"
            raise OverlayError(ErrorCode.BUSY, reason, BUSY_RETRY_SECONDS)
        seconds = timeout or SENDS * self._config.request_timeout_seconds
        pending = _Pending(
            self._kernel.random.getrandbits(64),
            destination,
            to_resource,
            request,
            list(avoid[:MOST_AVOID]),
            self._kernel.reply(seconds),
            self._kernel.span("overlay.request", trace, "client"),
        )
        self._pending[pending.transaction] = pending
        self._kernel.counters.requests_sent += 1
        self._patience.on_sent()
        self._send_first(pending)
        try:
            answered = _read(await pending.reply)
        except TimedOutError as error:
            self._kernel.counters.requests_timed_out += 1
            self._forget(pending, "request_timeout")
            reason = f"no answer to {type(request).__name__} in {seconds:g} s"
            raise OverlayError(ErrorCode.REQUEST_TIMEOUT, reason) from error
        except OverlayError as error:
            self._forget(pending, error.code.name.lower())
            if error.code is ErrorCode.BUSY:
                self._patience.on_busy()
            raise
        self._forget(pending, None)
        return answered

    def on_answer(self, envelope: Envelope) -> None:
        """Resolve the request that an answer belongs to; late and strange ones are dropped."""
        pending = self._pending.get(envelope.transaction)
        if pending is None or pending.reply.is_done or pending.hop is None:
            return
        if envelope.method != ERROR:
            is_other = not pending.to_resource and envelope.source != pending.destination
            if is_other or envelope.method != pending.method + 1:
                self._kernel.counters.envelopes_dropped += 1
                return
        first = pending.tried[0]
        if first != self._own:
            seconds = self._kernel.now - pending.first_sent_at
            is_direct = envelope.hops == 1 and len(pending.tried) == 1
            self._patience.answered(pending.method, first, seconds, is_direct)
        self._stop(pending)
        pending.reply.resolve(envelope)

    def on_link_lost(self, node: NodeId) -> None:
        """Send everything again that went over a link which is gone."""
        self._send_past(node, is_gone=node in self._table.avoid)

    def on_member_dead(self, node: NodeId) -> None:
        """Send everything past a peer that is held dead."""
        self._send_past(node, is_gone=True)

    def _send_past(self, node: NodeId, is_gone: bool) -> None:
        for pending in list(self._by_hop.get(node, {}).values()):
            is_at_its_end = not pending.to_resource and pending.destination == node
            pending.losses += 1
            if pending.losses > MOST_LOSSES or (is_gone and is_at_its_end):
                reason = f"the link to {node.hex()} is gone"
                self._fail(pending, OverlayError(ErrorCode.REQUEST_TIMEOUT, reason))
                continue
            if is_gone and node not in pending.avoid and len(pending.avoid) < MOST_AVOID:
                pending.avoid.append(node)
            self._kernel.counters.requests_resent += 1
            self._send_first(pending)

    def _send_first(self, pending: _Pending) -> None:
        """Send by the table, as it is now; fail when there is no way or no room."""
        choice = self._routing.choose(pending.destination, pending.to_resource, pending.avoid)
        if choice is not None:
            if not self._send(pending, choice[0], choice[1]):
                self._fail(pending, self._busy("no room on the link to the next hop"))
        elif pending.to_resource:
            self._fail(pending, self._busy("this peer knows of no ring yet"))
        else:
            reason = f"no peer {pending.destination.hex()} is known"
            self._fail(pending, OverlayError(ErrorCode.NOT_FOUND, reason))

    def _send(self, pending: _Pending, hop: NodeId, rule: str) -> bool:
        pending.tried.append(hop)
        pending.sends += 1
        if pending.sends == 1:
            pending.first_sent_at = self._kernel.now
        envelope = Envelope(
            method=pending.method,
            transaction=pending.transaction,
            source=self._own,
            destination=pending.destination,
            to_resource=pending.to_resource,
            ttl=INITIAL_TTL,
            via=[],
            avoid=pending.avoid.copy(),
            trace=pending.span.trace,
            hops=0,
            body=pending.body,
        )
        self._wait_for(pending, hop)
        return self._routing.send(envelope, hop, rule)

    def _wait_for(self, pending: _Pending, hop: NodeId) -> None:
        """Wait for the answer by way of one next hop, and for no other any more."""
        self._stop(pending)
        pending.hop = hop
        self._by_hop.setdefault(hop, {})[pending.transaction] = pending
        if hop != self._own:
            seconds = self._patience.seconds(pending.method, hop, pending.sends)
            pending.timer = self._kernel.after(seconds, lambda: self._on_slow(pending))

    def _on_slow(self, pending: _Pending) -> None:
        """Try the next candidate, if there is another and the budget allows."""
        pending.timer = None
        hop = pending.hop
        if hop is None or pending.reply.is_done:
            return
        choice = self._next_candidate(pending, hop)
        if (
            choice is not None
            and len(pending.tried) < MOST_TRIED
            and self._patience.allow_retry()
            and self._send(pending, choice[0], choice[1])
        ):
            self._kernel.counters.requests_resent += 1
            return
        pending.sends += 1
        self._wait_for(pending, hop)

    def _next_candidate(self, pending: _Pending, hop: NodeId) -> tuple[NodeId, str] | None:
        """Return another way: one not tried yet, or what the table says by now."""
        if not pending.to_resource and hop == pending.destination:
            return None
        skip = [*pending.avoid, *pending.tried]
        untried = self._routing.choose(pending.destination, pending.to_resource, skip)
        if untried is not None and untried[0] not in (self._own, *pending.tried):
            return untried[0], untried[1]
        usual = self._routing.choose(pending.destination, pending.to_resource, pending.avoid)
        return (usual[0], usual[1]) if usual is not None and usual[0] != hop else None

    def _busy(self, reason: str) -> OverlayError:
        self._kernel.counters.requests_busy += 1
        return OverlayError(ErrorCode.BUSY, reason, BUSY_RETRY_SECONDS)

    def _fail(self, pending: _Pending, error: OverlayError) -> None:
        self._stop(pending)
        pending.reply.fail(error)

    def _stop(self, pending: _Pending) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
            pending.timer = None
        if pending.hop is not None:
            at_hop = self._by_hop.get(pending.hop, {})
            at_hop.pop(pending.transaction, None)
            if not at_hop:
                self._by_hop.pop(pending.hop, None)

    def _forget(self, pending: _Pending, error: str | None) -> None:
        self._stop(pending)
        del self._pending[pending.transaction]
        pending.span.end(
            self._kernel.now,
            error,
            chordial_overlay_method=METHODS[pending.method],
            chordial_overlay_sends=pending.sends,
        )


def _read(envelope: Envelope) -> Answered:
    answer = decode_body(envelope.method, envelope.body)
    if isinstance(answer, ErrorAnswer):
        try:
            code = ErrorCode(answer.code)
        except ValueError:
            code = ErrorCode.INVALID_MESSAGE
        error = OverlayError(code, answer.info, answer.retry_after)
        error.data = answer.data
        raise error
    if not isinstance(answer, Answer):
        raise OverlayError(ErrorCode.INVALID_MESSAGE, f"{envelope.method:#x} is no answer")
    return Answered(answer, envelope.source, envelope.hops)
