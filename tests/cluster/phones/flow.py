"""One UDP socket of a phone: client transactions with their retransmissions, and what comes in.

RFC 3261 §17.1 and §18.1 from the side of a phone. A phone behind a NAT hears only whom it spoke
to, so what comes from an address that nothing was sent to is counted apart (`from_elsewhere`).
What a request means stands in `phone.py`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar, cast

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.message import Message
from chordial_node.sip.response import acknowledge
from tests.cluster.phones.ledger import Ledger

T1 = 0.5
T2 = 4.0
GIVE_UP = 64 * T1
MOST_OLD = 50
"""Ended INVITE transactions whose last response may come again (timer D)."""
MOST_PLACES = 50

V = TypeVar("V")
Address = tuple[str, int]
OnRequest = Callable[[Message, Address], None]
OnProvisional = Callable[[Message], None]
OnStray = Callable[[Message], None]


class NoAnswerError(Exception):
    """A transaction ended without a final response."""


class Transaction:
    """A request that waits for its final response."""

    def __init__(
        self, flow: "Flow", request: Message, where: Address, on_provisional: OnProvisional | None
    ) -> None:
        self.flow = flow
        self.request = request
        self.where = where
        self.is_invite = request.method == b"INVITE"
        loop = asyncio.get_running_loop()
        self.final: asyncio.Future[Message] = loop.create_future()
        self._on_provisional = on_provisional
        self._pause = T1
        self._loop = loop
        self._again: asyncio.TimerHandle | None = loop.call_later(T1, self._retransmit)
        self._end = loop.call_later(GIVE_UP, self.give_up, "no answer")
        self._is_proceeding = False

    def give_up(self, why: str) -> None:
        """End without a response."""
        if not self.final.done():
            self.final.set_exception(NoAnswerError(why))
        self.close()

    def close(self) -> None:
        """Stop the timers."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._end.cancel()

    def hear(self, response: Message) -> None:
        """Take a response that fits."""
        if response.status < 200:
            if self.is_invite and self._again is not None:
                self.close()  # it was taken: how long it may ring is the caller's affair
            self._is_proceeding = True
            if self._on_provisional is not None:
                self._on_provisional(response)
        elif not self.final.done():
            self.close()
            self.final.set_result(response)

    def _retransmit(self) -> None:
        self.flow.send(self.request.raw, self.where)
        self.flow.ledger.count("retransmissions")
        if self.is_invite:
            self._pause *= 2
        else:
            self._pause = T2 if self._is_proceeding else min(self._pause * 2, T2)
        self._again = self._loop.call_later(self._pause, self._retransmit)


