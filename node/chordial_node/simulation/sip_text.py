"""SIP as a simulated phone writes and reads it: on its own, so that it never shares our mistakes.

RFC 3261 §7 as far as a plain phone needs it, with RFC 7616 digest by MD5. The product's parser and
its digest are not used here on purpose.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


class Sip(msgspec.Struct):
    """A request or response, its headers in the order in which they came."""

    first: str
    """The first line."""
    headers: list[tuple[str, str]]
    body: bytes = b""

    @property
    def status(self) -> int:
        """The status of a response; 0 for a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """The method of a request, or that of a response's CSeq."""
        return self.get("CSeq").split()[1] if self.status else self.first.split()[0]

    @property
    def uri(self) -> str:
        """The Request-URI."""
        return self.first.split()[1]

    def get(self, name: str) -> str:
        """Return the first value of a header; empty when there is none."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for key, value in self.headers if key == name]

    @property
    def branch(self) -> str:
        """The branch of the top Via."""
        return self.get("Via").partition("branch=")[2].partition(";")[0]


def parse(data: bytes) -> Sip:
    """Read a message that the product has sent."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, _, value = line.partition(":")
        name = _LONG.get(name.strip().lower(), name.strip())
        values = _split(value) if name in _LISTS else [value.strip()]
        headers.extend((name, each) for each in values)
    return Sip(first, headers, body)


def write(message: Sip) -> bytes:
    """Return the bytes of a message."""
    lines = [message.first, *(f"{name}: {value}" for name, value in message.headers)]
    lines.append(f"Content-Length: {len(message.body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + message.body


def answer(request: Sip, status: int, reason: str, tag: str, extra: list[tuple[str, str]]) -> Sip:
    """Return a response to a request (RFC 3261 §8.2.6)."""
    headers = [("Via", value) for value in request.all("Via")]
    headers += [("Record-Route", value) for value in request.all("Record-Route")]
    to = request.get("To")
    if status > 100 and ";tag=" not in to:
        to += f";tag={tag}"
    headers += [("From", request.get("From")), ("To", to)]
    headers += [(name, request.get(name)) for name in ("Call-ID", "CSeq")]
    return Sip(f"SIP/2.0 {status} {reason}", headers + extra)


def authorization(
    challenge: str, user: str, password: str, method: str, uri: str, count: int
) -> str:
    """Return the credentials that answer a challenge (RFC 7616 §3.4)."""
    params = {name: quoted or plain for name, quoted, plain in _PARAMETER.findall(challenge)}
    realm, nonce = params["realm"], params["nonce"]
    ha1, ha2 = _md5(f"{user}:{realm}:{password}"), _md5(f"{method}:{uri}")
    nc, cnonce = f"{count:08x}", f"c{count}"
    response = _md5(f"{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
        f'response="{response}", algorithm=MD5, qop=auth, nc={nc}, cnonce="{cnonce}"'
    )


def address_of(uri: str) -> str:
    """Return the URI inside of angle brackets."""
    return uri.partition("<")[2].partition(">")[0] if "<" in uri else uri.partition(";")[0]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _split(value: str) -> list[str]:
    """Split a list of values at commas outside of quotes and angle brackets."""
    values, depth, start, is_quoted = [], 0, 0, False
    for index, character in enumerate(value):
        if character == '"':
            is_quoted = not is_quoted
        elif not is_quoted and character in "<>":
            depth += 1 if character == "<" else -1
        elif character == "," and not is_quoted and depth == 0:
            values.append(value[start:index].strip())
            start = index + 1
    return [*values, value[start:].strip()]


_LISTS = ("Via", "Route", "Record-Route", "Contact")
_LONG = {
    "v": "Via",
    "f": "From",
    "t": "To",
    "i": "Call-ID",
    "m": "Contact",
    "l": "Content-Length",
    "via": "Via",
    "from": "From",
    "to": "To",
    "call-id": "Call-ID",
    "cseq": "CSeq",
    "contact": "Contact",
    "route": "Route",
    "record-route": "Record-Route",
    "www-authenticate": "WWW-Authenticate",
    "proxy-authenticate": "Proxy-Authenticate",
    "expires": "Expires",
    "min-expires": "Min-Expires",
    "retry-after": "Retry-After",
}
