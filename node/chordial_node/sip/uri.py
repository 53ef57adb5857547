"""SIP and SIPS URIs, their comparison, and the two canonical forms that the overlay hashes.

RFC 3261 §19.1 and §25.1. Other schemes (`tel:`, `urn:`) are recognised and kept as they are. What
a URI means (whose domain it is, where it leads) is never decided here.
"""

import ipaddress
import re

import msgspec

from chordial_node.sip.errors import RemoteProtocolError

Pairs = tuple[tuple[bytes, bytes | None], ...]

_SIP_URI = re.compile(
    rb"(?:([^@:\x00-\x20<>\"\x7f]+)(?::([^@\x00-\x20<>\"\x7f]*))?@)?"  # user and password
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)"  # host
    rb"(?::([0-9]{1,5}))?"
    rb"((?:;[^?@\x00-\x20<>\"\x7f]*)?)"  # parameters
    rb"((?:\?[^@\x00-\x20<>\"\x7f]*)?)"  # headers
)
_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*):")
_OTHER = re.compile(rb"[^\x00-\x20<>\"\x7f]+")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_MUST_ESCAPE = re.compile(rb"[^A-Za-z0-9\-_.!~*'()&=+$,;?/]")
_RESERVED = frozenset(b";/?:@&=+$,%")
# Parameters that make two URIs differ when only one of them has it. The rule of §19.1.4 leaves
# transport out, its own examples count it.
_ALWAYS_COMPARED = (b"user", b"ttl", b"method", b"maddr", b"transport")


class SipUri(msgspec.Struct, frozen=True):
    """A `sip:` or `sips:` URI: host in lower case and without brackets, user as it was written."""

    scheme: bytes
    user: bytes | None
    password: bytes | None
    host: bytes
    port: int | None
    params: Pairs = ()
    headers: Pairs = ()

    @property
    def unescaped_user(self) -> bytes:
        """The user with %-escapes resolved; empty when there is none."""
        return unescape(self.user or b"")

    @property
    def transport(self) -> bytes | None:
        """The transport parameter in lower case."""
        value = self.param(b"transport")
        return value.lower() if value else None

    def has(self, name: bytes) -> bool:
        """Whether a parameter of that lower-case name is present, with or without a value."""
        return any(key == name for key, _ in self.params)

    def param(self, name: bytes) -> bytes | None:
        """The value of the first parameter of that lower-case name."""
        for key, value in self.params:
            if key == name:
                return value
        return None

    def encode(self) -> bytes:
        """The URI as bytes."""
        text = self.scheme + b":"
        if self.user is not None:
            text += self.user if self.password is None else self.user + b":" + self.password
            text += b"@"
        text += bracketed(self.host)
        if self.port is not None:
            text += b":%d" % self.port
        for key, value in self.params:
            text += b";" + key if value is None else b";" + key + b"=" + value
        if self.headers:
            text += b"?" + b"&".join(key + b"=" + (value or b"") for key, value in self.headers)
        return text


class OtherUri(msgspec.Struct, frozen=True):
    """A URI of another scheme, which this server cannot route (416)."""

    scheme: bytes
    rest: bytes

    def encode(self) -> bytes:
        """The URI as bytes."""
        return self.scheme + b":" + self.rest


Uri = SipUri | OtherUri


def parse_uri(text: bytes) -> Uri:
    """Read a URI; RemoteProtocolError(400) when it is none."""
    found = _SCHEME.match(text)
    if found is None:
        raise RemoteProtocolError(400, "Malformed URI")
    scheme = found[1].lower()
    if scheme not in (b"sip", b"sips"):
        rest = text[found.end() :]
        if _OTHER.fullmatch(rest) is None:
            raise RemoteProtocolError(400, "Malformed URI")
        return OtherUri(scheme, rest)
    parts = _SIP_URI.fullmatch(text, found.end())
    if parts is None:
        raise RemoteProtocolError(400, "Malformed SIP URI")
    if b"%" in text and _BAD_ESCAPE.search(text):
        raise RemoteProtocolError(400, "Malformed escape in URI")
    user, password, host, port, params, headers = parts.groups()
    return SipUri(
        scheme,
        user,
        password,
        _host(host),
        None if port is None else _port(port),
        _pairs(params, b";") if params else (),
        _pairs(headers, b"&") if headers else (),
    )


