"""The transaction layer: messages matched to transactions, new ones made, the rest passed up.

RFC 3261 §17.1.3, §17.2.3 and §9.2, RFC 6026. What a request means is never decided here.
"""

from __future__ import annotations

from typing import Protocol

from chordial_node.boundary.counters import Counters
from chordial_node.config import SipConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import UNSAMPLED, Span, Trace
from chordial_node.sip.branches import branch, owner_prefix
from chordial_node.sip.flows import Flow, Flows
from chordial_node.sip.message import Message

__all__ = [
    "ClientTransaction",
    "ClientUser",
    "ServerTransaction",
    "ServerUser",
    "Transactions",
    "branch",
    "owner_prefix",
]


class ServerTransaction:  # moves to server_transaction.py
    """A request that came in, and what was answered to it."""

    request: Message
    flow: Flow
    method: bytes
    status: int
    """Of the last response, 0 before the first."""
    is_final: bool
    """A final response was sent, or the transaction ended without one."""
    trace: Trace | None
    """What spans of this request hang below; set by the usage."""
    user_data: object

    @property
    def to_tag(self) -> bytes:
        """The To tag of our own responses; an ACK that carries it is known without state."""
        raise NotImplementedError

    def trying(self) -> None:
        """Send 100, unless something was answered already."""

    def respond(self, response: bytes | Message, status: int) -> None:
        """Send a response, provisional or final; after a final one only more 2xx to INVITE go."""

    def refuse(self, response: bytes | Message, status: int) -> None:
        """Send a final response once and forget the request: its ACK is absorbed, too."""


class ClientTransaction:  # moves to client_transaction.py
    """A request that was sent, and what came back."""

    request: Message
    flow: Flow
    branch: bytes
    status: int
    """Of the last response, 0 before the first."""
    is_completed: bool
    """A final response came, or it failed."""
    is_cancelled: bool
    span: Span

    def send_cancel(self) -> None:
        """Cancel an INVITE: at once after its first 1xx, else when that comes (§9.1)."""

    def abandon(self) -> None:
        """Forget the transaction: its user is told nothing more."""


class ClientUser(Protocol):
    """Who sent a request."""

    def on_response(self, transaction: ClientTransaction, response: Message) -> None:
        """Take a response: each 1xx, the final one, and each further 2xx to an INVITE."""

    def on_failure(self, transaction: ClientTransaction, reason: str) -> None:
        """Note that no final response will come: told once, and nothing after it."""


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
    """All transactions of this peer."""

    user: ServerUser
    """Set once, by the usage."""

    def __init__(
        self,
        kernel: Kernel,
        config: SipConfig,
        node_id: NodeId,
        flows: Flows,
        tag_key: bytes | None = None,
    ) -> None: ...

    @property
    def is_full(self) -> bool:
        """Whether no more requests should be taken up: refuse them (500 with Retry-After)."""
        raise NotImplementedError

    @property
    def counters(self) -> Counters:
        """The counts of the whole core."""
        raise NotImplementedError

    def new_branch(self) -> bytes:
        """Return a new branch of ours."""
        raise NotImplementedError

    def to_tag(self, request: Message) -> bytes:
        """Return the To tag of our own responses to a request."""
        raise NotImplementedError

    def send(
        self, request: Message, flow: Flow, user: ClientUser, *, span: Span = UNSAMPLED
    ) -> ClientTransaction:
        """Send a request whose topmost Via is ours; the user is told what becomes of it."""
        raise NotImplementedError

    def send_stateless(self, message: bytes | Message, flow: Flow) -> None:
        """Send a message that belongs to no transaction: ACK to a 2xx, a stray response."""
        raise NotImplementedError

    def reply_flow(self, flow: Flow, request: Message) -> Flow:
        """Return the flow that a response to a request takes (RFC 3261 §18.2.2, RFC 3581 §4)."""
        raise NotImplementedError

    def find_server(self, request: Message) -> ServerTransaction | None:
        """Return the transaction of a request (for a CANCEL: that of its INVITE), or None."""
        raise NotImplementedError