class Flow(asyncio.DatagramProtocol):
    """One socket; `on_request` gets requests, `on_stray` the 2xx that no transaction waits for."""

    def __init__(
        self, server: Address, ledger: Ledger, on_request: OnRequest, on_stray: OnStray
    ) -> None:
        self.server = server
        self.ledger = ledger
        self.local: Address = ("", 0)
        self._on_request = on_request
        self._on_stray = on_stray
        self._waiting: dict[bytes, Transaction] = {}
        self._refused: OrderedDict[bytes, bytes] = OrderedDict()
        """ACKs already sent for responses that were no 2xx, by branch."""
        self._ended: OrderedDict[bytes, None] = OrderedDict()
        """Branches of transactions that ended: their responses may come again."""
        self._places: OrderedDict[Address, None] = OrderedDict()
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, host: str, port: int) -> None:
        """Bind the socket."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self._transport = transport
        found = transport.get_extra_info("sockname")
        self.local = (str(found[0]), int(found[1]))

    def close(self) -> None:
        """Close the socket and forget what waits."""
        for transaction in list(self._waiting.values()):
            transaction.give_up("the phone was switched off")
        if self._transport is not None:
            self._transport.close()

    def send(self, data: bytes, where: Address | None = None) -> None:
        """Send bytes, to the server unless told otherwise."""
        place = where or self.server
        if place not in self._places:
            self._places[place] = None
            if len(self._places) > MOST_PLACES:
                self._places.popitem(last=False)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, place)

    async def ask(
        self, request: bytes, where: Address | None = None,
        on_provisional: OnProvisional | None = None, patience: float = 0.0,
        on_late: Callable[[Message], None] | None = None,
    ) -> tuple[Message, Message]:  # fmt: skip
        """Send a request and return it with its final response; NoAnswerError when none comes.

        `patience` bounds an INVITE that is proceeding: then `on_late` gets the request to cancel.
        """
        message = Message.parse(request)
        place = where or self.server
        key = _key(message)
        transaction = Transaction(self, message, place, on_provisional)
        self._waiting[key] = transaction
        late = None
        if patience and on_late is not None:
            late = asyncio.get_running_loop().call_later(patience, on_late, message)
        self.send(request, place)
        try:
            response = await transaction.final
        finally:
            transaction.close()
            del self._waiting[key]
            _remember(self._ended, key, None)
            if late is not None:
                late.cancel()
        if transaction.is_invite and response.status >= 300:
            ack = acknowledge(message, response)
            self.send(ack, place)
            _remember(self._refused, key, ack)
        return message, response

    def abandon(self, request: Message, why: str) -> None:
        """End the transaction of a request that still waits."""
        transaction = self._waiting.get(_key(request))
        if transaction is not None:
            transaction.give_up(why)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take one datagram."""
        if not data.strip(b"\r\n\0"):
            self.ledger.count("keepalives")
            return
        place = cast("tuple[str, int]", addr)[:2]
        if place not in self._places:
            self.ledger.count("from_elsewhere")
            self.ledger.show("from_elsewhere", f"{place}: {data[:300]!r}")
        try:
            message = Message.parse(data)
        except RemoteProtocolError as error:
            self.ledger.accuse(f"unreadable: {error.reason}", data)
            return
        if message.is_request:
            self.ledger.count("requests")
            self._on_request(message, place)
        else:
            self.ledger.count("responses")
            self._on_response(message, place)

    def error_received(self, exc: Exception) -> None:
        """Count what the network says; a retransmission may still arrive."""
        self.ledger.count("network_errors")

    def _on_response(self, response: Message, place: Address) -> None:
        key = _key(response)
        transaction = self._waiting.get(key)
        if transaction is None:
            self._on_old(response, key, place)
            return
        if place != transaction.where:
            self.ledger.accuse("response from elsewhere", f"{place}: {response.raw!r}")
        for fault in faults_of_response(transaction.request, response):
            self.ledger.accuse(fault, response.raw)
        transaction.hear(response)

    def _on_old(self, response: Message, key: bytes, place: Address) -> None:
        is_invite = response.cseq.method == b"INVITE"
        if key in self._refused and response.status >= 300:
            self.send(self._refused[key], place)
            self.ledger.count("repeated_responses")
        elif is_invite and 200 <= response.status < 300:
            self._on_stray(response)
        elif key in self._ended:
            self.ledger.count("repeated_responses")
        else:
            self.ledger.accuse("response to nothing that was asked", response.raw)


def faults_of_response(request: Message, response: Message) -> list[str]:
    """What RFC 3261 §8.1.3.3, §8.2.6.2 and RFC 3581 §4 forbid in the response to a request."""
    faults = []
    vias = response.values(b"via")
    if len(vias) != 1:
        faults.append("response with more than our Via")
    if response.via.host != request.via.host or response.via.port != request.via.port:
        faults.append("response with another's sent-by")
    if not (response.via.params.get(b"rport") and response.via.params.get(b"received")):
        faults.append("response without rport and received (RFC 3581 §4)")
    if response.cseq != request.cseq:
        faults.append("response with another CSeq")
    if response.call_id != request.call_id:
        faults.append("response with another Call-ID")
    if response.first(b"from") != request.first(b"from"):
        faults.append("response with another From")
    if response.status > 100 and not response.to_tag:
        faults.append("response without To tag")
    if request.to_tag and response.to_tag and response.to_tag != request.to_tag:
        faults.append("in-dialog response with another To tag")
    return faults


def _key(message: Message) -> bytes:
    """Which client transaction a message belongs to (§17.1.3)."""
    return message.via.branch + b" " + message.cseq.method


def _remember(kept: "OrderedDict[bytes, V]", key: bytes, value: V) -> None:
    kept[key] = value
    if len(kept) > MOST_OLD:
        kept.popitem(last=False)
