"""The phone sides of a call, and the rule for every request with Route (sip.md 1, 3).

All peers share advertised addresses, so a Record-Route names its edge by a token. Tokens are popped
from the top as long as they are ours or their peer is dead; the first one of a phone's request
also, when another follows. What is left names the next peer, what was popped last the side to
deliver to. How a side is reached is decided in `delivery.py`.
"""

import re
from collections.abc import Callable, Sequence

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.config import ListenerConfig, Transport
from chordial_node.ids import NodeId, ResourceId, node_id
from chordial_node.security.derived_keys import KeyRing
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.flows import Flow
from chordial_node.sip.headers import Via, parse_name_addr
from chordial_node.sip.tokens import (
    NO_DEVICE,
    NODE_PREFIX_LENGTH,
    DeviceToken,
    SideToken,
    Token,
    make,
    open_token,
)
from chordial_node.sip.uri import OtherUri, SipUri, Uri, bracketed
from chordial_node.usage.bindings import DIRECT, FLOW
from chordial_node.usage.credentials import Overlay
from chordial_node.usage.domains import PEER_DOMAIN, Domains

NO_RESOURCE = ResourceId(bytes(16))
MOST_ROUTES = 16
_USER = re.compile(rb"(?:[^<]*<)?sips?:([A-Za-z0-9_\-]+)@")
_TRANSPORTS = (Transport.UDP, Transport.TCP, Transport.TLS)
"""Numbers of transports in tokens: only ever added to."""


class Way(msgspec.Struct, frozen=True):
    """One way on: a flow, and what a request that takes it must say."""

    flow: Flow
    uri: bytes | None = None
    """The Request-URI to put in; None leaves it."""
    device: DeviceToken | None = None
    """To another peer: the device that it is to deliver to."""
    path: tuple[bytes, ...] = ()
    side: SideToken | None = None
    """To a phone: its side of the call."""
    life_seconds: float = 0.0
    """Between peers: how long the 100 may take."""
    instead: Callable[[], "Way | None"] | None = None
    """What to try when the peer itself does not answer."""


class Routed(msgspec.Struct, frozen=True):
    """What the Route of a request says."""

    pops: int
    """How many values from the top are consumed here."""
    first: SideToken | None
    """The side of the first token: on a phone's request its own."""
    last: SideToken | None
    """The side to deliver to when no peer is next."""
    device: DeviceToken | None
    """From a peer: the device to deliver to."""
    next_node: NodeId | None
    """The live peer that the topmost token left names."""
    next_side: SideToken | None = None
    """That token, when it is the last one: whose phone is reached past the peer if need be."""

    @property
    def has_token(self) -> bool:
        """Tell whether a token of this Call-ID was there: it needs no other proof."""
        return self.first is not None or self.device is not None


