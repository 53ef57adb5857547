"""The values of SIP headers, each read only when somebody asks for it.

RFC 3261 §20 and §25.1, RFC 3581 (rport). Values come in unfolded; what a header means to a
transaction or a proxy is never decided here.
"""

import re

import msgspec

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.uri import Uri, bracketed, parse_uri

Params = dict[bytes, bytes | None]
"""Parameters of a header value: name in lower case, value as written but without quotes."""

COMPACT = {
    b"a": b"accept-contact",
    b"b": b"referred-by",
    b"c": b"content-type",
    b"d": b"request-disposition",
    b"e": b"content-encoding",
    b"f": b"from",
    b"i": b"call-id",
    b"j": b"reject-contact",
    b"k": b"supported",
    b"l": b"content-length",
    b"m": b"contact",
    b"n": b"identity-info",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"t": b"to",
    b"u": b"allow-events",
    b"v": b"via",
    b"x": b"session-expires",
    b"y": b"identity",
}
# Headers whose value is one value though it may hold commas.
SINGLE = frozenset(
    (
        b"authorization", b"proxy-authorization", b"www-authenticate", b"proxy-authenticate",
        b"authentication-info", b"call-id", b"cseq", b"from", b"to", b"date", b"subject",
        b"user-agent", b"server", b"organization", b"retry-after", b"timestamp", b"identity",
        b"max-forwards", b"expires", b"content-length", b"content-type", b"refer-to",
        b"referred-by", b"traceparent", b"tracestate",
    )
)  # fmt: skip

MAX_CSEQ = 2**31 - 1
MAX_SECONDS = 2**32 - 1
DEFAULT_EXPIRES = 3600  # what a malformed Expires stands for (RFC 3261 §20.19)

_TOKEN = rb"[A-Za-z0-9\-.!%*_+`'~]+"
_QUOTED = rb'"(?:[^"\\]|\\.)*"'
TOKEN = re.compile(_TOKEN)
_SEPARATOR = re.compile(rb'"(?:[^"\\]|\\.)*+"?|<[^>]*+>?|(,)', re.DOTALL)
_NAME_ADDR = re.compile(
    rb"(?:(" + _QUOTED + rb"|[A-Za-z0-9\-.!%*_+`'~ \t\x80-\xff]*+)[ \t]*"
    rb"<([^<>]*+)>|([^<>\"\s;,?]++))[ \t]*+((?:;.*)?)",
    re.DOTALL,
)
_PARAM = re.compile(
    rb";[ \t]*(" + _TOKEN + rb")?[ \t]*(?:=[ \t]*(" + _QUOTED + rb"|[^\s;,\"]*))?[ \t]*", re.DOTALL
)
_PLAIN_PARAMS = re.compile(rb"(?:;" + _TOKEN + rb"(?:=[^\s;,\"]*+)?+)*+")
_PLAIN_TAG = re.compile(
    rb"(?:\"[^\"\\]*+\"|[A-Za-z0-9\-.!%*_+`'~ ]*+) ?<[^<>\"]++>(?:;tag=(" + _TOKEN + rb"))?"
)
_VIA = re.compile(
    rb"[Ss][Ii][Pp][ \t]*+/[ \t]*+2\.0[ \t]*+/[ \t]*+(" + _TOKEN + rb")[ \t]++"
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)[ \t]*+(?::[ \t]*+([0-9]{1,5}))?[ \t]*+((?:;.*)?)",
    re.DOTALL,
)
_CSEQ = re.compile(rb"([0-9]+)[ \t]+(" + _TOKEN + rb")")
_AUTH_PARAM = re.compile(
    rb"[ \t]*(" + _TOKEN + rb")[ \t]*=[ \t]*(" + _QUOTED + rb"|[^\s,\"]*)[ \t]*(?:,|$)", re.DOTALL
)
_UNQUOTE = re.compile(rb"\\(.)", re.DOTALL)


class Via(msgspec.Struct, frozen=True):
    """One Via value: transport in upper case, host in lower case without brackets."""

    transport: bytes
    host: bytes
    port: int | None
    params: Params

    @property
    def branch(self) -> bytes:
        """The branch, empty when there is none."""
        return self.params.get(b"branch") or b""

    @property
    def wants_rport(self) -> bool:
        """Whether the sender asked for the answer to come back to its source port (RFC 3581)."""
        return b"rport" in self.params

    @property
    def reply_address(self) -> tuple[bytes, int]:
        """Where an answer over an unreliable transport goes (RFC 3261 §18.2.2, RFC 3581 §4)."""
        received, rport = self.params.get(b"received"), self.params.get(b"rport")
        default = 5061 if self.transport == b"TLS" else 5060
        port = self.port if self.port is not None else default
        if rport and rport.isdigit() and len(rport) < 6 and 0 < int(rport) < 65536:
            port = int(rport)
        return received.strip(b"[]") if received else self.host, port


class CSeq(msgspec.Struct, frozen=True, gc=False):
    """The number and the method of a CSeq header."""

    number: int
    method: bytes


class NameAddr(msgspec.Struct, frozen=True):
    """A From, To, Contact, Route or Record-Route value; `uri` as it stood in brackets."""

    display: bytes
    uri: bytes
    params: Params

    @property
    def tag(self) -> bytes:
        """The tag, empty when there is none."""
        return self.params.get(b"tag") or b""

    def parsed_uri(self) -> Uri:
        """The URI read; RemoteProtocolError(400) when it is none."""
        return parse_uri(self.uri)


class AuthParams(msgspec.Struct, frozen=True):
    """A challenge or credentials: scheme in lower case, parameters without quotes."""

    scheme: bytes
    params: dict[bytes, bytes]


