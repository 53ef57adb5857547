"""STUN Binding: answered with the source address, or left alone."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.sip.stun import answer_binding, binding_request, is_stun, mapped_address

TRANSACTION = bytes(range(12))


def request(attributes: bytes = b"", kind: int = 1) -> bytes:
    return struct.pack("!HHI", kind, len(attributes), 0x2112A442) + TRANSACTION + attributes


def fingerprinted(data: bytes) -> bytes:
    grown = data[:2] + struct.pack("!H", len(data) - 20 + 8) + data[4:]
    return grown + struct.pack("!HHI", 0x8028, 4, zlib.crc32(grown) ^ 0x5354554E)


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 32853), ("2001:db8:1234:5678:11:2233:4455:6677", 1)]
)
def test_the_source_comes_back(address: tuple[str, int]) -> None:
    answer = answer_binding(binding_request(TRANSACTION), *address)
    assert answer is not None
    assert answer[8:20] == TRANSACTION
    assert mapped_address(answer) == address


def test_rfc5769_ipv4_address_is_written_as_published() -> None:
    """RFC 5769 §2.2: 192.0.2.1 port 32853 is a1 47 e1 12 a6 43 under the cookie."""
    answer = answer_binding(request(), "192.0.2.1", 32853)
    assert answer is not None
    assert answer[20:] == bytes.fromhex("002000080001a147e112a643")


def test_a_fingerprint_is_checked_and_answered() -> None:
    answer = answer_binding(fingerprinted(request()), "192.0.2.1", 5060)
    assert answer is not None
    body = answer[:-8]
    assert answer[-8:] == struct.pack("!HHI", 0x8028, 4, zlib.crc32(body) ^ 0x5354554E)
    forged = fingerprinted(request())[:-1] + b"?"
    assert answer_binding(forged, "192.0.2.1", 5060) is None


def test_an_attribute_that_must_be_understood_is_420() -> None:
    """RFC 5389 §7.3.1: unknown comprehension-required attributes are named in a 420."""
    unknown = struct.pack("!HH4s", 0x0024, 4, b"prio")
    optional = struct.pack("!HH5s3x", 0x8022, 5, b"phone")
    answer = answer_binding(request(unknown + optional), "192.0.2.1", 5060)
    assert answer is not None
    assert answer[:2] == b"\x01\x11"
    assert bytes((0, 0, 4, 20)) + b"Unknown Attribute" in answer
    assert answer.endswith(struct.pack("!HHH2x", 0x000A, 2, 0x0024))
    assert mapped_address(answer) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"OPTIONS sip:a SIP/2.0\r\n\r\n",
        request()[:-1],
        request(b"\0" * 3),
        request(struct.pack("!HH", 0x8022, 400)),
        request(kind=0x0011),
        request(kind=0x0101),
        request().replace(b"\x21\x12\xa4\x42", b"\0\0\0\0"),
    ],
)
def test_all_else_is_left_alone(data: bytes) -> None:
    assert answer_binding(data, "192.0.2.1", 5060) is None


@given(st.binary(max_size=64))
def test_any_bytes_are_judged(data: bytes) -> None:
    padded = data + b"\0" * (-len(data) % 4)
    for each in (data, request(padded), fingerprinted(request(padded))):
        is_stun(each)
        mapped_address(each)
        answer_binding(each, "2001:db8::1", 5060)
