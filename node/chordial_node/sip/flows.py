"""All SIP flows of this peer: datagrams and connections behind one object each.

RFC 3261 §18, RFC 3581, RFC 5626. Bytes of the world become messages here, and messages bytes.
Which flow a request takes, and what a message means, is never decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from chordial_node.boundary.effects import CloseFlow, OpenFlow, SendDatagram, WriteFlow
from chordial_node.boundary.events import (
    Address,
    DatagramReceived,
    FlowFailed,
    FlowLost,
    FlowOpened,
    FlowReceived,
)
from chordial_node.boundary.notices import FlowDied
from chordial_node.config import ListenerConfig, Transport
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.sip.admission import Verdict, is_scanner, judge
from chordial_node.sip.connections import Connections
from chordial_node.sip.datagrams import Datagrams
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flow import Flow
from chordial_node.sip.framing import PONG, Keepalive
from chordial_node.sip.keepalive import PERIOD_SECONDS, Keepalives
from chordial_node.sip.message import Message
from chordial_node.sip.reception import own_sent_by, received
from chordial_node.sip.response import respond_to_fault
from chordial_node.sip.stun import answer_binding
from chordial_node.sip.tags import KEY_LENGTH, Tags

__all__ = ["Flow", "FlowUser", "Flows"]

MOST_QUEUED_BYTES = 1_000_000
"""Waiting on one connection while it opens."""
_VIA_TRANSPORT = {
    Transport.UDP: b"UDP",
    Transport.TCP: b"TCP",
    Transport.TLS: b"TLS",
    Transport.PEER: b"TLS",
}


class FlowUser(Protocol):
    """Who is told what comes over flows: the transaction layer."""

    def on_message(self, flow: Flow, message: Message) -> None:
        """Take a checked message; a request's topmost Via says where it came from."""

    def on_flow_lost(self, flow: Flow, reason: str) -> None:
        """Note that a flow is dead; told once for each flow."""