def split_spans(value: bytes) -> list[tuple[int, int]]:
    """Where the comma-separated values of a header lie, quotes and brackets respected."""
    if b"," not in value:
        return [_trimmed(value, 0, len(value))]
    spans: list[tuple[int, int]] = []
    start = 0
    for found in _SEPARATOR.finditer(value):
        if found[1]:
            spans.append(_trimmed(value, start, found.start()))
            start = found.end()
    spans.append(_trimmed(value, start, len(value)))
    return spans


def split_values(value: bytes) -> list[bytes]:
    """The comma-separated values of a header, each without surrounding space."""
    return [value[start:end] for start, end in split_spans(value)]


def parse_via(value: bytes) -> Via:
    """Read one Via value."""
    found = _VIA.fullmatch(value)
    if found is None:
        raise RemoteProtocolError(400, "Malformed Via")
    transport, host, port, params = found.groups()
    if port is not None and not 0 < int(port) < 65536:
        raise RemoteProtocolError(400, "Malformed Via port")
    host = host.lower()
    return Via(
        transport.upper(),
        host[1:-1] if host.startswith(b"[") else host,
        None if port is None else int(port),
        parse_params(params),
    )


def parse_name_addr(value: bytes) -> NameAddr:
    """Read one From, To, Contact, Route or Record-Route value."""
    found = _NAME_ADDR.fullmatch(value)
    if found is None:
        raise RemoteProtocolError(400, "Malformed address")
    display, bracket, bare, params = found.groups()
    uri = bare if bracket is None else bracket.strip()
    return NameAddr(unquote((display or b"").strip()), uri, parse_params(params))


def tag_of(value: bytes) -> bytes:
    """The tag of a From or To value; raises as `parse_name_addr` does, but is quicker."""
    plain = _PLAIN_TAG.fullmatch(value)
    if plain is not None:
        return plain[1] or b""
    return parse_name_addr(value).tag


def parse_params(text: bytes) -> Params:
    """Read `;name=value;name` into a dict; the first of two equal names counts."""
    params: Params = {}
    if _PLAIN_PARAMS.fullmatch(text):
        for item in text[1:].split(b";") if text else ():
            name, equals, plain = item.partition(b"=")
            params.setdefault(name.lower(), plain if equals else None)
        return params
    position = 0
    while position < len(text):
        found = _PARAM.match(text, position)
        if found is None or (found[1] is None):
            raise RemoteProtocolError(400, "Malformed header parameter")
        value = found[2]
        if value is not None and value.startswith(b'"'):
            value = unquote(value)
        params.setdefault(found[1].lower(), value)
        position = found.end()
    return params


def parse_cseq(value: bytes) -> CSeq:
    """Read a CSeq; the number must be below 2**31."""
    found = _CSEQ.fullmatch(value)
    if found is None:
        raise RemoteProtocolError(400, "Malformed CSeq")
    number = _number(found[1], MAX_CSEQ)
    if number is None:
        raise RemoteProtocolError(400, "CSeq out of range")
    return CSeq(number, found[2])


def parse_max_forwards(value: bytes) -> int:
    """Read Max-Forwards, 0 to 255."""
    number = _number(value, 255)
    if number is None:
        raise RemoteProtocolError(400, "Malformed Max-Forwards")
    return number


def parse_content_length(value: bytes) -> int:
    """Read a Content-Length; what is no sensible number is refused."""
    number = _number(value, MAX_CSEQ)
    if number is None:
        raise RemoteProtocolError(400, "Malformed Content-Length")
    return number


def parse_expires(value: bytes) -> int:
    """Read the seconds of an Expires: what is too large is the maximum, nonsense is 3600."""
    number = _number(value, MAX_SECONDS)
    if number is not None:
        return number
    return MAX_SECONDS if value.isdigit() else DEFAULT_EXPIRES


def parse_auth(value: bytes) -> AuthParams:
    """Read the value of one of the four authentication headers."""
    scheme, _, rest = value.partition(b" ")
    params: dict[bytes, bytes] = {}
    position = 0
    rest = rest.strip()
    if TOKEN.fullmatch(scheme) is None:
        raise RemoteProtocolError(400, "Malformed authentication header")
    while position < len(rest):
        found = _AUTH_PARAM.match(rest, position)
        if found is None:
            raise RemoteProtocolError(400, "Malformed authentication header")
        params.setdefault(found[1].lower(), unquote(found[2]))
        position = found.end()
    return AuthParams(scheme.lower(), params)


def unquote(text: bytes) -> bytes:
    """A quoted string without its quotes and escapes; other text stays as it is."""
    if not text.startswith(b'"'):
        return text
    return _UNQUOTE.sub(rb"\1", text[1:-1])


def quote(text: bytes) -> bytes:
    """Text as a quoted string."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def sent_by(host: bytes, port: int | None) -> bytes:
    """Host and port as they stand in a Via or a URI."""
    return bracketed(host) if port is None else bracketed(host) + b":%d" % port


def _number(digits: bytes, most: int) -> int | None:
    """A number up to `most`, or None; never asks int() for more digits than ten."""
    if not digits.isdigit():
        return None
    short = digits.lstrip(b"0") or b"0"
    if len(short) > 10 or int(short) > most:
        return None
    return int(short)


def _trimmed(value: bytes, start: int, end: int) -> tuple[int, int]:
    while start < end and value[start] in b" \t\r\n":
        start += 1
    while end > start and value[end - 1] in b" \t\r\n":
        end -= 1
    return start, end
