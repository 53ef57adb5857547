"""STUN Binding on the SIP port, which outbound phones use as their keepalive.

RFC 5389 §6, §7.3, §15 and RFC 5626 §4.4.2. Only Binding without credentials: a request is answered
with the address it came from, all else is left alone. ICE and TURN never come here.
"""

import ipaddress
import struct
import zlib

MAGIC_COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_BINDING_REQUEST, _BINDING_SUCCESS, _BINDING_ERROR = 0x0001, 0x0101, 0x0111
_ERROR_CODE, _UNKNOWN_ATTRIBUTES, _XOR_MAPPED_ADDRESS = 0x0009, 0x000A, 0x0020
_FINGERPRINT, _FINGERPRINT_XOR = 0x8028, 0x5354554E
# USERNAME, MESSAGE-INTEGRITY, REALM, NONCE, XOR-MAPPED-ADDRESS, MAPPED-ADDRESS: known, of no use
_KNOWN = frozenset((0x0001, 0x0006, 0x0008, 0x0014, 0x0015, 0x0020))


def is_stun(data: bytes) -> bool:
    """Whether a datagram is STUN: two zero bits, the cookie, a length that fits."""
    if len(data) < _HEADER.size or data[0] & 0xC0:
        return False
    _, length, cookie, _ = _HEADER.unpack_from(data)
    return bool(cookie == MAGIC_COOKIE and length % 4 == 0 and length + _HEADER.size == len(data))


def answer_binding(data: bytes, host: str, port: int) -> bytes | None:
    """The answer to a Binding request from that address; None for everything else."""
    if not is_stun(data):
        return None
    kind, _, _, transaction = _HEADER.unpack_from(data)
    attributes = _attributes(data)
    if kind != _BINDING_REQUEST or attributes is None:
        return None
    fingerprint = any(number == _FINGERPRINT for number, _ in attributes)
    if fingerprint and not _fingerprint_fits(data, attributes):
        return None
    unknown = [number for number, _ in attributes if number < 0x8000 and number not in _KNOWN]
    if unknown:
        kind, body = _BINDING_ERROR, _error(420, b"Unknown Attribute")
        body += _attribute(_UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(unknown)}H", *unknown))
    else:
        address = _xor_address(host, port, transaction)
        kind, body = _BINDING_SUCCESS, _attribute(_XOR_MAPPED_ADDRESS, address)
    if not fingerprint:
        return _HEADER.pack(kind, len(body), MAGIC_COOKIE, transaction) + body
    answer = _HEADER.pack(kind, len(body) + 8, MAGIC_COOKIE, transaction) + body
    return answer + _attribute(_FINGERPRINT, _fingerprint(answer))


def mapped_address(data: bytes) -> tuple[str, int] | None:
    """The address that a Binding success names, for those who ask; None for everything else."""
    attributes = _attributes(data) if is_stun(data) else None
    if attributes is None or _HEADER.unpack_from(data)[0] != _BINDING_SUCCESS:
        return None
    for number, value in attributes:
        if number == _XOR_MAPPED_ADDRESS and len(value) in (8, 20):
            port = struct.unpack_from("!H", value, 2)[0] ^ (MAGIC_COOKIE >> 16)
            packed = _xor(value[4:], data[4:20])
            return str(ipaddress.ip_address(packed)), port
    return None


def binding_request(transaction: bytes) -> bytes:
    """A Binding request with that transaction id of twelve bytes."""
    return _HEADER.pack(_BINDING_REQUEST, 0, MAGIC_COOKIE, transaction)


def _attributes(data: bytes) -> list[tuple[int, bytes]] | None:
    """The attributes in order, or None where their lengths do not fit."""
    attributes: list[tuple[int, bytes]] = []
    position = _HEADER.size
    while position < len(data):
        number, length = _ATTRIBUTE.unpack_from(data, position)
        start = position + _ATTRIBUTE.size
        if start + length > len(data):
            return None
        attributes.append((number, data[start : start + length]))
        position = start + length + -length % 4
    return attributes


def _attribute(number: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(number, len(value)) + value + b"\0" * (-len(value) % 4)


def _error(code: int, reason: bytes) -> bytes:
    return _attribute(_ERROR_CODE, struct.pack("!HBB", 0, code // 100, code % 100) + reason)


def _xor_address(host: str, port: int, transaction: bytes) -> bytes:
    address = ipaddress.ip_address(host)
    mask = struct.pack("!I12s", MAGIC_COOKIE, transaction)
    family = 1 if address.version == 4 else 2
    head = struct.pack("!BBH", 0, family, port ^ (MAGIC_COOKIE >> 16))
    return head + _xor(address.packed, mask)


def _xor(value: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(value, mask, strict=False))


def _fingerprint(covered: bytes) -> bytes:
    return struct.pack("!I", zlib.crc32(covered) ^ _FINGERPRINT_XOR)


def _fingerprint_fits(data: bytes, attributes: list[tuple[int, bytes]]) -> bool:
    number, value = attributes[-1]
    return number == _FINGERPRINT and value == _fingerprint(data[:-8])
