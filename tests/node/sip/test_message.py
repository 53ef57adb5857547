"""The view of a message: what is found where, and what is noted in it."""

import pytest

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import CSeq
from chordial_node.sip.message import Message

INVITE = (
    b"INVITE sip:bob@chordial.test SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa;rport\r\n"
    b"v: SIP/2.0/TCP one.example;branch=z9hG4bKb , SIP/2.0/TCP two.example;branch=z9hG4bKc\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: Alice <sip:alice@chordial.test>;tag=a\r\n"
    b"t: <sip:bob@chordial.test>\r\n"
    b"Call-ID: c1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Contact: <sip:alice@10.0.0.1>\r\n"
    b"X-Folded: one\r\n"
    b"  two\r\n"
    b"\tthree\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"body"
)


def test_a_request_is_found_in_its_bytes() -> None:
    message = Message.parse(INVITE)
    assert message.is_request
    assert (message.method, message.target) == (b"INVITE", b"sip:bob@chordial.test")
    assert (message.call_id, message.cseq) == (b"c1", CSeq(7, b"INVITE"))
    assert (message.from_tag, message.to_tag) == (b"a", b"")
    assert message.via.branch == b"z9hG4bKa"
    assert message.max_forwards == 70
    assert message.body == b"body"
    assert len(message.values(b"via")) == 3
    assert message.first(b"x-folded") == b"one two three"
    assert message.addresses(b"contact")[0].uri == b"sip:alice@10.0.0.1"
    assert b"route" not in message


def test_a_response_is_found_in_its_bytes() -> None:
    message = Message.parse(INVITE.replace(b"INVITE sip:bob@chordial.test SIP/2.0", b"SIP/2.0 180"))
    assert not message.is_request
    assert (message.status, message.reason, message.method) == (180, b"", b"INVITE")


def test_what_follows_the_body_in_a_datagram_is_not_the_message() -> None:
    message = Message.parse(INVITE + b"INVITE sip:x SIP/2.0")
    assert message.body == b"body"
    assert message.raw[: message.size] == INVITE


def test_crlf_in_front_of_a_message_is_skipped() -> None:
    assert Message.parse(b"\r\n\r\n" + INVITE).method == b"INVITE"


def test_a_body_without_length_reaches_to_the_end() -> None:
    assert Message.parse(INVITE.replace(b"Content-Length: 4\r\n", b"") + b"!").body == b"body!"


@pytest.mark.parametrize(
    ("sent_by", "expected"),
    [
        (b"10.0.0.1:5060;branch=z;rport", b"10.0.0.1:5060;branch=z;rport=4011;received=192.0.2.1"),
        (b"10.0.0.1:5060;branch=z", b"10.0.0.1:5060;branch=z;received=192.0.2.1"),
        (b"192.0.2.1:5060;branch=z", b"192.0.2.1:5060;branch=z"),
        (b"192.0.2.1;received=6.6.6.6;branch=z", b"192.0.2.1;branch=z;received=192.0.2.1"),
        (b"192.0.2.1;rport=1 ;branch=z", b"192.0.2.1;branch=z;rport=4011;received=192.0.2.1"),
    ],
)
def test_the_source_is_noted_in_the_topmost_via(sent_by: bytes, expected: bytes) -> None:
    raw = INVITE.replace(b"10.0.0.1:5060;branch=z9hG4bKa;rport", sent_by)
    message = Message.parse(raw)
    message.note_source(b"192.0.2.1", 4011)
    assert message.raw == raw
    marked = message.marked_via
    noted = marked[2] if marked else b"SIP/2.0/UDP " + sent_by
    assert sorted(noted.removeprefix(b"SIP/2.0/UDP ").split(b";")) == sorted(expected.split(b";"))
    if b"rport" in sent_by:
        assert message.via.reply_address == (b"192.0.2.1", 4011)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SIP/2.0 99 Low\r\n\r\n",
        b"SIP/2.0 4294967301 Big\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"SIP/2.0",
        b"INVITE",
    ],
)
def test_what_is_no_sip_gets_silence(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Message(raw)
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"X-Folded: one\r\n", b"X-Evil: a\nP-Asserted-Identity: <sip:boss@chordial.test>\r\n"),
        (b"X-Folded: one\r\n", b"X-Evil: a\rP-Asserted-Identity: <sip:boss@chordial.test>\r\n"),
    ],
)
def test_a_header_hidden_behind_half_a_line_end_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Message.parse(INVITE.replace(old, new))
    assert caught.value.status == 400


@pytest.mark.timeout(20)
def test_more_headers_than_anybody_needs_are_refused_in_no_time() -> None:
    raw = INVITE.replace(b"X-Folded: one\r\n", b"Route: <sip:a;lr>\r\n" * 100_000)
    with pytest.raises(RemoteProtocolError) as caught:
        Message.parse(raw)
    assert caught.value.status == 400
