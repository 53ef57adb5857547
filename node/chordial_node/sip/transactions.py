"""The transaction layer: messages matched to transactions, new ones made, the rest passed up.

RFC 3261 §17.1.3, §17.2.3 and §9.2, RFC 6026. Requests of phones that still speak RFC 2543 are
matched by what they repeat. What a request means is never decided here.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from chordial_node.config import SipConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.sip.branches import MAGIC, branch, owner_prefix
from chordial_node.sip.client_transaction import ClientTransaction, ClientUser
from chordial_node.sip.flows import Flow, Flows
from chordial_node.sip.message import Message
from chordial_node.sip.outgoing import Outgoing
from chordial_node.sip.response import cancel, respond
from chordial_node.sip.server_transaction import ServerKey, ServerTransaction

__all__ = [
    "ClientTransaction",
    "ClientUser",
    "ServerTransaction",
    "ServerUser",
    "Transactions",
    "branch",
    "owner_prefix",
]

FINISHED_PER_OPEN = 2
"""Answered transactions remembered for retransmissions, in multiples of those that may be open."""
CLIENTS_PER_OPEN = 4
_CANCELLABLE = (
    b"INVITE", b"MESSAGE", b"OPTIONS", b"REGISTER", b"SUBSCRIBE", b"NOTIFY", b"BYE", b"INFO",
    b"UPDATE", b"REFER", b"PUBLISH", b"PRACK",
)  # fmt: skip


class ServerUser(Protocol):
    """The transaction user of requests that come in."""

    def on_request(self, transaction: ServerTransaction) -> None:
        """Take a new request; it is to be answered with `respond` or `refuse`."""

    def on_ack(self, flow: Flow, ack: Message) -> None:
        """Take an ACK that belongs to no transaction: one for a 2xx."""

    def on_cancel(self, transaction: ServerTransaction) -> None:
        """Take the CANCEL of a pending INVITE; the CANCEL itself was answered with 200."""

    def on_stray_response(self, flow: Flow, response: Message) -> None:
        """Take a response that no transaction of ours waits for."""


class Transactions:
    """All transactions of this peer; the user of its flows."""

    user: ServerUser
    """Set once, by the usage."""

    def __init__(self, kernel: Kernel, config: SipConfig, node_id: NodeId, flows: Flows) -> None:
        """Begin without transactions, and listen to the flows."""
        self._kernel = kernel
        self._counters = kernel.counters
        self._flows = flows
        self._node_id = node_id
        self._t1 = config.timer_t1_seconds
        self._most_open = config.transactions
        self._servers: dict[ServerKey, ServerTransaction] = {}
        self._open: dict[ServerTransaction, None] = {}
        self._finished: dict[ServerTransaction, None] = {}
        self._clients: dict[tuple[bytes, bytes], ClientTransaction] = {}
        self._by_flow: dict[Flow, dict[ClientTransaction, None]] = {}
        flows.user = self

    @property
    def is_full(self) -> bool:
        """Whether no more requests should be taken up: refuse them (500 with Retry-After)."""
        return (
            len(self._open) > self._most_open
            or len(self._clients) > CLIENTS_PER_OPEN * self._most_open
        )

    @property
    def open_count(self) -> int:
        """How many requests wait for their final response from us."""
        return len(self._open)

    @property
    def count(self) -> int:
        """How many transactions are remembered, of both sides and in every state."""
        return len(self._servers) + len(self._clients)

    # what the usage asks -----------------------------------------------------------------------

    def new_branch(self) -> bytes:
        """Return a new branch of ours."""
        return branch(self._node_id, self._kernel.random)

    def to_tag(self, request: Message) -> bytes:
        """Return the To tag of our own responses to a request."""
        return self._flows.tags.of(request)

    def via(self, flow: Flow, branch: bytes) -> bytes:
        """Return the Via value of a request that leaves by a flow."""
        return self._flows.via(flow, branch)

    def send(self, request: Outgoing, flow: Flow, user: ClientUser) -> ClientTransaction:
        """Send a request whose topmost Via is ours; the user is told what becomes of it."""
        kernel, flows = self._kernel, self._flows
        transaction = ClientTransaction(kernel, flows, request, flow, user, self._t1)
        key = (transaction.branch, transaction.method)
        assert key not in self._clients
        self._clients[key] = transaction
        self._by_flow.setdefault(flow, {})[transaction] = None
        flow.holds += 1
        transaction.start(self._on_client_end, self._send_cancel)
        return transaction

    def send_stateless(self, data: bytes, flow: Flow) -> None:
        """Send a message that belongs to no transaction: ACK to a 2xx, a stray response."""
        self._flows.send(self._flows.renewed(flow), data)

    def reply_flow(self, flow: Flow, request: Message) -> Flow:
        """Return the flow that a response to a request takes (RFC 3261 §18.2.2, RFC 3581 §4)."""
        return self._flows.reply_flow(flow, request)

    def find_server(self, request: Message) -> ServerTransaction | None:
        """Return the transaction of a request, for ACK and CANCEL that of their INVITE."""
        if request.method != b"CANCEL":
            return self._servers.get(server_key(request, request.method))
        for method in _CANCELLABLE:
            found = self._servers.get(server_key(request, method))
            if found is not None:
                return found
        return None

    # what the flows tell -----------------------------------------------------------------------

    def on_message(self, flow: Flow, message: Message) -> None:
        """Match a message to its transaction, or pass it up."""
        if not message.is_request:
            self._on_response(flow, message)
        elif message.method == b"ACK":
            self._on_ack(flow, message)
        elif message.method == b"CANCEL":
            self._on_cancel(flow, message)
        else:
            self._on_request(flow, message)

    def on_flow_lost(self, flow: Flow, reason: str) -> None:
        """Tell the client transactions of a flow that it is dead."""
        for transaction in list(self._by_flow.get(flow, ())):
            transaction.on_flow_lost(reason)

    def _on_response(self, flow: Flow, response: Message) -> None:
        transaction = self._clients.get((response.via.branch, response.cseq.method))
        if transaction is None:
            self.user.on_stray_response(flow, response)
        else:
            transaction.receive(response)

    def _on_request(self, flow: Flow, request: Message) -> None:
        key = server_key(request, request.method)
        known = self._servers.get(key)
        if known is not None:
            self._counters.sip_retransmissions_received += 1
            known.repeat()
            return
        if len(self._open) >= 2 * self._most_open:
            self._counters.datagrams_dropped += 1  # the usage did not heed `is_full`
            return
        transaction = ServerTransaction(self._kernel, self._flows, key, request, flow, self._t1)
        transaction.on_progress = self._on_server_progress
        self._servers[key] = transaction
        self._open[transaction] = None
        flow.holds += 1
        self.user.on_request(transaction)

    def _on_ack(self, flow: Flow, ack: Message) -> None:
        transaction = self.find_server(ack)
        if transaction is not None and transaction.owns(ack):
            transaction.acknowledge(partial(self.user.on_ack, flow, ack))
        elif not self._flows.tags.is_ours(ack):
            self.user.on_ack(flow, ack)

    def _on_cancel(self, flow: Flow, request: Message) -> None:
        """Answer a CANCEL without state: its INVITE's transaction is all there is to know."""
        transaction = self.find_server(request)
        status = 481 if transaction is None else 200
        answer = respond(request, status, to_tag=self.to_tag(request))
        self._flows.send(self._flows.reply_flow(flow, request), answer)
        if transaction is None or transaction.method != b"INVITE":
            return
        if not transaction.is_final and not transaction.is_cancelled:
            transaction.is_cancelled = True
            self.user.on_cancel(transaction)

    # transactions go on ------------------------------------------------------------------------

    def _send_cancel(self, transaction: ClientTransaction) -> None:
        """Send the CANCEL of an INVITE, in a transaction of its own."""
        raw = cancel(transaction.request)
        request = Outgoing(raw, b"CANCEL", transaction.branch)
        self.send(request, self._flows.renewed(transaction.flow), _NOBODY)

    def _on_client_end(self, transaction: ClientTransaction) -> None:
        self._clients.pop((transaction.branch, transaction.method), None)
        flow = transaction.flow
        flow.holds -= 1
        here = self._by_flow[flow]
        del here[transaction]
        if not here:
            del self._by_flow[flow]

    def _on_server_progress(self, transaction: ServerTransaction) -> None:
        """Note that a request is answered, or over: it is open no longer."""
        if transaction in self._open:
            del self._open[transaction]
            if not transaction.is_terminated:
                self._finished[transaction] = None
        if transaction.is_terminated:
            self._finished.pop(transaction, None)
            if self._servers.pop(transaction.key, None) is not None:
                transaction.flow.holds -= 1
        elif len(self._finished) > FINISHED_PER_OPEN * self._most_open:
            next(iter(self._finished)).give_up()


class _Nobody:
    """Waits for the answer to a CANCEL, which changes nothing (RFC 3261 §9.1)."""

    def on_response(self, transaction: ClientTransaction, response: Message) -> None:
        """Take a response."""

    def on_failure(self, transaction: ClientTransaction, reason: str) -> None:
        """Note that there is none."""


_NOBODY = _Nobody()


def server_key(request: Message, method: bytes) -> ServerKey:
    """Return what makes requests one transaction: branch, sent-by and method (§17.2.3).

    Without the magic cookie, what RFC 2543 repeats; To counts only where no response adds a tag.
    """
    if method == b"ACK":
        method = b"INVITE"
    via = request.via
    if via.branch.startswith(MAGIC):
        return (via.branch, via.host, via.port or 0, method)
    start, end = request.first_via_span()
    to_tag = b"" if method == b"INVITE" else request.to_tag
    return (
        request.raw[start:end],
        request.target,
        request.from_tag,
        to_tag,
        request.call_id,
        request.cseq.number,
        method,
    )
