"""What an edge changes in a request on its way, header by header (RFC 3261 §16.6, sip.md 2).

Everything else leaves byte for byte. Towards a peer Route names the device and trace and identity
travel; towards a phone they are taken out. Where a request goes is decided before it comes here.
"""

import msgspec

from chordial_node.config import Transport
from chordial_node.kernel.tracing import Trace
from chordial_node.sip.flows import Flow, Flows
from chordial_node.sip.forward import Forward
from chordial_node.sip.message import Message
from chordial_node.sip.outgoing import Outgoing
from chordial_node.sip.tokens import SideToken
from chordial_node.sip.uri import aor_uri
from chordial_node.usage.authentication import Authentication
from chordial_node.usage.sides import Sides, Way

MAX_BREADTH = 60
"""RFC 5393 §5.3.3: what a request without Max-Breadth may spend on branches."""
IDENTITIES = (b"p-asserted-identity", b"p-preferred-identity", b"remote-party-id")
"""What says who somebody is: never believed from outside."""
_BEGIN_DIALOGS = (b"INVITE", b"SUBSCRIBE", b"REFER")


class Passage(msgspec.Struct, frozen=True):
    """What has been decided of a request before it is sent on any way."""

    request: Message
    flow: Flow
    """Where it came from."""
    pops: int = 0
    """Route values consumed here."""
    routes: tuple[bytes, ...] = ()
    """Route values to add: the route set of a phone that keeps none."""
    target: bytes | None = None
    """The remote target of a phone that keeps none."""
    side: SideToken | None = None
    """The sender's side, on a request that may begin a dialog."""
    aor: bytes = b""
    """Who a phone has proven to be."""
    is_stranger: bool = False
    breadth: int | None = None


class Rewriting:
    """Makes the request that leaves on a way."""

    def __init__(self, flows: Flows, sides: Sides, authentication: Authentication) -> None:
        """Hold what knows our own addresses, tokens and realm."""
        self._flows = flows
        self._sides = sides
        self._authentication = authentication

    def forwarded(self, passage: Passage, way: Way, branch: bytes, trace: Trace | None) -> Outgoing:
        """Return the request as it leaves, with our Via on top."""
        request = passage.request
        forward = Forward(request)
        uri = way.uri or passage.target
        if uri is not None and uri != request.target:
            forward.replace_uri(uri)
        forward.set_max_forwards(request.max_forwards - 1)
        self._routes(forward, passage, way)
        self._record_routes(forward, passage, way)
        self._credentials(forward, passage)
        self._identity(forward, passage, way)
        _trace(forward, passage, way, trace)
        if passage.breadth is not None and (way.flow.is_peer or b"max-breadth" in request):
            forward.set(b"max-breadth", b"Max-Breadth", b"%d" % passage.breadth)
        if passage.is_stranger:
            _calm(forward, request)
        if way.flow.is_reliable:
            forward.ensure_content_length()
        forward.push_via(self._flows.via(way.flow, branch))
        return Outgoing(forward.to_bytes(), request.method, branch)

    def _routes(self, forward: Forward, passage: Passage, way: Way) -> None:
        if passage.pops:
            forward.pop(b"route", passage.pops)
        for value in reversed(passage.routes):
            forward.push(b"Route", value)
        for value in reversed(way.path):
            forward.push(b"Route", value)
        if way.device is not None and way.flow.node is not None:
            call_id = passage.request.call_id
            route = self._sides.device_route(way.device, way.flow.node, call_id)
            forward.push(b"Route", route)

    def _record_routes(self, forward: Forward, passage: Passage, way: Way) -> None:
        """One for each phone side: the caller's first, so that the callee's stands above it."""
        request = passage.request
        if request.method not in _BEGIN_DIALOGS or request.to_tag:
            return
        is_secure = request.target[:5].lower() == b"sips:"  # §16.6 step 4
        for side in (passage.side, way.side):
            if side is not None:
                value = self._sides.record_route(side, request.call_id, is_secure=is_secure)
                forward.push(b"Record-Route", value)

    def _credentials(self, forward: Forward, passage: Passage) -> None:
        """Forwarded, they would be an offline guess for whoever gets them (sip.md 5)."""
        for name in (b"proxy-authorization", b"authorization"):
            if name in passage.request:
                forward.remove_values(name, self._authentication.consumes)

    def _identity(self, forward: Forward, passage: Passage, way: Way) -> None:
        """P-Asserted-Identity (RFC 3325 §5): believed from peers, hidden where that is asked."""
        request = passage.request
        is_hidden = way.flow.node is None and b"id" in _privacy(request)
        for name in IDENTITIES if passage.flow.node is None or is_hidden else ():
            if name in request:
                forward.remove(name)
        if passage.aor and not is_hidden:
            forward.add(b"P-Asserted-Identity", b"<" + aor_uri(passage.aor) + b">")


def _trace(forward: Forward, passage: Passage, way: Way, trace: Trace | None) -> None:
    """The trace context goes from peer to peer, never from or to a phone."""
    for name in (b"traceparent", b"tracestate"):
        if name in passage.request:
            forward.remove(name)
    if way.flow.transport is Transport.PEER and trace is not None:
        forward.add(b"traceparent", trace.traceparent)


def _privacy(request: Message) -> list[bytes]:
    value = b";".join(request.lines(b"privacy")).lower()
    return [each.strip() for each in value.replace(b",", b";").split(b";")]


def _calm(forward: Forward, request: Message) -> None:
    """Take out what makes a phone answer by itself, or fetch a stranger's ring tone (sip.md 7)."""
    for name in (b"answer-mode", b"priv-answer-mode", b"alert-info", b"p-auto-answer"):
        if name in request:
            forward.remove(name)
    if b"call-info" in request:
        forward.remove_values(b"call-info", lambda value: b"answer-after" in value.lower())
