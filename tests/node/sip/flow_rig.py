"""Flows and transactions between a scripted world and a user that writes everything down.

Time is virtual: `advance` goes from deadline to deadline, and each effect is kept with its time.
"""

from collections.abc import Callable
from random import Random

from chordial_node.boundary.effects import (
    CloseFlow,
    Effect,
    Notice,
    OpenFlow,
    SendDatagram,
    WriteFlow,
)
from chordial_node.boundary.events import (
    Address,
    DatagramReceived,
    Event,
    FlowFailed,
    FlowLost,
    FlowOpened,
    FlowReceived,
)
from chordial_node.config import Endpoint, ListenerConfig, SipConfig, Transport
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.sip.flows import Flow, Flows
from chordial_node.sip.message import Message
from chordial_node.sip.outgoing import Outgoing
from chordial_node.sip.response import respond
from chordial_node.sip.transactions import (
    ClientTransaction,
    ServerTransaction,
    Transactions,
)

OWN = NodeId(bytes.fromhex("40" * 16))
OTHER = NodeId(bytes.fromhex("80" * 16))
LOWER = NodeId(bytes.fromhex("20" * 16))
UDP, TCP, PEER, UDP6 = 0, 1, 2, 3
PHONE: Address = ("192.0.2.7", 5060)
PEER_ADDRESS: Address = ("10.0.0.2", 5070)
LISTENERS = (
    ListenerConfig(Transport.UDP, Endpoint("10.0.0.1", 5060), Endpoint("203.0.113.10", 5060)),
    ListenerConfig(Transport.TCP, Endpoint("10.0.0.1", 5060), Endpoint("203.0.113.10", 5060)),
    ListenerConfig(Transport.PEER, Endpoint("10.0.0.1", 5070)),
    ListenerConfig(Transport.UDP, Endpoint("2001:db8::10", 5060)),
)


class Recorder:
    """The usage: keeps what it is told, and answers nothing by itself."""

    def __init__(self) -> None:
        self.requests: list[ServerTransaction] = []
        self.acks: list[Message] = []
        self.cancelled: list[ServerTransaction] = []
        self.strays: list[Message] = []
        self.responses: list[int] = []
        self.failures: list[str] = []
        self.lost: list[tuple[Flow, str]] = []

    @property
    def calls(self) -> int:
        """How often anything was told."""
        told = (self.requests, self.acks, self.cancelled, self.strays, self.responses)
        return sum(len(each) for each in told) + len(self.failures)

    def on_request(self, transaction: ServerTransaction) -> None:
        """Keep a request."""
        self.requests.append(transaction)

    def on_ack(self, flow: Flow, ack: Message) -> None:
        """Keep an ACK."""
        self.acks.append(ack)

    def on_cancel(self, transaction: ServerTransaction) -> None:
        """Keep a CANCEL."""
        self.cancelled.append(transaction)

    def on_stray_response(self, flow: Flow, response: Message) -> None:
        """Keep a stray response."""
        self.strays.append(response)

    def on_response(self, transaction: ClientTransaction, response: Message) -> None:
        """Keep the status of a response."""
        self.responses.append(response.status)

    def on_failure(self, transaction: ClientTransaction, reason: str) -> None:
        """Keep why a request failed."""
        self.failures.append(reason)

    def note_lost(self, flow: Flow, reason: str) -> None:
        """Keep a dead flow."""
        self.lost.append((flow, reason))


