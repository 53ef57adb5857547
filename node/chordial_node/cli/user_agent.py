"""A small SIP user agent: registers, calls, answers, sends and takes messages (RFC 3261, 3428).

The phone behind `chordial call`, `message` and the demonstration of `up`. aiovoip does not serve
there: it cannot answer a 407 nor keep a route set (docs/decisions/0001). It carries no sound: its
SDP offers PCMU on a socket of its own, which stays silent.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.cli.sip_client import Account, SipClient, SipError
from chordial_node.sip.headers import NameAddr, parse_expires, parse_name_addr, quote
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond

AGENT = b"chordial"


class Binding(msgspec.Struct, frozen=True):
    """What a registrar granted."""

    contact: str
    expires: int
    bindings: int
    """Contacts of the AOR, this one included."""


class Call(msgspec.Struct):
    """A call as its caller sees it: the final status, and the dialog when it was answered."""

    status: int
    reason: str
    set_up_ms: float
    """From the INVITE to its final response."""
    ringing_ms: float | None
    """From the INVITE to the first 180."""
    call_id: bytes
    remote_target: bytes = b""
    routes: tuple[bytes, ...] = ()
    local_side: bytes = b""
    remote_side: bytes = b""
    cseq: int = 0

    @property
    def is_answered(self) -> bool:
        """Tell whether the callee took it."""
        return 200 <= self.status < 300


class UserAgent:
    """A phone with one line."""

    def __init__(
        self,
        account: Account,
        server: Address,
        transport: str = "udp",
        *,
        on_text: Callable[[str, str], None] | None = None,
        ring_seconds: float = 0.0,
    ) -> None:
        self.account = account
        self._client = SipClient(account, server, transport)
        self._client.on_request = self._on_message
        self._on_text = on_text
        self._ring_seconds = ring_seconds
        self._register_call_id = secrets.token_hex(12).encode()
        self._instance = b"<urn:uuid:%b>" % _uuid().encode()
        self._cseq = 0
        self._media = socket.socket(_family(server[0]), socket.SOCK_DGRAM)
        self._answers: dict[bytes, bytes] = {}
        """Responses already sent, by Call-ID, CSeq and method, for retransmitted requests."""
        self._calls: dict[bytes, Call] = {}
        """Calls of ours that were answered, by Call-ID."""
        self._acks: dict[tuple[bytes, bytes], bytes] = {}
        """What each phone's 200 was acknowledged with, by Call-ID and To."""
        self.answered_calls = 0
        self.ended_calls = 0

    async def open(self) -> None:
        """Connect to the server."""
        await self._client.open()
        self._media.bind((self._client.local[0], 0))

    async def close(self) -> None:
        """End the phone without a word to anybody."""
        await self._client.close()
        self._media.close()

    @property
    def contact(self) -> bytes:
        """Where requests to us are to be sent."""
        transport = b"" if self._client.transport == "udp" else b";transport=tcp"
        return b"<sip:%b@%b%b>" % (self.account.user.encode(), self._client.sent_by, transport)

    async def register(self, expires: int = 300) -> Binding:
        """Register, or remove the binding with 0; SipError names the refusal."""
        registrar = b"sip:" + self.account.domain.encode()
        aor = b"<%b>" % self.account.aor.encode()
        tag = secrets.token_hex(4).encode()

        def build(via: bytes, cseq: int, authorization: bytes) -> bytes:
            contact = b"%b;+sip.instance=%b;expires=%d" % (
                self.contact, quote(self._instance), expires,
            )  # fmt: skip
            lines = b"Contact: %b\r\nExpires: %d\r\n" % (contact, expires)
            side = b"%b;tag=%b" % (aor, tag)
            return self._request(
                b"REGISTER", registrar, via, side, aor, self._register_call_id, cseq,
                authorization + lines,
            )  # fmt: skip

        self._cseq += 1
        _, response, self._cseq = await self._client.exchange(build, self._cseq)
        if response.status != 200:
            why = " (wrong password, or no such user)" if response.status == 401 else ""
            raise SipError(f"REGISTER of {self.account.aor} was refused: {_told(response)}{why}")
        contacts = response.addresses(b"contact")
        granted = [each for each in contacts if each.uri == self.contact[1:-1]]
        seconds = parse_expires(granted[0].params.get(b"expires") or b"0") if granted else 0
        return Binding(self.contact[1:-1].decode(), seconds, len(contacts))

    async def call(
        self,
        target: str,
        *,
        call_id: bytes | None = None,
        on_ringing: Callable[[Message], None] | None = None,
        ring_limit_seconds: float = 60.0,
    ) -> Call:
        """Call somebody and return when the call is answered or refused."""
        call = Call(0, "", 0.0, None, call_id or secrets.token_hex(12).encode())
        call.local_side = b"<%b>;tag=%b" % (
            self.account.aor.encode(),
            secrets.token_hex(4).encode(),
        )
        started = time.monotonic()

        def provisional(response: Message) -> None:
            if response.status >= 180 and call.ringing_ms is None:
                call.ringing_ms = (time.monotonic() - started) * 1000
                if on_ringing is not None:
                    on_ringing(response)

        def build(via: bytes, cseq: int, authorization: bytes) -> bytes:
            lines = b"Contact: %b\r\nContent-Type: application/sdp\r\n" % self.contact
            return self._request(
                b"INVITE", target.encode(), via, call.local_side, b"<%b>" % target.encode(),
                call.call_id, cseq, authorization + lines, self._sdp(),
            )  # fmt: skip

        try:
            async with asyncio.timeout(ring_limit_seconds):
                _, response, cseq = await self._client.exchange(build, 1, provisional)
        except TimeoutError as error:
            raise SipError(
                f"{target} did not answer in {ring_limit_seconds:.0f} seconds"
            ) from error
        call.status, call.reason = response.status, response.reason.decode(errors="replace")
        call.set_up_ms = (time.monotonic() - started) * 1000
        call.cseq = cseq
        if call.is_answered:
            self._confirm(call, response)
        return call

    async def hang_up(self, call: Call) -> int:
        """End an answered call and return the status of the BYE."""

        def build(via: bytes, cseq: int, authorization: bytes) -> bytes:
            return self._in_dialog(call, b"BYE", via, cseq, authorization)

        _, response, _ = await self._client.exchange(build, call.cseq + 1)
        return response.status

    async def message(self, target: str, text: str) -> tuple[int, str, float]:
        """Send a text; return status, reason and milliseconds to the final response (RFC 3428)."""
        side = b"<%b>;tag=%b" % (self.account.aor.encode(), secrets.token_hex(4).encode())
        call_id = secrets.token_hex(12).encode()
        started = time.monotonic()

        def build(via: bytes, cseq: int, authorization: bytes) -> bytes:
            return self._request(
                b"MESSAGE", target.encode(), via, side, b"<%b>" % target.encode(), call_id, cseq,
                authorization + b"Content-Type: text/plain;charset=UTF-8\r\n", text.encode(),
            )  # fmt: skip

        _, response, _ = await self._client.exchange(build, 1)
        taken = (time.monotonic() - started) * 1000
        return response.status, response.reason.decode(errors="replace"), taken

    # what comes in

    async def _on_message(self, message: Message) -> None:
        if not message.is_request:
            await self._on_late_answer(message)
            return
        if message.method == b"ACK":
            return
        place = b"%b %b" % (message.call_id, message.first(b"cseq") or b"")
        known = self._answers.get(place)
        if known is not None:
            self._client.send(known)
            return
        await self._answer(message, place)

    async def _on_late_answer(self, response: Message) -> None:
        """Acknowledge a repeated 200 again, and end what a second phone took, too (§13.2.2.4)."""
        call = self._calls.get(response.call_id)
        if call is None or not 200 <= response.status < 300:
            return
        side = response.first(b"to") or b""
        known = self._acks.get((call.call_id, side))
        if known is not None:
            self._client.send(known)
            return
        other = msgspec.structs.replace(call)
        self._confirm(other, response)
        await self.hang_up(other)

    async def _answer(self, request: Message, place: bytes) -> None:
        tag = secrets.token_hex(4).encode()
        method = request.method
        headers: list[tuple[bytes, bytes]] = [(b"Contact", self.contact), (b"Server", AGENT)]
        body = b""
        status = 200
        if method == b"INVITE":
            ringing = respond(request, 180, to_tag=tag, headers=headers)
            self._answers[place] = ringing
            self._client.send(ringing)
            await asyncio.sleep(self._ring_seconds)
            headers.append((b"Content-Type", b"application/sdp"))
            body = self._sdp()
            self.answered_calls += 1
        elif method == b"BYE":
            self.ended_calls += 1
        elif method == b"MESSAGE" and self._on_text is not None:
            self._on_text(_address(request.from_address), request.body.decode(errors="replace"))
        elif method not in (b"MESSAGE", b"OPTIONS", b"CANCEL", b"INFO", b"UPDATE"):
            status = 501
        response = respond(request, status, to_tag=tag, headers=headers, body=body)
        self._answers[place] = response
        while len(self._answers) > 200:
            del self._answers[next(iter(self._answers))]
        self._client.send(response)

    # what goes out

    def _confirm(self, call: Call, response: Message) -> None:
        contact = response.addresses(b"contact")
        call.remote_target = contact[0].uri if contact else b""
        call.routes = tuple(reversed(response.values(b"record-route")))
        call.remote_side = response.first(b"to") or b""
        via = self._client.via(b"z9hG4bK" + secrets.token_hex(8).encode())
        ack = self._in_dialog(call, b"ACK", via, call.cseq, b"")
        self._calls.setdefault(call.call_id, call)
        self._acks[call.call_id, call.remote_side] = ack
        self._client.send(ack)

    def _in_dialog(
        self, call: Call, method: bytes, via: bytes, cseq: int, authorization: bytes
    ) -> bytes:
        routes = b"".join(b"Route: %b\r\n" % route for route in call.routes)
        return self._request(
            method, call.remote_target, via, call.local_side, call.remote_side, call.call_id, cseq,
            routes + authorization,
        )  # fmt: skip

    def _request(
        self,
        method: bytes,
        target: bytes,
        via: bytes,
        local_side: bytes,
        remote_side: bytes,
        call_id: bytes,
        cseq: int,
        lines: bytes,
        body: bytes = b"",
    ) -> bytes:
        return (
            b"%b %b SIP/2.0\r\nVia: %b\r\nMax-Forwards: 70\r\nFrom: %b\r\nTo: %b\r\n"
            b"Call-ID: %b\r\nCSeq: %d %b\r\nUser-Agent: %b\r\n%bContent-Length: %d\r\n\r\n%b"
        ) % (
            method, target, via, local_side, remote_side, call_id, cseq, method, AGENT, lines,
            len(body), body,
        )  # fmt: skip

    def _sdp(self) -> bytes:
        host, port = self._media.getsockname()[:2]
        family = "IP6" if ":" in host else "IP4"
        return (
            f"v=0\r\no=- 1 1 IN {family} {host}\r\ns=chordial\r\nc=IN {family} {host}\r\n"
            f"t=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        ).encode()


def _told(response: Message) -> str:
    return f"{response.status} {response.reason.decode(errors='replace')}"


def _address(side: NameAddr) -> str:
    return parse_name_addr(side.uri).uri.decode(errors="replace")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _uuid() -> str:
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
