"""A message as it came over a flow: read, checked, and marked with where it came from.

RFC 3261 §18.2.1, RFC 3581 §4, and who a peer may speak for (`sip.md` 8). Whether a fault is
answered is decided by the flow layer.
"""

from chordial_node.config import ListenerConfig, Transport
from chordial_node.ids import NodeId
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flow import Flow
from chordial_node.sip.headers import sent_by
from chordial_node.sip.message import Message


def received(flow: Flow, data: bytes) -> tuple[Message | None, RemoteProtocolError | None]:
    """Return a message and what is wrong with it, if anything; no message where it is no SIP."""
    try:
        message = Message(data)
    except RemoteProtocolError as error:
        return None, error
    try:
        if message.is_request and flow.transport is not Transport.PEER:
            message.note_source(flow.host, flow.remote[1])
        message.check()
        if message.is_request and flow.transport is Transport.PEER:
            _check_peer(flow, message)
    except RemoteProtocolError as error:
        return message, error
    return message, None


def peer_host(node: NodeId) -> bytes:
    """Return the host by which a peer is named in Via and Route (RFC 2606)."""
    return node.hex().encode() + b".peer.invalid"


def own_sent_by(listener: ListenerConfig, node_id: NodeId) -> bytes:
    """Return what stands for us in the Via of a request that leaves by a listener."""
    if listener.transport is Transport.PEER:
        return peer_host(node_id)
    end = listener.advertised
    return sent_by(end.host.encode("ascii"), end.port)


def _check_peer(flow: Flow, message: Message) -> None:
    """Refuse a request whose topmost Via does not name the peer that sent it (`sip.md` 8)."""
    if flow.node is None or message.via.host != peer_host(flow.node):
        raise RemoteProtocolError(403, "Via names another peer")
