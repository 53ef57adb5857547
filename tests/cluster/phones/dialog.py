"""A dialog as a strict phone keeps it: route set, remote target, tags and CSeq (RFC 3261 §12).

Also what a phone may demand of a request that a proxy brings. Nothing here sends anything.
"""

import ipaddress
import secrets
from collections.abc import Sequence

import msgspec

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import parse_name_addr, sent_by
from chordial_node.sip.message import Message
from chordial_node.sip.uri import SipUri, parse_uri, same_uri
from tests.cluster.phones.flow import Address

DEFAULT_PORT = 5060


class Dialog(msgspec.Struct):
    """One side of a dialog."""

    call_id: bytes
    local: bytes
    """Our From or To value with its tag."""
    remote: bytes
    target: bytes
    """The other side's Contact: the Request-URI of what we send."""
    routes: tuple[bytes, ...]
    cseq: int
    """The last that we used."""
    remote_cseq: int = 0

    @classmethod
    def of_caller(cls, invite: Message, response: Message) -> "Dialog":
        """The dialog that a 2xx opens for the caller: the route set is Record-Route reversed."""
        return cls(
            invite.call_id, invite.first(b"from") or b"", response.first(b"to") or b"",
            _target(response), tuple(reversed(response.values(b"record-route"))),
            invite.cseq.number,
        )  # fmt: skip

    @classmethod
    def of_callee(cls, invite: Message, tag: bytes) -> "Dialog":
        """The dialog that an INVITE opens for the callee: routes as Record-Route has them."""
        return cls(
            invite.call_id, (invite.first(b"to") or b"") + b";tag=" + tag,
            invite.first(b"from") or b"", _target(invite),
            tuple(invite.values(b"record-route")), 0, invite.cseq.number,
        )  # fmt: skip

    def request(self, method: bytes, via: bytes, cseq: int, lines: bytes = b"") -> bytes:
        """A request in the dialog."""
        routes = b"".join(b"Route: %b\r\n" % route for route in self.routes)
        return compose(
            method, self.target, via, self.local, self.remote, self.call_id, cseq, routes + lines
        )

    def next_hop(self, server: Address) -> Address:
        """Where requests in the dialog go: the first route, else the remote target."""
        uri = parse_name_addr(self.routes[0]).uri if self.routes else self.target
        return place_of(uri) or server


def compose(
    method: bytes, target: bytes, via: bytes, sender: bytes, to: bytes, call_id: bytes, cseq: int,
    lines: bytes, body: bytes = b"",
) -> bytes:  # fmt: skip
    """The bytes of a request."""
    return (
        b"%b %b SIP/2.0\r\nVia: %b\r\nMax-Forwards: 70\r\nFrom: %b\r\nTo: %b\r\nCall-ID: %b\r\n"
        b"CSeq: %d %b\r\n%bContent-Length: %d\r\n\r\n%b"
    ) % (method, target, via, sender, to, call_id, cseq, method, lines, len(body), body)


def new_via(local: Address) -> bytes:
    """A Via value with a fresh branch."""
    place = sent_by(local[0].encode(), local[1])
    return b"SIP/2.0/UDP %b;branch=z9hG4bK%b;rport" % (place, secrets.token_hex(8).encode())


def place_of(uri: bytes) -> Address | None:
    """The address that a URI names; None where it is a name, which the server resolves."""
    try:
        parsed = parse_uri(uri)
    except RemoteProtocolError:
        return None
    if not isinstance(parsed, SipUri):
        return None
    host = parsed.host.decode()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return host, parsed.port or DEFAULT_PORT


def faults_of_record_routes(message: Message) -> list[str]:
    """What is wrong with the Record-Route values of a message (§16.6 item 4)."""
    faults = []
    for value in message.values(b"record-route"):
        uri = _uri(value)
        if uri is None:
            faults.append("unreadable Record-Route")
        elif not uri.has(b"lr"):
            faults.append("Record-Route without lr")
    return faults


def faults_of_answer(response: Message) -> list[str]:
    """What is wrong with a 2xx to an INVITE."""
    faults = faults_of_record_routes(response)
    if len(response.values(b"contact")) != 1:
        faults.append("2xx to INVITE without one Contact")
    if not response.values(b"record-route"):
        faults.append("2xx to INVITE without Record-Route: the proxy left the path")
    return faults


def faults_of_request(request: Message, contact: bytes, realm: bytes) -> list[str]:
    """What a proxy must not bring to a phone (§16.6, §16.4, §22.3)."""
    faults = []
    hops = request.first(b"max-forwards")
    if hops is None:
        faults.append("request without Max-Forwards")
    elif request.max_forwards >= 70:
        faults.append("request whose Max-Forwards was not lowered")
    if not is_same(request.target, contact):
        faults.append("request whose Request-URI is not our Contact")
    if b"route" in request:
        faults.append("request with a Route left for the phone")
    if any(realm in value for value in request.values(b"proxy-authorization")):
        faults.append("request with the caller's credentials")
    if not request.from_tag:
        faults.append("request without From tag")
    if request.method != b"OPTIONS" and len(request.values(b"via")) < 2:
        faults.append("request without its sender's Via")
    if request.method == b"INVITE":
        faults += faults_of_record_routes(request)
    return faults


def faults_in_dialog(dialog: Dialog, request: Message) -> list[str]:
    """What is wrong with a request of a dialog that we have (§12.2.2)."""
    faults = []
    if request.from_tag != parse_name_addr(dialog.remote).tag:
        faults.append("in-dialog request with another From tag")
    if request.method != b"ACK" and request.cseq.number <= dialog.remote_cseq:
        faults.append("in-dialog request whose CSeq did not grow")
    return faults


def is_same(first: bytes, second: bytes) -> bool:
    """Whether two URIs are the same."""
    if first == second:
        return True
    try:
        return same_uri(parse_uri(first), parse_uri(second))
    except RemoteProtocolError:
        return False


def sdp(local: Address, port: int) -> bytes:
    """An offer or answer of one PCMU stream that is never sent."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {local[0]}\r\ns=-\r\nc=IN IP4 {local[0]}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    ).encode()


def joined(lines: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Header lines as bytes."""
    return b"".join(b"%b: %b\r\n" % line for line in lines)


def _target(message: Message) -> bytes:
    values = message.values(b"contact")
    return parse_name_addr(values[0]).uri if values else b""


def _uri(value: bytes) -> SipUri | None:
    try:
        uri = parse_name_addr(value).parsed_uri()
    except RemoteProtocolError:
        return None
    return uri if isinstance(uri, SipUri) else None