class Rig:
    """One peer's flows and transactions."""

    def __init__(self, transactions: int = 1000) -> None:
        config = SipConfig(domain="chordial.test", listeners=LISTENERS, transactions=transactions)
        self.kernel = Kernel(Random(7))
        self.now = 0.0
        self.flows = Flows(self.kernel, LISTENERS, OWN)
        self.transactions = Transactions(self.kernel, config, OWN, self.flows)
        self.user = Recorder()
        self.transactions.user = self.user
        self.flows.watchers.append(self.user.note_lost)
        self.effects: list[tuple[float, Effect]] = []

    # the world ---------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Let the world tell something."""
        match event:
            case DatagramReceived():
                self.do(lambda: self.flows.on_datagram(event))
            case FlowOpened():
                self.do(lambda: self.flows.on_opened(event))
            case FlowReceived():
                self.do(lambda: self.flows.on_received(event))
            case FlowFailed():
                self.do(lambda: self.flows.on_failed(event))
            case FlowLost():
                self.do(lambda: self.flows.on_lost(event))

    def do(self, step: Callable[[], None]) -> None:
        """Run something as one turn at the present time."""
        self.kernel.begin(self.now)
        step()
        self._keep()

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything that becomes due happen."""
        end = self.now + seconds
        while (due := self.kernel.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.kernel.begin(self.now)
            self._keep()
        self.now = end

    def hear(self, data: bytes, source: Address = PHONE, listener: int = UDP) -> None:
        """Let a datagram arrive."""
        self.tell(DatagramReceived(listener, source, data))

    def _keep(self) -> None:
        self.effects += [(self.now, effect) for effect in self.kernel.take()]

    # what was done -----------------------------------------------------------------------------

    def sent(self) -> list[bytes]:
        """Return and forget what was sent, by datagram or connection."""
        return [data for _, data in self.sent_when()]

    def sent_when(self) -> list[tuple[float, bytes]]:
        """Return and forget what was sent, with the time of each."""
        sent = [
            (when, effect.data)
            for when, effect in self.effects
            if isinstance(effect, SendDatagram | WriteFlow)
        ]
        self.effects = [
            each for each in self.effects if not isinstance(each[1], SendDatagram | WriteFlow)
        ]
        return sent

    def destinations(self) -> list[tuple[int, Address]]:
        """Return listener and address of each datagram that was sent."""
        return [
            (effect.listener, effect.destination)
            for _, effect in self.effects
            if isinstance(effect, SendDatagram)
        ]

    def opened(self) -> list[OpenFlow]:
        """Return the connections that were asked for."""
        return [effect for _, effect in self.effects if isinstance(effect, OpenFlow)]

    def closed(self) -> list[int]:
        """Return the numbers of the connections that were ended."""
        return [effect.flow for _, effect in self.effects if isinstance(effect, CloseFlow)]

    def notices(self) -> list[Notice]:
        """Return what was told to the operator."""
        return [effect for _, effect in self.effects if isinstance(effect, Notice)]

    # shortcuts ---------------------------------------------------------------------------------

    def accept(
        self,
        number: int,
        listener: int = TCP,
        remote: Address = ("192.0.2.7", 40_000),
        node: NodeId | None = None,
    ) -> Flow:
        """Let a connection be accepted, and return its flow."""
        self.tell(FlowOpened(number, listener, remote, node))
        flow = self.flows.find_connection(listener, remote)
        assert flow is not None
        return flow

    def dial(self, remote: Address = ("192.0.2.7", 5060)) -> Flow:
        """Dial a phone over TCP, let the connection open, and return its flow."""
        dialed: list[Flow] = []
        self.do(lambda: dialed.append(self.flows.connect(TCP, remote)))
        assert dialed[0].connection is not None
        self.tell(FlowOpened(dialed[0].connection, TCP, remote, None))
        return dialed[0]

    def phone_flow(self) -> Flow:
        """Return the UDP flow of the phone."""
        return self.flows.datagram(UDP, PHONE)

    def ask(self, method: bytes = b"INVITE", flow: Flow | None = None) -> ClientTransaction:
        """Send a request of ours and return its transaction."""
        way = flow or self.phone_flow()
        branch = self.transactions.new_branch()
        raw = request(method, via=self.transactions.via(way, branch))
        asked: list[ClientTransaction] = []
        outgoing = Outgoing(raw, method, branch)
        self.do(lambda: asked.append(self.transactions.send(outgoing, way, self.user)))
        return asked[0]

    def answer(self, transaction: ClientTransaction, status: int, source: Address = PHONE) -> None:
        """Let the phone answer a request of ours."""
        self.hear(respond(transaction.request, status, to_tag=b"t"), source)

    def respond(self, transaction: ServerTransaction, status: int) -> None:
        """Answer a request as the usage does."""
        data = respond(transaction.request, status, to_tag=transaction.to_tag)
        self.do(lambda: transaction.respond(data, status))

    def refuse(self, transaction: ServerTransaction, status: int) -> None:
        """Refuse a request once, as the usage does to strangers."""
        data = respond(transaction.request, status, to_tag=transaction.to_tag)
        self.do(lambda: transaction.refuse(data, status))


def request(
    method: bytes = b"INVITE",
    *,
    via: bytes = b"SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKa;rport",
    to_tag: bytes = b"",
    cseq: int = 1,
    target: bytes = b"sip:bob@chordial.test",
    cseq_method: bytes = b"",
) -> bytes:
    """Make a request."""
    tag = b";tag=" + to_tag if to_tag else b""
    return (
        b"%b %b SIP/2.0\r\nVia: %b\r\nMax-Forwards: 70\r\nFrom: <sip:alice@chordial.test>;tag=f\r\n"
        b"To: <sip:bob@chordial.test>%b\r\nCall-ID: c1\r\nCSeq: %d %b\r\n"
        b"Content-Length: 0\r\n\r\n"
    ) % (method, target, via, tag, cseq, cseq_method or method)


def statuses(sent: list[bytes]) -> list[int]:
    """Return the status codes of responses that were sent."""
    return [Message(data).status for data in sent]


def methods(sent: list[bytes]) -> list[bytes]:
    """Return the methods of requests that were sent."""
    return [Message(data).method for data in sent]
