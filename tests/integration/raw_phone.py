"""A phone of bare sockets: says exactly the bytes that a test wants, and reads what comes back.

It shares no code with the product on purpose: it reads messages and answers challenges its own,
dumb way.
"""

import hashlib
import re
import socket
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec

from tests.integration.rig import DOMAIN

SHORT = 0.6
"""Long enough for an answer over loopback; silence is believed after it."""
LONG = 5.0
COMPACT = {"i": "call-id", "v": "via", "f": "from", "t": "to", "m": "contact"}


class Heard(msgspec.Struct, frozen=True):
    """A message that arrived."""

    first: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status(self) -> int:
        """Its status, 0 of a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0 ") else 0

    def all(self, name: str) -> list[str]:
        """Return the values of a header, line by line."""
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str:
        """Return the first value of a header, empty when there is none."""
        return next(iter(self.all(name)), "")


def read(data: bytes) -> Heard:
    """Return what a message says."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace")).split("\r\n")
    pairs = (line.partition(":") for line in lines)
    named = ((key.strip().lower(), value.strip()) for key, _, value in pairs)
    return Heard(first, tuple((COMPACT.get(key, key), value) for key, value in named), body)


class RawPhone:
    """One socket; `user` has the password that the rig gives its users."""

    def __init__(
        self, server: tuple[str, int], user: str = "", local: tuple[str, int] | None = None,
        transport: str = "udp", domain: str = DOMAIN,
    ) -> None:  # fmt: skip
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self.server = server
        self.user = user
        self.transport = transport
        self.domain = domain
        self.socket = socket.socket(family, kind)
        self.socket.bind(local or ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        if transport != "udp":
            self.socket.settimeout(LONG)
            self.socket.connect(server)
        self.local: tuple[str, int] = self.socket.getsockname()[:2]
        self.call_id = uuid.uuid4().hex
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.socket.close()

    @property
    def place(self) -> str:
        """Its address as Via and Contact name it."""
        host, port = self.local
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, data: bytes) -> None:
        """Say these bytes."""
        if self.transport == "udp":
            self.socket.sendto(data, self.server)
        else:
            self.socket.sendall(data)

    def octets(self, timeout: float = LONG) -> bytes | None:
        """Return what arrives next, as it comes from the socket; None after a silence."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(65535)
        except TimeoutError:
            return None

    def hear(self, timeout: float = LONG) -> Heard | None:
        """Return the next message; None after a silence."""
        if self.transport == "udp":
            data = self.octets(timeout)
            return read(data) if data is not None else None
        while True:
            head, end, rest = self._rest.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length\s*:\s*(\d+)", head) if end else None
            if length is not None and len(rest) >= int(length[1]):
                whole = len(head) + 4 + int(length[1])
                message, self._rest = self._rest[:whole], self._rest[whole:]
                return read(message)
            more = self.octets(timeout)
            if not more:
                return None
            self._rest += more

    def final(self, timeout: float = LONG) -> Heard:
        """Return the next final response."""
        while True:
            heard = self.hear(timeout)
            assert heard is not None, "no final response came"
            if heard.status >= 200:
                return heard

    def request(
        self, method: str, uri: str, cseq: int = 1, *, lines: Sequence[str] = (), to: str = "",
        sender: str = "", call_id: str = "", body: str = "", branch: str = "",
    ) -> bytes:  # fmt: skip
        """Return a request of ours."""
        own = f"<sip:{self.user or 'stranger'}@{self.domain if self.user else 'elsewhere.test'}>"
        return "\r\n".join(
            (
                f"{method} {uri} SIP/2.0",
                f"Via: SIP/2.0/{self.transport.upper()} {self.place}"
                f";branch={branch or 'z9hG4bK' + uuid.uuid4().hex};rport",
                f"From: {sender or own};tag={self.call_id[:8]}",
                f"To: {to or own}",
                f"Call-ID: {call_id or self.call_id}",
                f"CSeq: {cseq} {method}",
                "Max-Forwards: 70",
                *lines,
                f"Content-Length: {len(body)}",
                "",
                body,
            )
        ).encode()

    def contact(self) -> str:
        """A Contact line of this socket."""
        parameter = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"Contact: <sip:{self.user}@{self.place}{parameter}>"

    def register(self, expires: int = 120, cseq: int = 1) -> tuple[Heard, bytes]:
        """Register with digest; returns the last response and the request that it answers."""
        uri = f"sip:{self.domain}"
        lines = [self.contact(), f"Expires: {expires}"]
        self.send(self.request("REGISTER", uri, cseq, lines=lines))
        challenge = self.final()
        assert challenge.status == 401, challenge.first
        lines.append(self.answer(challenge, "REGISTER", uri))
        request = self.request("REGISTER", uri, cseq + 1, lines=lines)
        self.send(request)
        return self.final(), request

    def answer(self, challenge: Heard, method: str, uri: str) -> str:
        """Return the authorization line that answers a challenge."""
        name = "Authorization" if challenge.status == 401 else "Proxy-Authorization"
        asked = challenge.get("WWW-Authenticate") or challenge.get("Proxy-Authenticate")
        nonce = re.findall(r'nonce="([^"]+)"', asked)[0]
        secret = _md5(f"{self.user}:{self.domain}:{self.user}pw")
        response = _md5(f"{secret}:{nonce}:00000001:c:auth:{_md5(f'{method}:{uri}')}")
        return (
            f'{name}: Digest username="{self.user}", realm="{self.domain}", nonce="{nonce}", '
            f'uri="{uri}", response="{response}", algorithm=MD5, cnonce="c", nc=00000001, qop=auth'
        )

    def reply(self, request: Heard, status: str, *lines: str, tag: str = "callee") -> None:
        """Answer a request that arrived."""
        to = request.get("To")
        copied = [f"Via: {via}" for via in request.all("Via")]
        copied += [f"Record-Route: {each}" for each in request.all("Record-Route")]
        self.send(
            "\r\n".join(
                (
                    f"SIP/2.0 {status}",
                    *copied,
                    f"From: {request.get('From')}",
                    f"To: {to if ';tag=' in to else to + ';tag=' + tag}",
                    f"Call-ID: {request.get('Call-ID')}",
                    f"CSeq: {request.get('CSeq')}",
                    *lines,
                    "Content-Length: 0",
                    "",
                    "",
                )
            ).encode()
        )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
