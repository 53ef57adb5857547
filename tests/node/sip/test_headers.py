"""Header values: read when asked, refused when malformed, never slow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import (
    DEFAULT_EXPIRES,
    MAX_SECONDS,
    CSeq,
    parse_auth,
    parse_content_length,
    parse_cseq,
    parse_expires,
    parse_max_forwards,
    parse_name_addr,
    parse_via,
    quote,
    sent_by,
    split_values,
    tag_of,
    unquote,
)


def test_a_via_is_read() -> None:
    via = parse_via(b"SIP/2.0/udp Host.Example:5070;branch=z9hG4bKa;rport;received=192.0.2.9")
    assert (via.transport, via.host, via.port) == (b"UDP", b"host.example", 5070)
    assert via.branch == b"z9hG4bKa"
    assert via.wants_rport


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (b"SIP/2.0/UDP a.example", (b"a.example", 5060)),
        (b"SIP/2.0/TLS a.example", (b"a.example", 5061)),
        (b"SIP/2.0/UDP a:5070;received=192.0.2.9", (b"192.0.2.9", 5070)),
        (b"SIP/2.0/UDP a;rport=4011;received=192.0.2.9", (b"192.0.2.9", 4011)),
        (b"SIP/2.0/UDP a;rport=99999", (b"a", 5060)),
        (b"SIP/2.0/UDP [2001:db8::1]:5070;received=[2001:db8::2]", (b"2001:db8::2", 5070)),
    ],
)
def test_an_answer_goes_where_the_via_says(value: bytes, address: tuple[bytes, int]) -> None:
    assert parse_via(value).reply_address == address


@pytest.mark.parametrize(
    "value",
    [b"", b"SIP/2.0/UDP", b"SIP/3.0/UDP a", b"SIP/2.0/UDP a:0", b"SIP/2.0/UDP a;;x", b"UDP a"],
)
def test_malformed_vias_are_refused(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_via(value)


@pytest.mark.parametrize(
    ("value", "display", "uri", "tag"),
    [
        (b"<sip:a@b>", b"", b"sip:a@b", b""),
        (b"sip:a@b;tag=x", b"", b"sip:a@b", b"x"),
        (b"Alice Smith <sip:a@b;lr>;tag=x", b"Alice Smith", b"sip:a@b;lr", b"x"),
        (b'"A, \\"B\\" <c>;tag=no" <sip:a@b>; tag = x', b'A, "B" <c>;tag=no', b"sip:a@b", b"x"),
        (b'<sip:a@b>;p=";tag=no";tag=yes', b"", b"sip:a@b", b"yes"),
        (b"Bj\xc3\xb6rn <sip:a@b>;TAG=x", b"Bj\xc3\xb6rn", b"sip:a@b", b"x"),
    ],
)
def test_an_address_is_read(value: bytes, display: bytes, uri: bytes, tag: bytes) -> None:
    address = parse_name_addr(value)
    assert (address.display, address.uri, address.tag) == (display, uri, tag)
    assert tag_of(value) == tag


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b'"open <sip:a@b>',
        b"Smith, A <sip:a@b>",
        b"sip:a@b?Route=x",
        b"<sip:a@b",
        b"<sip:a@b> x",
        b"<sip:a@b>;",
        b"<sip:a@b>;;tag=x",
    ],
)
def test_malformed_addresses_are_refused(value: bytes) -> None:
    for read in (parse_name_addr, tag_of):
        with pytest.raises(RemoteProtocolError):
            read(value)


def test_values_are_split_outside_quotes_and_brackets() -> None:
    value = b'"a, b" <sip:x@y?h=1,2> , <sip:c>;p="q,r",*'
    assert split_values(value) == [b'"a, b" <sip:x@y?h=1,2>', b'<sip:c>;p="q,r"', b"*"]
    assert split_values(b'"never, closed') == [b'"never, closed']


@pytest.mark.parametrize("value", [b"1", b"INVITE", b"-1 INVITE", b"2147483648 INVITE", b"1 A B"])
def test_malformed_cseqs_are_refused(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_cseq(value)


def test_numbers_of_any_length_are_numbers_or_refused() -> None:
    huge = b"9" * 10_000
    assert parse_cseq(b"0" * 5000 + b"7  BYE") == CSeq(7, b"BYE")
    assert parse_expires(huge) == MAX_SECONDS
    assert parse_expires(b"soon") == DEFAULT_EXPIRES
    assert parse_expires(b"120") == 120
    for read in (parse_max_forwards, parse_content_length):
        for value in (huge, b"-1", b"", b"1.0", "٣".encode()):
            with pytest.raises(RemoteProtocolError):
                read(value)
    with pytest.raises(RemoteProtocolError):
        parse_max_forwards(b"256")


def test_a_challenge_is_read() -> None:
    auth = parse_auth(b'Digest realm="a \\"b\\", c", nonce="x" ,qop="auth,auth-int",stale=TRUE')
    assert auth.scheme == b"digest"
    assert auth.params == {
        b"realm": b'a "b", c',
        b"nonce": b"x",
        b"qop": b"auth,auth-int",
        b"stale": b"TRUE",
    }


@pytest.mark.parametrize("value", [b"", b"Digest realm", b'Digest realm="x', b"Digest a=b c=d"])
def test_malformed_authentication_is_refused(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_auth(value)


def test_sent_by_brackets_ipv6() -> None:
    assert sent_by(b"2001:db8::1", 5060) == b"[2001:db8::1]:5060"
    assert sent_by(b"a.example", None) == b"a.example"


@given(st.binary(max_size=40))
def test_quoting_is_undone_by_unquoting(text: bytes) -> None:
    assert unquote(quote(text)) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", [b'"', b'\\"', b"<", b";", b" ", b"; ", b'a="', b",", b"a", b"\t"]
)
def test_no_value_of_a_full_header_takes_long(piece: bytes) -> None:
    for lead in (b"", b"<", b'"', b"SIP/2.0/UDP a", b"<sip:a@b>", b"Digest a=", b"1 "):
        value = lead + piece * (16_384 // len(piece)) + b"!"
        split_values(value)
        for read in (parse_via, parse_name_addr, tag_of, parse_cseq, parse_auth):
            try:
                read(value)
            except RemoteProtocolError:
                continue
