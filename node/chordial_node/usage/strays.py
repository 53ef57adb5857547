"""Responses that reached another peer than the one that waits for them (sip.md 9).

All peers share an address, so an answer may come in anywhere. The branch of the topmost Via names
its owner: a living one gets it as it is; for a dead one its Via is popped, and the next Via is
served without state (RFC 3261 §16.11). A phone gets one only if a token in Record-Route shows that
it is in that call: what comes in here is proven by nothing else.
"""

from collections.abc import Sequence

from chordial_node.boundary.events import Address
from chordial_node.config import ListenerConfig, Transport
from chordial_node.ids import NodeId
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow, Flows
from chordial_node.sip.forward import Forward
from chordial_node.sip.headers import Via
from chordial_node.sip.message import Message
from chordial_node.sip.tokens import SideToken
from chordial_node.sip.transactions import Transactions, owner_prefix
from chordial_node.usage.credentials import Overlay
from chordial_node.usage.sides import Sides, node_of_name

_TRANSPORTS = {b"UDP": Transport.UDP, b"TCP": Transport.TCP, b"TLS": Transport.TLS}


class Strays:
    """Sends stray responses on."""

    def __init__(
        self,
        own: NodeId,
        listeners: Sequence[ListenerConfig],
        overlay: Overlay,
        flows: Flows,
        transactions: Transactions,
        sides: Sides,
    ) -> None:
        """Hold the ways to other peers and to phones."""
        self._sides = sides
        self._own = own
        self._listeners = listeners
        self._overlay = overlay
        self._flows = flows
        self._transactions = transactions

    def take(self, flow: Flow, response: Message) -> None:
        """Send a stray response to its owner, or past a dead one; anything else is dropped."""
        prefix = owner_prefix(response.via.branch)
        if prefix is None or self._own.startswith(prefix) or flow.is_peer:
            return
        owner = self._overlay.find_node(prefix)
        if owner is None:
            return
        if self._overlay.is_alive(owner):
            self._to_peer(owner, response)
        else:
            self._past_the_dead(flow, response)

    def _to_peer(self, node: NodeId, response: Message) -> None:
        address = self._overlay.sip_address(node)
        if address is not None:
            self._transactions.send_stateless(response.raw, self._flows.to_peer(node, address))

    def _past_the_dead(self, flow: Flow, response: Message) -> None:
        forward = Forward(response)
        forward.pop_via()
        try:
            popped = Message.parse(forward.to_bytes())
        except RemoteProtocolError:
            return  # no Via below it: there is nobody to answer
        node = node_of_name(popped.via.host)
        if node is None:
            self._to_phone(popped.via, popped)
        elif node == self._own:
            self._flows.user.on_message(flow, popped)  # ours after all: a branch of ours waits
        else:
            self._to_peer(node, popped)

    def _is_in_call(self, address: Address, response: Message) -> bool:
        for value in response.values(b"record-route"):
            token = self._sides.open(value, response.call_id)
            if isinstance(token, SideToken) and (token.host, token.port) == address:
                return True
        return False

    def _to_phone(self, via: Via, response: Message) -> None:
        transport = _TRANSPORTS.get(via.transport)
        host, port = via.reply_address
        address = (host.decode("latin-1"), port)
        if not self._is_in_call(address, response):
            return
        for number, listener in enumerate(self._listeners):
            if listener.transport is not transport or (":" in listener.bind.host) != (b":" in host):
                continue
            flow: Flow | None
            if transport is Transport.UDP:
                flow = self._flows.datagram(number, address)
            else:
                flow = self._flows.find_connection(number, address)
            if flow is not None:
                self._transactions.send_stateless(response.raw, flow)
                return
