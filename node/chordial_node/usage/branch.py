"""One way of a forwarded request: its client transaction, its timers, its CANCEL (RFC 3261 §16.6).

It turns what the transaction tells into four words for its fork: provisional, success, refusal, no
answer. What they mean for the request as a whole is decided in `fork.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chordial_node.ids import NodeId
from chordial_node.kernel.timers import Timer
from chordial_node.kernel.tracing import Span
from chordial_node.sip.message import Message
from chordial_node.sip.outgoing import Outgoing
from chordial_node.sip.transactions import ClientTransaction
from chordial_node.usage.sides import Way

if TYPE_CHECKING:
    from chordial_node.usage.fork import Fork

CANCELLED_SECONDS = 32.0
"""64·T1: a cancelled branch that never answers is over (RFC 3261 §9.1)."""
NO_WAY = 1000
"""Stands for the status of a way on which nobody was reached: worse than any answer."""
REQUEST_TIMEOUT = 408


class Branch:
    """A request on one way, until its final answer or failure."""

    __slots__ = (
        "_fork",
        "_life",
        "_ring",
        "_span",
        "_transaction",
        "_was_cancelled",
        "_way",
        "group",
        "has_provisional",
        "is_over",
        "is_ringing",
    )

    def __init__(self, fork: Fork, way: Way, group: list[Way], span: Span) -> None:
        """Hold a way that is to be tried, and the other ways to the same device."""
        self._fork = fork
        self._way = way
        self._span = span
        self._life: Timer | None = None
        self._ring: Timer | None = None
        self._transaction: ClientTransaction | None = None
        self._was_cancelled = False
        self.group = group
        self.has_provisional = False
        self.is_ringing = False
        """The phone has shown life: it may still answer when the peer in between has died."""
        self.is_over = False

    @property
    def node(self) -> NodeId | None:
        """The peer that the way leads over, None when it leads to the phone."""
        return self._way.flow.node

    def open(self, request: Outgoing) -> None:
        """Send the request."""
        if self.node is not None:
            self._life = self._fork.kernel.after(self._way.life_seconds, self._on_silence)
        self._arm_ring()
        self._transaction = self._fork.transactions.send(request, self._way.flow, self)

    def cancel(self) -> None:
        """Cancel an INVITE that is not answered: now, or on its first 1xx (RFC 3261 §9.1)."""
        if self.is_over or self._was_cancelled or self._fork.method != b"INVITE":
            return
        self._was_cancelled = True
        self._stop_timers()
        self._ring = self._fork.kernel.after(CANCELLED_SECONDS, self._on_never_answered)
        if self._transaction is not None:
            self._transaction.send_cancel()

    def give_up(self, reason: str) -> None:
        """End a branch without an answer; should it still ring, it is cancelled."""
        if self.is_over:
            return
        self._close(None, reason)
        self._go_past_the_peer()
        self._was_cancelled = True
        if self._transaction is not None and self._fork.method == b"INVITE":
            self._transaction.send_cancel()
        self._fork.on_no_answer(self, NO_WAY)

    # what the transaction tells -----------------------------------------------------------------

    def on_response(self, transaction: ClientTransaction, response: Message) -> None:
        """Take a response of the way's transaction."""
        status = response.status
        if self._life is not None:
            self._life.cancel()
        if status < 200:
            self._on_provisional(response)
        elif status < 300:
            self._close(status, None)
            self._fork.on_success(response)
        elif not self.is_over:
            self._close(status, None)
            self._fork.on_refusal(self, response)

    def on_failure(self, transaction: ClientTransaction, reason: str) -> None:
        """Take the end of the transaction without a final answer."""
        if self.is_over:
            return
        self._close(None, reason)
        self._go_past_the_peer()
        timed_out = self.node is None and not transaction.flow.is_dead
        self._fork.on_no_answer(self, REQUEST_TIMEOUT if timed_out else NO_WAY)

    def _on_provisional(self, response: Message) -> None:
        self.has_provisional = True
        self.is_ringing = self.is_ringing or response.status > 100
        if response.status > 100 and not self.is_over and not self._was_cancelled:
            self._arm_ring()
            self._fork.on_provisional(response)

    def _go_past_the_peer(self) -> None:
        """Let the device be tried without the peer, where that can be.

        Not after a 100: then it has the request already, and would take the second for a loop.
        """
        if self.has_provisional or self._way.instead is None:
            return
        way = self._way.instead()
        if way is not None:
            self.group.insert(0, way)

    # time ---------------------------------------------------------------------------------------

    def _on_silence(self) -> None:
        node = self.node
        self.give_up(f"no 100 within {self._way.life_seconds:g} s")
        if node is not None:
            self._fork.on_silence(node)

    def _arm_ring(self) -> None:
        """Timer C: a branch that only rings is cancelled (§16.6 step 11, §16.8)."""
        if self._fork.method != b"INVITE":
            return
        if self._ring is not None:
            self._ring.cancel()
        self._ring = self._fork.kernel.after(self._fork.ring_timeout, self._on_rung_out)

    def _on_rung_out(self) -> None:
        if self.has_provisional:
            self.cancel()
        elif not self.is_over:
            self._close(None, "nobody answered")
            self._fork.on_no_answer(self, REQUEST_TIMEOUT)

    def _on_never_answered(self) -> None:
        if not self.is_over:
            self._close(None, "cancelled, and never answered")
            self._fork.on_no_answer(self, REQUEST_TIMEOUT)

    def _stop_timers(self) -> None:
        for timer in (self._life, self._ring):
            if timer is not None:
                timer.cancel()

    def _close(self, status: int | None, error: str | None) -> None:
        self.is_over = True
        self._stop_timers()
        if status is not None:
            self._span.end(self._fork.kernel.now, sip_response_status__code=status)
        else:
            self._span.end(self._fork.kernel.now, error=error)