def parse_sip_uri(text: bytes) -> SipUri:
    """Read a URI that must be a SIP one; RemoteProtocolError(416) for another scheme."""
    uri = parse_uri(text)
    if isinstance(uri, OtherUri):
        raise RemoteProtocolError(416, "Unsupported URI Scheme")
    return uri


def aor(uri: SipUri, domain: bytes | None = None) -> bytes:
    """The canonical address-of-record `user@host`: lower case, unescaped, nothing else.

    `domain` stands in for the host where the host is one of our own addresses. What comes out may
    hold any byte, so it goes back into a message only through `aor_uri`.
    """
    return uri.unescaped_user.lower() + b"@" + (uri.host if domain is None else domain.lower())


def aor_uri(canonical: bytes) -> bytes:
    """The `sip:` URI of a canonical address-of-record, escaped again."""
    user, _, host = canonical.rpartition(b"@")
    if not user:
        return b"sip:" + bracketed(host)
    return b"sip:" + escape_user(user) + b"@" + bracketed(host)


def same_uri(first: Uri, second: Uri) -> bool:
    """Whether two URIs are equal by the rules of RFC 3261 §19.1.4."""
    if isinstance(first, OtherUri) or isinstance(second, OtherUri):
        return first == second
    if (first.scheme, first.host, first.port) != (second.scheme, second.host, second.port):
        return False
    if _user_info(first) != _user_info(second):
        return False
    ours, theirs = dict(_normal(first.params)), dict(_normal(second.params))
    if any((name in ours) != (name in theirs) for name in _ALWAYS_COMPARED):
        return False
    if any(name in theirs and theirs[name] != value for name, value in ours.items()):
        return False
    return sorted(_normal(first.headers)) == sorted(_normal(second.headers))


def canonical_contact(uri: Uri) -> bytes:
    """The bytes under which a contact without an instance-id is one device (`sip.md` 11)."""
    if isinstance(uri, OtherUri):
        return uri.encode()
    user, password = _user_info(uri)
    text = uri.scheme + b":" + user + (b":" + password if password else b"") + b"@"
    text += bracketed(uri.host) + (b":%d" % uri.port if uri.port is not None else b"")
    for name, value in sorted(_normal(uri.params)):
        text += b";" + name + b"=" + value
    return text


def escape_user(user: bytes) -> bytes:
    """A user part in which every byte that the grammar does not allow is escaped."""
    return _MUST_ESCAPE.sub(lambda found: b"%%%02X" % found[0][0], user)


def unescape(text: bytes) -> bytes:
    """Resolve %-escapes; what does not look like one stays."""
    if b"%" not in text:
        return text
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), text)


def bracketed(host: bytes) -> bytes:
    """A host as it is written in URIs and Via: an IPv6 address in brackets."""
    return b"[" + host + b"]" if b":" in host else host


def _host(text: bytes) -> bytes:
    if not text.startswith(b"["):
        return text.lower()
    try:
        return str(ipaddress.IPv6Address(text[1:-1].decode("ascii"))).encode("ascii")
    except ValueError:
        raise RemoteProtocolError(400, "Malformed IPv6 address") from None


def _port(digits: bytes) -> int:
    port = int(digits)
    if not 0 < port < 65536:
        raise RemoteProtocolError(400, "Port out of range")
    return port


def _pairs(text: bytes, separator: bytes) -> Pairs:
    pairs: list[tuple[bytes, bytes | None]] = []
    for item in text[1:].split(separator):
        name, equals, value = item.partition(b"=")
        if name:
            pairs.append((name.lower(), value if equals else None))
        elif equals:
            raise RemoteProtocolError(400, "URI parameter without a name")
    return tuple(pairs)


def _user_info(uri: SipUri) -> tuple[bytes, bytes]:
    return _resolve(uri.user or b""), _resolve(uri.password or b"")


def _normal(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(_resolve(name).lower(), _resolve(value or b"").lower()) for name, value in pairs]


def _resolve(text: bytes) -> bytes:
    """Resolve the escapes of what needs none: `%41` is `A`, `%3B` is not `;` (§19.1.4)."""
    if b"%" not in text:
        return text

    def resolved(found: re.Match[bytes]) -> bytes:
        code = int(found[1], 16)
        return b"%%%02X" % code if code in _RESERVED else bytes((code,))

    return _ESCAPE.sub(resolved, text)
