"""A scripted phone: it sends what a test says, answers challenges, and keeps all it received."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chordial_node.boundary.events import Address
from chordial_node.sip.digest import answer
from chordial_node.sip.headers import parse_auth
from chordial_node.sip.message import Message

if TYPE_CHECKING:
    from tests.node.usage.rig import Edge, Wire

DOMAIN = b"chordial.test"
SDP = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\n"


class Phone:
    """One user agent at one address; `edge` is the peer that its packets reach."""

    def __init__(
        self,
        wire: Wire,
        user: str,
        remote: Address,
        *,
        edge: int = 0,
        tcp: bool = False,
        tls: bool = False,
        contact: str = "",
        sent_by: str = "",
        instance: str = "",
        domain: bytes = DOMAIN,
    ) -> None:
        self.wire = wire
        self.user = user.encode()
        self.domain = domain
        self.remote = remote
        self.edge = edge
        self.tcp = tcp or tls
        self.tls = tls
        host = f"{remote[0]}:{remote[1]}"
        suffix = ";transport=tcp" if tcp else ""
        scheme = "sips" if tls else "sip"
        self.contact = (contact or f"{scheme}:{user}@{host}{suffix}").encode()
        self.sent_by = (sent_by or host).encode()
        self.instance = instance.encode()
        self.received: list[Message] = []
        self.cseq = 0
        self._branch = 0
        self._connection: tuple[Edge, int] | None = None
        wire.phones[remote] = self

    name = "phone"

    # the wire -------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes to the peer that the Service leads to."""
        edge = self.wire.edges[self.edge]
        if self.tcp:
            if self._connection is None or self._connection[0] is not edge:
                self._connection = (edge, edge.accept(self, 0, 3 if self.tls else 1, self.remote))
            number = self._connection[1]
            self.wire.later(0.001, lambda: edge.receive(number, data))
        else:
            self.wire.later(0.001, lambda: edge.receive_datagram(0, self.remote, data))

    def accept(self, edge: Edge, theirs: int) -> int:
        """Take a connection that an edge dialed."""
        self._connection = (edge, theirs)
        return 0

    def receive(self, flow: int, data: bytes) -> None:
        """Keep a message."""
        if data.strip():
            self.received.append(Message.parse(data))

    def lose(self, flow: int) -> None:
        """Learn that the connection ended; stock phones do nothing then."""
        self._connection = None

    # messages -------------------------------------------------------------------------------------

    def branch(self) -> bytes:
        self._branch += 1
        return b"z9hG4bK%b%d" % (self.user, self._branch)

    def request(
        self,
        method: bytes,
        uri: bytes,
        *lines: bytes,
        call_id: bytes = b"",
        from_uri: bytes = b"",
        to: bytes = b"",
        cseq: int = 0,
        branch: bytes = b"",
        body: bytes = b"",
        max_forwards: int = 70,
    ) -> bytes:
        """Return a request of this phone."""
        if not cseq:
            self.cseq += 1
            cseq = self.cseq
        own = from_uri or b"sip:%b@%b" % (self.user, self.domain)
        to = to or (b"<%b>" % (own if method == b"REGISTER" else uri))
        transport = b"TLS" if self.tls else b"TCP" if self.tcp else b"UDP"
        head = [
            b"%b %b SIP/2.0" % (method, uri),
            b"Via: SIP/2.0/%b %b;branch=%b;rport"
            % (transport, self.sent_by, branch or self.branch()),
            b"Max-Forwards: %d" % max_forwards,
            b"From: <%b>;tag=f%b" % (own, self.user),
            b"To: %b" % to,
            b"Call-ID: %b" % (call_id or b"c-" + self.user),
            b"CSeq: %d %b" % (cseq, method),
            *lines,
            b"Content-Length: %d" % len(body),
        ]
        return b"\r\n".join(head) + b"\r\n\r\n" + body

    def contact_line(self, expires: int | None = 3600) -> bytes:
        """Return this phone's Contact header."""
        line = b"Contact: <%b>" % self.contact
        if self.instance:
            line += b';+sip.instance="<%b>"' % self.instance
        return line if expires is None else line + b";expires=%d" % expires

    def digest(self, challenged: Message, method: bytes, uri: bytes, nc: int = 1) -> bytes:
        """Return the header that answers a challenge."""
        is_proxy = challenged.status == 407
        name = b"proxy-authenticate" if is_proxy else b"www-authenticate"
        value = answer(
            parse_auth(challenged.first(name) or b""),
            user=self.user,
            password=self.user + b"pw",
            method=method,
            uri=uri,
            count=nc,
            cnonce=b"cn",
        )
        return (b"Proxy-Authorization: " if is_proxy else b"Authorization: ") + value

    def register(
        self, *lines: bytes, expires: int = 3600, call_id: bytes = b"", contact: bytes = b""
    ) -> Message:
        """Register as a stock phone does, and return the last answer."""
        uri = b"sip:" + self.domain
        call_id = call_id or b"r-" + self.user
        headers = (contact or self.contact_line(expires), *lines)
        self.send(self.request(b"REGISTER", uri, *headers, call_id=call_id))
        challenge = self.answer(b"REGISTER")
        for _ in range(3):
            if challenge.status != 401:
                break
            proof = self.digest(challenge, b"REGISTER", uri)
            self.send(self.request(b"REGISTER", uri, *headers, proof, call_id=call_id))
            challenge = self.answer(b"REGISTER")
        return challenge

    def call(self, uri: bytes, *lines: bytes, call_id: bytes = b"call", wait: float = 0.2) -> bytes:
        """Send an INVITE, with a proof when it is asked for; return what was sent last."""
        headers = (self.contact_line(None), b"Content-Type: application/sdp", *lines)
        first = self.request(b"INVITE", uri, *headers, call_id=call_id, body=SDP)
        self.send(first)
        challenged = self.answer(b"INVITE")
        if challenged.status != 407:
            return first
        self.send(self.ack_refusal(first, challenged))
        proof = self.digest(challenged, b"INVITE", uri)
        invite = self.request(b"INVITE", uri, *headers, proof, call_id=call_id, body=SDP)
        self.send(invite)
        self.wire.run(wait)
        return invite

    def ack_refusal(self, invite: bytes, refusal: Message) -> bytes:
        """Return the ACK of a refusal: of its INVITE's transaction."""
        sent = Message(invite)
        return self.request(
            b"ACK",
            sent.target,
            call_id=sent.call_id,
            to=refusal.first(b"to") or b"",
            cseq=sent.cseq.number,
            branch=sent.via.branch,
        )

    def reply(
        self, request: Message, status: int, *lines: bytes, tag: bytes = b"", reason: bytes = b"X"
    ) -> None:
        """Answer a request as a user agent does: all Vias, all Record-Routes."""
        to = request.first(b"to") or b""
        if b"tag=" not in to:
            to += b";tag=" + (tag or b"t" + self.user)
        head = [b"SIP/2.0 %d %b" % (status, reason)]
        head += [b"Via: " + value for value in request.values(b"via")]
        head += [b"Record-Route: " + value for value in request.values(b"record-route")]
        head += [
            b"From: " + (request.first(b"from") or b""),
            b"To: " + to,
            b"Call-ID: " + request.call_id,
            b"CSeq: " + (request.first(b"cseq") or b""),
            b"Contact: <%b>" % self.contact,
            *lines,
            b"Content-Length: 0",
        ]
        self.send(b"\r\n".join(head) + b"\r\n\r\n")

    # what came ------------------------------------------------------------------------------------

    def answer(self, method: bytes, wait: float = 0.2) -> Message:
        """Let time pass and return the last response to a method."""
        self.wire.run(wait)
        return self.responses(method)[-1]

    def responses(self, method: bytes) -> list[Message]:
        """Return all responses to a method."""
        return [each for each in self.received if not each.is_request and each.method == method]

    def statuses(self, method: bytes) -> list[int]:
        """Return the statuses of all responses to a method."""
        return [each.status for each in self.responses(method)]

    def requests(self, method: bytes) -> list[Message]:
        """Return all requests of a method that came."""
        return [each for each in self.received if each.is_request and each.method == method]

    def within_call(
        self, method: bytes, invite: Message, answer: Message, *lines: bytes, as_caller: bool
    ) -> bytes:
        """Return a request in a dialog, with the route set that its side has learnt."""
        record = answer.values(b"record-route")
        routes = record[::-1] if as_caller else invite.values(b"record-route")
        peer = answer if as_caller else invite
        contact = peer.addresses(b"contact")[0].uri
        ours, theirs = (b"from", b"to") if as_caller else (b"to", b"from")
        self.cseq += 1
        number = invite.cseq.number if method == b"ACK" else self.cseq + 100
        transport = b"TLS" if self.tls else b"TCP" if self.tcp else b"UDP"
        head = [
            b"%b %b SIP/2.0" % (method, contact),
            b"Via: SIP/2.0/%b %b;branch=%b;rport" % (transport, self.sent_by, self.branch()),
            b"Max-Forwards: 70",
            *[b"Route: " + value for value in routes],
            b"From: " + (answer.first(ours) or b""),
            b"To: " + (answer.first(theirs) or b""),
            b"Call-ID: " + answer.call_id,
            b"CSeq: %d %b" % (number, method),
            *lines,
            b"Content-Length: 0",
        ]
        return b"\r\n".join(head) + b"\r\n\r\n"
