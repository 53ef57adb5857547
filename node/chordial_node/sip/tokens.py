"""The tokens that stand as user in our Record-Route and Route URIs: made, opened, refused.

`sip.md` 1, 3 and 2 (reference flows). A side token names the phone side of a call and may be
opened by every peer; a device token names a binding and goes from peer to peer. Both are bound to
one Call-ID. Where a token leads is decided by the delivery, never here.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import struct

import msgspec

from chordial_node.ids import ResourceId
from chordial_node.security.derived_keys import KeyRing

NODE_PREFIX_LENGTH = 8
DEVICE_KEY_LENGTH = 8
NO_DEVICE = bytes(DEVICE_KEY_LENGTH)
"""The device key of a foreign side, which has none."""

_MAC_LENGTH = 10
_SIDE, _DEVICE = 0x10, 0x20  # upper half of the first byte; the lower is the key's number mod 16
_SIDE_HEAD = struct.Struct("!B8sBB")
_SIDE_TAIL = struct.Struct("!H16s8s")
_DEVICE_BODY = struct.Struct("!B16s8s")
_IPV4_LENGTH = _SIDE_HEAD.size + 4 + _SIDE_TAIL.size + _MAC_LENGTH
_IPV6_LENGTH = _SIDE_HEAD.size + 16 + _SIDE_TAIL.size + _MAC_LENGTH
_DEVICE_LENGTH = _DEVICE_BODY.size + _MAC_LENGTH
_TEXT_LENGTHS = tuple(-(-4 * n // 3) for n in (_IPV4_LENGTH, _IPV6_LENGTH, _DEVICE_LENGTH))


class SideToken(msgspec.Struct, frozen=True, gc=False):
    """The phone side of a call: which edge, listener and address, whose device."""

    node_prefix: bytes
    listener: int
    transport: int
    host: str
    port: int
    resource: ResourceId
    device: bytes


class DeviceToken(msgspec.Struct, frozen=True, gc=False):
    """A binding that a peer is asked to deliver to."""

    resource: ResourceId
    device: bytes


Token = SideToken | DeviceToken


def make(token: Token, call_id: bytes, keys: KeyRing) -> bytes:
    """The token for one Call-ID as text that may stand as a URI user."""
    key = keys.current
    number = key.number & 0x0F
    if isinstance(token, DeviceToken):
        body = _DEVICE_BODY.pack(_DEVICE | number, token.resource, token.device)
    else:
        head = _SIDE_HEAD.pack(_SIDE | number, token.node_prefix, token.listener, token.transport)
        address = _packed(token.host)
        body = head + address + _SIDE_TAIL.pack(token.port, token.resource, token.device)
    return base64.urlsafe_b64encode(body + _mac(key.token, body, call_id)).rstrip(b"=")


def open_token(text: bytes, call_id: bytes, keys: KeyRing) -> Token | None:
    """What a URI user says if it is a token of this overlay for that Call-ID, else None."""
    raw = _decoded(text)
    if raw is None:
        return None
    body, mac = raw[:-_MAC_LENGTH], raw[-_MAC_LENGTH:]
    if not any(
        number & 0x0F == body[0] & 0x0F and _fits(keys, number, body, mac, call_id)
        for number in keys.numbers
    ):
        return None
    kind = body[0] & 0xF0
    if kind == _DEVICE and len(raw) == _DEVICE_LENGTH:
        _, resource, device = _DEVICE_BODY.unpack(body)
        return DeviceToken(ResourceId(resource), device)
    if kind == _SIDE and len(raw) in (_IPV4_LENGTH, _IPV6_LENGTH):
        _, prefix, listener, transport = _SIDE_HEAD.unpack_from(body)
        tail = len(body) - _SIDE_TAIL.size
        port, resource, device = _SIDE_TAIL.unpack_from(body, tail)
        host = _text(body[_SIDE_HEAD.size : tail])
        return SideToken(prefix, listener, transport, host, port, ResourceId(resource), device)
    return None


def _packed(host: str) -> bytes:
    if ":" in host:
        return ipaddress.IPv6Address(host).packed
    return bytes(map(int, host.split(".")))


def _text(packed: bytes) -> str:
    if len(packed) == 4:
        return ".".join(map(str, packed))
    return str(ipaddress.IPv6Address(packed))


def _decoded(text: bytes) -> bytes | None:
    if len(text) not in _TEXT_LENGTHS:
        return None
    try:
        raw = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error:
        return None
    return raw if len(raw) in (_IPV4_LENGTH, _IPV6_LENGTH, _DEVICE_LENGTH) else None


def _fits(keys: KeyRing, number: int, body: bytes, mac: bytes, call_id: bytes) -> bool:
    key = keys.get(number)
    return key is not None and hmac.compare_digest(_mac(key.token, body, call_id), mac)


def _mac(key: bytes, body: bytes, call_id: bytes) -> bytes:
    """Authenticate body and Call-ID; the length byte of a body is given by its kind and size."""
    return hashlib.blake2b(
        len(body).to_bytes(1, "big") + body + call_id, key=key, digest_size=_MAC_LENGTH
    ).digest()
