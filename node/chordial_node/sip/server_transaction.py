"""A request that came in and what was answered to it (RFC 3261 §17.2, RFC 6026).

It repeats what was answered when the request comes again, and knows its flow back. What to answer
is decided by the usage; retransmissions are recognised in `transactions.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.sip.branches import MAGIC
from chordial_node.sip.flow import Flow
from chordial_node.sip.flows import Flows
from chordial_node.sip.machines import (
    INVITE_SERVER,
    INVITE_SERVER_START,
    NON_INVITE_SERVER,
    NON_INVITE_SERVER_START,
    Action,
    Input,
    State,
)
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond
from chordial_node.sip.transaction import Transaction

ServerKey = tuple[bytes | int, ...]
"""What makes two requests one transaction."""


class ServerTransaction(Transaction):
    """One request of somebody else."""

    __slots__ = (
        "_ack_up",
        "_flows",
        "_last",
        "_way",
        "is_cancelled",
        "key",
        "on_progress",
        "request",
        "trace",
    )

    def __init__(
        self, kernel: Kernel, flows: Flows, key: ServerKey, request: Message, flow: Flow, t1: float
    ) -> None:
        """Begin with a request that nothing was answered to yet."""
        is_invite = request.method == b"INVITE"
        table = INVITE_SERVER if is_invite else NON_INVITE_SERVER
        super().__init__(kernel, table, request.method, flow, t1)
        self.request = request
        self.key = key
        self.trace: Trace | None = None
        """What spans of this request hang below; set by the usage."""
        self.is_cancelled = False
        """A CANCEL for it was passed up."""
        self.on_progress: Callable[[ServerTransaction], None] = _nobody
        """Told when the transaction is final, and when it is over."""
        self._flows = flows
        self._last: bytes | None = None
        self._way: Flow | None = None
        self._ack_up: Callable[[], None] | None = None
        self._take(INVITE_SERVER_START if is_invite else NON_INVITE_SERVER_START)

    @property
    def is_final(self) -> bool:
        """Whether a final response was sent, or the transaction ended without one."""
        return self.state not in (State.TRYING, State.PROCEEDING)

    @property
    def to_tag(self) -> bytes:
        """The To tag of our own responses; an ACK that carries it is known without state."""
        return self._flows.tags.of(self.request)

    def trying(self) -> None:
        """Send 100, unless something was answered already.

        A request other than INVITE gets it from a peer only, over a reliable transport (RFC 4320
        §4.1): phones are not to be told that nothing is known.
        """
        if self.status == 0 and (self.method == b"INVITE" or self.flow.is_peer):
            self.respond(respond(self.request, 100), 100)

    def respond(self, response: bytes | Message, status: int) -> None:
        """Send a response; after a final one only further 2xx to an INVITE go out."""
        is_success = 200 <= status < 300
        if self.is_final and not (is_success and self.state is State.ACCEPTED):
            return
        self.status = status
        self._last = response if isinstance(response, bytes) else response.raw
        was_final = self.is_final
        if status < 200:
            self.feed(Input.PROVISIONAL)
        else:
            self.feed(Input.SUCCESS if is_success else Input.FAILURE)
        if self.is_final and not was_final:
            self.on_progress(self)

    def refuse(self, response: bytes | Message, status: int) -> None:
        """Send a final response once and forget the request; its ACK is absorbed by its tag."""
        if self.is_final:
            return
        self.status = status
        self._last = response if isinstance(response, bytes) else response.raw
        self._send()
        self._end()

    def repeat(self) -> None:
        """Take the same request once more: it gets the last response, if there is one."""
        self.feed(Input.REQUEST)

    def owns(self, ack: Message) -> bool:
        """Tell whether an ACK with the same key acknowledges this transaction's response.

        A branch without the magic cookie may be shared by an ACK to a 2xx; the To tag decides.
        """
        if ack.via.branch.startswith(MAGIC) or self._last is None:
            return True
        return ack.to_tag == Message(self._last).to_tag

    def acknowledge(self, ack_up: Callable[[], None]) -> None:
        """Take an ACK of this transaction; `ack_up` passes one for a 2xx to the usage."""
        self._ack_up = ack_up
        self.feed(Input.ACK)
        self._ack_up = None

    def give_up(self) -> None:
        """End the transaction at once, answered or not."""
        if not self.is_terminated:
            self._end()

    def _act(self, action: Action) -> None:
        if action is Action.SEND_RESPONSE:
            self._send()
        elif action is Action.REPEAT_RESPONSE and self._last is not None:
            self._kernel.counters.sip_retransmissions_sent += 1
            self._send()

    def _tell(self, action: Action) -> None:
        """Pass an ACK up; that no ACK came, or no way leads back, changes nothing for a proxy."""
        if action is Action.PASS_ACK and self._ack_up is not None:
            self._ack_up()

    def _send(self) -> None:
        assert self._last is not None
        way = self._way
        if way is None or way.is_dead:
            way = self._way = self._flows.reply_flow(self.flow, self.request)
        self._flows.send(way, self._last)
        if way.is_dead and not self.is_terminated:
            # After this turn's step: the table says what a broken way means to each state.
            self._kernel.after(0.0, self._on_dead_way)

    def _on_dead_way(self) -> None:
        self.feed(Input.TRANSPORT_ERROR)

    def _forgotten(self) -> None:
        self.on_progress(self)


def _nobody(transaction: ServerTransaction) -> None:
    """Stand in until the transaction layer listens."""
