"""Keepalives from the edge: OPTIONS down the UDP flows that only this peer can use.

RFC 5626 §4.4 and §5.2 turned round (`sip.md` 14): NATs and balancers forget a flow sooner than a
registration ends. Any answer is life; a phone that has answered and then misses three is gone.
Which flows are kept is decided by the usage; other requests are never sent here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.timers import Timer
from chordial_node.sip.branches import PREFIX_LENGTH, branch, owner_prefix
from chordial_node.sip.flow import Flow
from chordial_node.sip.message import Message

PERIOD_SECONDS = 27.0
SPREAD = 1 / 9
"""Part of the period by which one may come earlier or later."""
MISSES = 3
"""So many unanswered OPTIONS end a flow, or show that the phone never answers any."""
MOST_KEPT = 50_000
_TICK_SECONDS = 0.5
_PING = b"\r\n"


class FlowSender(Protocol):
    """What keepalives need of the flows."""

    def send(self, flow: Flow, data: bytes) -> None:
        """Send bytes down a flow."""

    def via(self, flow: Flow, branch: bytes) -> bytes:
        """Return the Via value of a request that leaves by a flow."""

    def sent_by(self, flow: Flow) -> bytes:
        """Return our host and port as the other side of a flow knows them."""


class _Kept:
    """One flow that is kept open."""

    __slots__ = (
        "flow",
        "has_answered",
        "is_mute",
        "is_waiting",
        "key",
        "misses",
        "sent",
        "until",
        "uri",
    )

    def __init__(self, flow: Flow, uri: bytes, key: bytes, until: float) -> None:
        self.flow = flow
        self.uri = uri
        self.key = key
        """The branch of its OPTIONS, but for their numbers."""
        self.until = until
        """When the last binding over it ends: a mute phone's old flow would else stay for ever."""
        self.sent = 0
        self.misses = 0
        self.is_waiting = False
        self.has_answered = False
        self.is_mute = False
        """Never answered anything: it is sent CRLF and not judged."""


class Keepalives:
    """All flows that are kept open, on one wheel: no timer of their own."""

    def __init__(
        self,
        kernel: Kernel,
        node_id: NodeId,
        flows: FlowSender,
        on_silent: Callable[[Flow], None],
        period: float = PERIOD_SECONDS,
    ) -> None:
        """Keep nothing yet; `on_silent` is told of each flow that missed too many."""
        self._period = period
        slots = round(period * (1.0 + SPREAD) / _TICK_SECONDS) + 2  # more than the longest period
        self._kernel = kernel
        self._node_id = node_id
        self._flows = flows
        self._on_silent = on_silent
        self._by_flow: dict[Flow, _Kept] = {}
        self._by_key: dict[bytes, _Kept] = {}
        self._wheel: list[dict[_Kept, None]] = [{} for _ in range(slots)]
        self._slot = 0
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._by_flow)

    def keep(self, flow: Flow, uri: bytes, seconds: float) -> bool:
        """Keep a UDP flow open for a time, by OPTIONS for a URI; False when no more can be kept."""
        assert not flow.is_reliable
        until = self._kernel.now + seconds
        kept = self._by_flow.get(flow)
        if kept is not None:
            kept.uri = uri
            kept.until = max(kept.until, until)
            return True
        if len(self._by_flow) >= MOST_KEPT:
            return False
        kept = _Kept(flow, uri, branch(self._node_id, self._kernel.random), until)
        self._by_flow[flow] = self._by_key[kept.key] = kept
        flow.is_kept = True
        self._schedule(kept)
        if self._timer is None:
            self._timer = self._kernel.after(_TICK_SECONDS, self._tick)
        return True

    def forget(self, flow: Flow) -> None:
        """Send no more keepalives down a flow."""
        kept = self._by_flow.pop(flow, None)
        if kept is None:
            return
        flow.is_kept = False
        del self._by_key[kept.key]
        for slot in self._wheel:
            slot.pop(kept, None)
        if not self._by_flow and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hear(self, flow: Flow) -> None:
        """Note that the other side of a flow lives: a message came over it."""
        kept = self._by_flow.get(flow)
        if kept is not None:
            kept.misses = 0
            kept.is_waiting = False

    def take_answer(self, response: Message) -> bool:
        """Note an answer to one of our OPTIONS; False when the response is for somebody else."""
        written = response.via.branch
        key, dot, _ = written.rpartition(b".")
        if not dot or owner_prefix(written) != self._node_id[:PREFIX_LENGTH]:
            return False
        kept = self._by_key.get(key)
        if kept is not None:
            kept.has_answered = True
            kept.is_mute = kept.is_waiting = False
            kept.misses = 0
        return True

    def _tick(self) -> None:
        self._timer = self._kernel.after(_TICK_SECONDS, self._tick)
        self._slot = (self._slot + 1) % len(self._wheel)
        due, self._wheel[self._slot] = self._wheel[self._slot], {}
        for kept in [kept for kept in due if kept.until <= self._kernel.now]:
            del due[kept]
            self.forget(kept.flow)
        silent = [kept.flow for kept in due if not self._goes_on(kept)]
        for flow in silent:
            self.forget(flow)
            self._on_silent(flow)

    def _goes_on(self, kept: _Kept) -> bool:
        """Judge what the last OPTIONS brought and send the next; False when the flow is dead."""
        if kept.is_waiting:
            kept.misses += 1
            if kept.misses >= MISSES:
                if kept.has_answered:
                    return False
                kept.is_mute = True
        if kept.is_mute:
            kept.is_waiting = False
            self._flows.send(kept.flow, _PING)
        else:
            kept.sent += 1
            kept.is_waiting = True
            self._flows.send(kept.flow, self._options(kept))
        self._schedule(kept)
        return True

    def _schedule(self, kept: _Kept) -> None:
        seconds = self._period * (1.0 + SPREAD * (2.0 * self._kernel.random.random() - 1.0))
        ticks = max(1, round(seconds / _TICK_SECONDS))
        self._wheel[(self._slot + ticks) % len(self._wheel)][kept] = None

    def _options(self, kept: _Kept) -> bytes:
        via = self._flows.via(kept.flow, b"%b.%d" % (kept.key, kept.sent))
        here = self._flows.sent_by(kept.flow)
        return (
            b"OPTIONS %b SIP/2.0\r\nVia: %b\r\nMax-Forwards: 1\r\n"
            b"From: <sip:%b>;tag=%b\r\nTo: <%b>\r\nCall-ID: %b\r\n"
            b"CSeq: %d OPTIONS\r\nContent-Length: 0\r\n\r\n"
        ) % (kept.uri, via, here, kept.key[-8:], kept.uri, kept.key, kept.sent)