class Flows:
    """Every flow that is known, by what it is found by."""

    user: FlowUser
    """Set once, by the transaction layer."""

    def __init__(
        self,
        kernel: Kernel,
        listeners: Sequence[ListenerConfig],
        node_id: NodeId,
        tag_key: bytes | None = None,
        keepalive_seconds: float = PERIOD_SECONDS,
    ) -> None:
        """Know no flow yet; peers that share a tag key know each other's refusals."""
        self.watchers: list[Callable[[Flow, str], None]] = []
        """Others that are told of each dead flow and why, after the user."""
        if tag_key is None:
            tag_key = kernel.random.getrandbits(8 * KEY_LENGTH).to_bytes(KEY_LENGTH, "big")
        self.tags = Tags(tag_key)
        self._kernel = kernel
        self._counters = kernel.counters
        self.listeners: tuple[ListenerConfig, ...] = ()
        """As phones know them at present: what is advertised may change."""
        self._node_id = node_id
        self._sent_by: list[bytes] = []
        self.advertise(listeners)
        self._connections = Connections(kernel, node_id, self.close)
        self._keepalives = Keepalives(kernel, node_id, self, self._on_silent, keepalive_seconds)
        self._datagrams = Datagrams(self._keepalives.forget)

    def advertise(self, listeners: Sequence[ListenerConfig]) -> None:
        """Tell phones other addresses of the same listeners from now on."""
        self.listeners = tuple(listeners)
        self._sent_by = [own_sent_by(listener, self._node_id) for listener in listeners]

    # ways out ----------------------------------------------------------------------------------

    def send(self, flow: Flow, data: bytes) -> None:
        """Send a message; it waits while a connection opens, and is dropped on a dead flow."""
        if flow.is_dead:
            self._counters.datagrams_dropped += 1
        elif flow.connection is None:
            self._kernel.emit(SendDatagram(flow.listener, flow.remote, data))
        elif flow.is_open:
            flow.used_at = self._kernel.now
            self._kernel.emit(WriteFlow(flow.connection, data))
        elif flow.queued + len(data) > MOST_QUEUED_BYTES:
            self._counters.datagrams_dropped += 1
        else:
            flow.queue.append(data)
            flow.queued += len(data)

    def datagram(self, listener: int, remote: Address) -> Flow:
        """Return the UDP flow of a listener and an address; a dead one is dead until it speaks."""
        return self._datagrams.get(listener, remote)

    def find_connection(self, listener: int, remote: Address) -> Flow | None:
        """Return the live connection with an address, or None."""
        return self._connections.find(listener, remote)

    def find_peer(self, node: NodeId) -> Flow | None:
        """Return a live connection with a peer, whoever dialed it, or None."""
        return self._connections.find_peer(node)

    def to_peer(self, node: NodeId, address: Address) -> Flow:
        """Return the connection with a peer, dialing it when there is none."""
        flow = self._connections.find_peer(node)
        return self._dial(self._peer_listener(), address, node) if flow is None else flow

    def connect(self, listener: int, address: Address) -> Flow:
        """Return the connection with an address, dialed from a TCP or TLS listener if need be."""
        flow = self._connections.find(listener, address)
        return self._dial(listener, address, None) if flow is None else flow

    def reply_flow(self, flow: Flow, request: Message) -> Flow:
        """Return the flow that the response to a request takes (RFC 3261 §18.2.2, RFC 3581 §4).

        The host is always that from which the request came: a Via can choose its port only.
        """
        if flow.transport is Transport.UDP:
            return self._datagrams.at_port(flow, request.via.reply_address[1])
        if flow.is_dead and flow.transport is Transport.TCP:
            return self.connect(flow.listener, (flow.remote[0], request.via.port or 5060))
        return self.renewed(flow)

    def renewed(self, flow: Flow) -> Flow:
        """Return a flow, or for a dead one between peers another that leads to the same peer."""
        if not flow.is_dead or flow.node is None:
            return flow
        if flow.is_dialed:
            return self.to_peer(flow.node, flow.remote)
        return self._connections.find_peer(flow.node) or flow

    def close(self, flow: Flow, reason: str) -> None:
        """End a flow: its connection is closed, and everybody is told."""
        if flow.connection is not None and not flow.is_dead:
            self._kernel.emit(CloseFlow(flow.connection))
        self._lose(flow, reason)

    def phone_connections(self) -> list[Flow]:
        """Return the live connections that are not between peers."""
        return self._connections.of_phones()

    def sent_by(self, flow: Flow) -> bytes:
        """Return our host and port as the other side of a flow knows them."""
        return self._sent_by[flow.listener]

    def via(self, flow: Flow, branch: bytes) -> bytes:
        """Return the Via value of a request that leaves by a flow."""
        transport = _VIA_TRANSPORT[flow.transport]
        rport = b"" if flow.transport is Transport.PEER else b";rport"
        return b"SIP/2.0/%b %b;branch=%b%b" % (transport, self.sent_by(flow), branch, rport)

    def keep_alive(self, flow: Flow, uri: bytes, seconds: float) -> None:
        """Send OPTIONS for a URI down a UDP flow for a time; a silent phone's flow dies."""
        if not flow.is_reliable and not flow.is_dead:
            self._keepalives.keep(flow, uri, seconds)

    # what the world tells ----------------------------------------------------------------------

    def on_datagram(self, event: DatagramReceived) -> None:
        """Take a datagram; what is neither SIP nor STUN is ignored."""
        self._counters.datagrams_received += 1
        data, source = event.data, event.source
        verdict = judge(data)
        if verdict is Verdict.ACCEPT:
            self._take(self._datagrams.heard(event.listener, source), data)
        elif verdict is Verdict.STUN:
            answer = answer_binding(data, source[0].partition("%")[0], source[1])
            if answer is not None:
                self._kernel.emit(SendDatagram(event.listener, source, answer))
        elif verdict is Verdict.SCANNER:
            self._counters.sip_scanners_dropped += 1
        elif verdict is not Verdict.KEEPALIVE:
            self._counters.sip_bad_messages += 1

    def on_opened(self, event: FlowOpened) -> None:
        """Take a connection that is open: what waited for it leaves now."""
        if event.flow % 2:
            self._accept(event)
            return
        flow = self._connections.get(event.flow)
        if flow is None:
            return  # closed by us while it opened
        if flow.node != event.node:
            self.close(flow, "the certificate names another peer")
            return
        flow.is_open = True
        waiting, flow.queue, flow.queued = flow.queue, [], 0
        for data in waiting:
            self.send(flow, data)

    def on_failed(self, event: FlowFailed) -> None:
        """Take a connection that could not be opened."""
        self._end(event.flow, event.reason)

    def on_lost(self, event: FlowLost) -> None:
        """Take the end of a connection."""
        self._end(event.flow, event.reason)

    def on_received(self, event: FlowReceived) -> None:
        """Take bytes of a connection: each whole message in them goes up."""
        flow = self._connections.get(event.flow)
        if flow is None or flow.framing is None:
            return
        framing = flow.framing
        framing.receive(event.data)
        while not flow.is_dead:
            try:
                piece = framing.next_message()
            except RemoteProtocolError as error:
                self._on_lost_boundary(flow, error)
                return
            if piece is None:
                return
            if piece is Keepalive.PING:
                self.send(flow, PONG)
            elif isinstance(piece, bytes):
                if is_scanner(piece):
                    self._counters.sip_scanners_dropped += 1
                    self.close(flow, "a scanner")
                    return
                self._take(flow, piece)

    # messages ----------------------------------------------------------------------------------

    def _take(self, flow: Flow, data: bytes) -> None:
        message, error = received(flow, data)
        if message is None or error is not None:
            self._counters.sip_bad_messages += 1
            if message is not None and error is not None:
                self._answer_fault(flow, message, error)
            return
        if not flow.has_spoken:
            flow.has_spoken = True
            self._connections.note_spoken(flow)
        flow.used_at = self._kernel.now
        if flow.is_kept:
            self._keepalives.hear(flow)
        if message.is_request:
            self._counters.sip_requests += 1
        else:
            self._counters.sip_responses += 1
            if message.method == b"OPTIONS" and self._keepalives.take_answer(message):
                return
        self.user.on_message(flow, message)

    def _answer_fault(self, flow: Flow, message: Message, error: RemoteProtocolError) -> None:
        answer = respond_to_fault(message, error, self.tags.of(message))
        if answer is None:
            return
        try:
            way = self.reply_flow(flow, message)
        except RemoteProtocolError:
            way = flow  # its Via cannot be read
        self.send(way, answer)

    def _on_lost_boundary(self, flow: Flow, error: RemoteProtocolError) -> None:
        """Nothing more can be read from a connection: answer what was read, and close."""
        self._counters.sip_bad_messages += 1
        if error.head is not None:
            message, _ = received(flow, error.head)
            if message is not None:
                self._answer_fault(flow, message, error)
        self.close(flow, error.reason)

    # flows come and go -------------------------------------------------------------------------

    def _peer_listener(self) -> int:
        for number, listener in enumerate(self.listeners):
            if listener.transport is Transport.PEER:
                return number
        raise ValueError("sip.listeners has none of transport peer")

    def _dial(self, listener: int, address: Address, node: NodeId | None) -> Flow:
        number = self._connections.next_number()
        flow = Flow(listener, self.listeners[listener].transport, address, number, node)
        self._connections.add(flow)
        self._kernel.emit(OpenFlow(number, listener, address, node))
        return flow

    def _accept(self, event: FlowOpened) -> None:
        transport = self.listeners[event.listener].transport
        is_peer = transport is Transport.PEER
        if not self._connections.has_room(event.remote) or is_peer == (event.node is None):
            self._counters.sip_refused += 1
            self._kernel.emit(CloseFlow(event.flow))
            return
        flow = Flow(event.listener, transport, event.remote, event.flow, event.node)
        flow.is_open = True
        self._connections.add(flow)

    def _end(self, number: int, reason: str) -> None:
        flow = self._connections.get(number)
        if flow is not None:
            self._lose(flow, reason)

    def _on_silent(self, flow: Flow) -> None:
        self._lose(flow, "three keepalives unanswered")

    def _lose(self, flow: Flow, reason: str) -> None:
        if flow.is_dead:
            return
        flow.is_dead, flow.is_open = True, False
        flow.queue, flow.queued = [], 0
        self._connections.remove(flow)
        self._keepalives.forget(flow)
        if flow.has_spoken and not flow.is_peer:
            self._kernel.emit(FlowDied(repr(flow), reason))
        self.user.on_flow_lost(flow, reason)
        for watcher in self.watchers:
            watcher(flow, reason)
