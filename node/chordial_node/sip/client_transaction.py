"""A request that was sent and what came back (RFC 3261 §17.1 and §9.1, RFC 6026).

It repeats the request until something is heard, acknowledges refusals of an INVITE, and remembers
a CANCEL until it may be sent. Where a request goes is decided by the usage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.timers import Timer
from chordial_node.sip.flow import Flow
from chordial_node.sip.flows import Flows
from chordial_node.sip.machines import (
    INVITE_CLIENT,
    INVITE_CLIENT_START,
    NON_INVITE_CLIENT,
    NON_INVITE_CLIENT_START,
    Action,
    Input,
    State,
)
from chordial_node.sip.message import Message
from chordial_node.sip.outgoing import Outgoing
from chordial_node.sip.response import acknowledge
from chordial_node.sip.transaction import Transaction

_PENDING = (State.CALLING, State.TRYING, State.PROCEEDING)


class ClientUser(Protocol):
    """Who sent a request."""

    def on_response(self, transaction: ClientTransaction, response: Message) -> None:
        """Take a response: each 1xx, the final one, and each further 2xx to an INVITE."""

    def on_failure(self, transaction: ClientTransaction, reason: str) -> None:
        """Note that no final response will come: told once, and nothing after it."""


class ClientTransaction(Transaction):
    """One request of ours."""

    __slots__ = (
        "_ack",
        "_flows",
        "_on_cancel",
        "_on_end",
        "_outgoing",
        "_patience",
        "_reason",
        "_response",
        "_sent",
        "_user",
        "branch",
        "is_cancelled",
    )

    def __init__(
        self,
        kernel: Kernel,
        flows: Flows,
        outgoing: Outgoing,
        flow: Flow,
        user: ClientUser,
        t1: float,
    ) -> None:
        """Hold a request whose topmost Via is ours; `start` sends it."""
        table = INVITE_CLIENT if outgoing.method == b"INVITE" else NON_INVITE_CLIENT
        super().__init__(kernel, table, outgoing.method, flow, t1)
        self.branch = outgoing.branch
        self._outgoing = outgoing
        self.is_cancelled = False
        """A CANCEL was sent, or will be with the first 1xx."""
        self._flows = flows
        self._user = user
        self._on_end: Callable[[ClientTransaction], None] | None = None
        self._on_cancel: Callable[[ClientTransaction], None] | None = None
        self._patience: Timer | None = None
        """Ends a cancelled INVITE that is never answered."""
        self._response: Message | None = None
        self._ack: bytes | None = None
        self._reason = ""
        self._sent = 0

    def start(
        self,
        on_end: Callable[[ClientTransaction], None],
        on_cancel: Callable[[ClientTransaction], None],
    ) -> None:
        """Send the request; `on_end` is told when all is over, `on_cancel` sends a CANCEL."""
        self._on_end = on_end
        self._on_cancel = on_cancel
        is_invite = self.method == b"INVITE"
        self._take(INVITE_CLIENT_START if is_invite else NON_INVITE_CLIENT_START)
        if self.flow.is_dead:  # never told within the call that sends
            self._kernel.after(0.0, self._on_dead_flow)

    @property
    def request(self) -> Message:
        """The request, read anew each time: only CANCEL and ACK are made of it."""
        return self._outgoing.read()

    @property
    def is_completed(self) -> bool:
        """Whether a final response came, or none will."""
        return self.state not in _PENDING

    def send_cancel(self) -> None:
        """Cancel an INVITE: at once after its first 1xx, else when that comes (§9.1)."""
        if self.is_cancelled or self.is_completed or self.method != b"INVITE":
            return
        self.is_cancelled = True
        if self.state is State.PROCEEDING:
            self._cancel_now()

    def receive(self, response: Message) -> None:
        """Take a response that was matched to this transaction."""
        status = response.status
        if self.is_completed:
            self._kernel.counters.sip_retransmissions_received += 1
        else:
            self.status = status
        self._response = response
        if status < 200:
            if self.is_cancelled and self.state is State.CALLING:
                self._cancel_now()  # remembered until this 1xx
            self.feed(Input.PROVISIONAL)
            return
        self._end_patience()
        self.feed(Input.SUCCESS if status < 300 else Input.FAILURE)

    def on_flow_lost(self, reason: str) -> None:
        """Note that the flow is dead: a pending request fails.

        An INVITE that rings at a peer stays: its answer may come through another one
        (`sip.md` 8), and the usage's own timer bounds it.
        """
        self._reason = reason
        if self.method != b"INVITE" or self.state is not State.PROCEEDING:
            self.feed(Input.TRANSPORT_ERROR)
        elif not self.flow.is_peer:
            self._fail()

    def _act(self, action: Action) -> None:
        if action is Action.SEND_REQUEST:
            self._sent += 1
            if self._sent > 1:
                self._kernel.counters.sip_retransmissions_sent += 1
            self._flows.send(self.flow, self._outgoing.raw)
        elif action is Action.SEND_ACK and self._response is not None:
            if self._ack is None:
                self._ack = acknowledge(self.request, self._response)
            self._flows.send(self._flows.renewed(self.flow), self._ack)

    def _tell(self, action: Action) -> None:
        if action is Action.PASS_RESPONSE:
            assert self._response is not None
            self._user.on_response(self, self._response)
        elif action is Action.TELL_TIMEOUT:
            self._user.on_failure(self, "timed out")
        elif not self.status >= 200:  # the final response was passed up before
            self._user.on_failure(self, self._reason)

    def _forgotten(self) -> None:
        self._end_patience()
        if self._on_end is not None:
            self._on_end(self)

    def _fail(self) -> None:
        self._end()
        self._user.on_failure(self, self._reason)

    def _on_dead_flow(self) -> None:
        self.on_flow_lost("the flow is dead")

    def _cancel_now(self) -> None:
        if self.is_completed or self._on_cancel is None:
            return
        self._patience = self._kernel.after(64 * self._t1, self._on_no_answer)
        self._on_cancel(self)

    def _on_no_answer(self) -> None:
        if not self.is_completed:
            self._reason = "cancelled, and never answered"
            self._fail()

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