class Sides:
    """Makes and reads the tokens of one peer."""

    def __init__(
        self,
        own: NodeId,
        listeners: Sequence[ListenerConfig],
        keys: KeyRing,
        overlay: Overlay,
        domains: Domains,
    ) -> None:
        """Hold what tokens are made with and checked against."""
        self._own = own
        self._listeners = listeners
        self._keys = keys
        self._overlay = overlay
        self._domains = domains

    def advertise(self, listeners: Sequence[ListenerConfig]) -> None:
        """Name other addresses of the same listeners from now on."""
        self._listeners = listeners

    def side(self, flow: Flow, address: Address, resource: ResourceId, device: bytes) -> SideToken:
        """Return the side of a phone at one of our listeners."""
        return SideToken(
            node_prefix=self._own[:NODE_PREFIX_LENGTH],
            listener=flow.listener,
            transport=_TRANSPORTS.index(flow.transport),
            host=address[0],
            port=address[1],
            resource=resource,
            device=device or NO_DEVICE,
        )

    def record_route(self, side: SideToken, call_id: bytes, *, is_secure: bool = False) -> bytes:
        """Return the Record-Route value of a side: the address that this phone knows."""
        advertised = self._listeners[side.listener].advertised
        transport = _TRANSPORTS[side.transport]
        is_secure = is_secure and transport is Transport.TLS
        text = b"<%b:%b@%b:%d" % (
            b"sips" if is_secure else b"sip",
            make(side, call_id, self._keys),
            bracketed(advertised.host.encode()),
            advertised.port,
        )
        if transport is not Transport.UDP and not is_secure:
            text += b";transport=" + transport.value.encode()
        return text + b";lr>"

    def device_route(self, device: DeviceToken, node: NodeId, call_id: bytes) -> bytes:
        """Return the Route value that asks a peer to deliver to a device."""
        token = make(device, call_id, self._keys)
        return b"<sip:%b@%b;lr>" % (token, peer_host(node))

    def open(self, value: bytes, call_id: bytes) -> Token | None:
        """Return the genuine token of a Route or Record-Route value, or None."""
        found = _USER.match(value)
        return None if found is None else open_token(found[1], call_id, self._keys)

    def read(self, routes: list[bytes], call_id: bytes, *, from_peer: bool) -> Routed:
        """Apply the rule to the Route values of a request."""
        if len(routes) > MOST_ROUTES:
            raise RemoteProtocolError(400, "Too Many Routes")
        first: SideToken | None = None
        last: SideToken | None = None
        tokens = [self.open(value, call_id) for value in routes]
        for place, (value, token) in enumerate(zip(routes, tokens, strict=True)):
            if isinstance(token, DeviceToken) and from_peer:
                node = node_of_host(_uri_of(value))
                if node is None or node == self._own or not self._overlay.is_alive(node):
                    return Routed(place + 1, first, last, token, None)
                return Routed(place, first, last, None, node)
            if isinstance(token, SideToken):
                node = self.node_of(token)
                is_followed = isinstance((*tokens, None)[place + 1], SideToken)
                moved = first is None and not from_peer and is_followed
                if node is not None and node != self._own and not moved:
                    is_last = not any(tokens[place + 1 :])
                    return Routed(
                        place, first or token, last, None, node, token if is_last else None
                    )
                first, last = first or token, token
                continue
            if not self._is_own(value):
                return Routed(place, first, last, None, None)  # it stays, for who is next
        return Routed(len(routes), first, last, None, None)

    def node_of(self, token: SideToken) -> NodeId | None:
        """Return the living peer of a side; None when it is dead or unknown: anyone stands in."""
        if token.node_prefix == self._own[:NODE_PREFIX_LENGTH]:
            return self._own
        node = self._overlay.find_node(token.node_prefix)
        return node if node is not None and self._overlay.is_alive(node) else None

    def _is_own(self, value: bytes) -> bool:
        """An outbound-proxy setting: our address or domain, without rights (sip.md 3)."""
        uri = _uri_of(value)
        return isinstance(uri, SipUri) and self._domains.is_ours(uri)


def transport_of(side: SideToken) -> Transport:
    """Return the transport of a side; RemoteProtocolError(400) for one that we do not speak."""
    if side.transport >= len(_TRANSPORTS):
        raise RemoteProtocolError(400, "Unknown transport in Route")
    return _TRANSPORTS[side.transport]


def peer_host(node: NodeId) -> bytes:
    """Return the host that names a peer in Via and Route between peers."""
    return node.hex().encode() + PEER_DOMAIN


def node_of_host(uri: Uri | None) -> NodeId | None:
    """Return the peer that a URI between peers names."""
    if not isinstance(uri, SipUri):
        return None
    return node_of_name(uri.host)


def node_of_name(host: bytes) -> NodeId | None:
    """Return the peer that a host between peers names."""
    if not host.endswith(PEER_DOMAIN):
        return None
    try:
        return node_id(host.removesuffix(PEER_DOMAIN).decode("ascii"))
    except ValueError:
        return None


def contact_address(contact: SipUri) -> Address:
    """Return the host and port that a Contact names."""
    is_tls = contact.scheme == b"sips" or contact.transport == b"tls"
    port = contact.port if contact.port is not None else 5061 if is_tls else 5060
    return contact.host.decode("latin-1"), port


def reach_of(contact: Uri, via: Via, flow: Flow) -> str:
    """Tell how a phone is reached (sip.md 2): at its contact, or only by the flow it came on.

    Direct is a contact whose host is the source, and where no NAT shows in between.
    """
    host, port = flow.remote
    if isinstance(contact, OtherUri) or contact.host != host.lower().encode():
        return FLOW
    if flow.is_reliable or not via.wants_rport:
        return DIRECT
    sent_from = (via.host, via.port if via.port is not None else 5060)
    return DIRECT if sent_from == (contact.host, port) else FLOW


def _uri_of(value: bytes) -> Uri | None:
    try:
        return parse_name_addr(value).parsed_uri()
    except RemoteProtocolError:
        return None
