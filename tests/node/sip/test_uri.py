"""SIP URIs: what is read, how it is written again, what becomes canonical."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.uri import (
    OtherUri,
    SipUri,
    aor,
    aor_uri,
    canonical_contact,
    escape_user,
    parse_sip_uri,
    parse_uri,
    unescape,
)


def sip(text: bytes) -> SipUri:
    return parse_sip_uri(text)


def test_every_part_is_read() -> None:
    uri = sip(b"SIPS:alice:secret@Example.COM:5061;Transport=TCP;lr?subject=hi&x=")
    assert uri == SipUri(
        b"sips",
        b"alice",
        b"secret",
        b"example.com",
        5061,
        ((b"transport", b"TCP"), (b"lr", None)),
        ((b"subject", b"hi"), (b"x", b"")),
    )
    assert uri.transport == b"tcp"
    assert uri.has(b"lr")
    assert uri.param(b"lr") is None


@pytest.mark.parametrize(
    "text",
    [
        b"sip:example.com",
        b"sip:[2001:db8::1]:5070",
        b"sip:a@192.0.2.1;transport=tcp;lr",
        b"sip:a:b@h?x=y",
    ],
)
def test_a_uri_is_written_as_it_was_read(text: bytes) -> None:
    assert sip(text).encode() == text


def test_an_ipv6_host_is_normal_and_without_brackets() -> None:
    assert sip(b"sip:[2001:DB8:0::0001]").host == b"2001:db8::1"


@pytest.mark.parametrize("text", [b"tel:+15551234", b"urn:service:sos", b"X-any.1:opaque"])
def test_other_schemes_are_kept(text: bytes) -> None:
    uri = parse_uri(text)
    assert isinstance(uri, OtherUri)
    with pytest.raises(RemoteProtocolError) as caught:
        parse_sip_uri(text)
    assert caught.value.status == 416


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"alice@example.com",
        b"sip:",
        b"sip:@example.com",
        b"sip:a b@example.com",
        b"<sip:a@example.com>",
        b"sip:a@example.com:",
        b"sip:a@example.com:0",
        b"sip:a@example.com:70000",
        b"sip:a%4@example.com",
        b"sip:a@b@c",
        b"sip:a@[fe80::1%25eth0]",
        b"sip:a@[1:2]",
        b"sip:a@example.com;=x",
        b"sip:a@exam\nple.com",
        b"tel:1 2",
    ],
)
def test_malformed_uris_are_400(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_uri(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "text",
    [
        b"sip:alice@chordial.test",
        b"sip:Alice@CHORDIAL.test",
        b"sips:%61lice@chordial.test:5061",
        b"sip:alice@chordial.test;transport=udp",
    ],
)
def test_one_user_is_one_aor(text: bytes) -> None:
    assert aor(sip(text)) == b"alice@chordial.test"


def test_our_own_address_means_the_domain() -> None:
    assert aor(sip(b"sip:alice@127.0.0.1:5060"), b"Chordial.Test") == b"alice@chordial.test"


def test_an_aor_that_goes_back_into_a_message_is_escaped() -> None:
    nasty = aor(sip(b"sip:a%0D%0AX%3A%40b@h"))
    assert nasty == b"a\r\nx:@b@h"
    assert aor_uri(nasty) == b"sip:a%0D%0Ax%3A%40b@h"
    assert aor(sip(aor_uri(nasty))) == nasty


def test_null_users_are_different_users() -> None:
    assert aor(sip(b"sip:%00@h")) != aor(sip(b"sip:%00%00@h"))


def test_equal_contacts_are_one_device() -> None:
    first = sip(b"sip:alice@10.0.0.9:5822;transport=TCP;ob")
    second = sip(b"sip:%61lice@10.0.0.9:5822;ob;Transport=tcp")
    assert canonical_contact(first) == canonical_contact(second)
    assert canonical_contact(first) != canonical_contact(sip(b"sip:alice@10.0.0.9:5823"))
    assert canonical_contact(parse_uri(b"tel:1")) == b"tel:1"


@given(st.binary(min_size=1, max_size=40))
def test_any_user_survives_escaping(user: bytes) -> None:
    escaped = escape_user(user)
    assert unescape(escaped) == user
    assert sip(b"sip:" + escaped + b"@h").unescaped_user == user


@given(st.binary(max_size=60))
def test_any_bytes_are_a_uri_or_a_protocol_error(data: bytes) -> None:
    for text in (data, b"sip:" + data, b"sip:a@" + data):
        try:
            uri = parse_uri(text)
        except RemoteProtocolError:
            continue
        canonical_contact(uri)
        if isinstance(uri, SipUri):
            assert parse_uri(uri.encode()) == uri
