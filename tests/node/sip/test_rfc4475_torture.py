"""RFC 4475: messages made to break parsers, valid ones of the RFC and invalid ones after it."""

from pathlib import Path

import pytest

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.forward import Forward
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond, respond_to_fault
from chordial_node.sip.uri import SipUri, parse_sip_uri

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "rfc4475-valid"
VALID = [
    "dblreq", "esc01", "esc02", "escnull", "intmeth", "longreq", "lwsdisp", "mpart01", "noreason",
    "semiuri", "transports", "unreason", "wsinv",
]  # fmt: skip


def published(name: str) -> bytes:
    path = FOLDER / f"{name}.dat"
    if not path.exists():
        pytest.skip(f"the message {name}.dat of RFC 4475 is not in {FOLDER}")
    return path.read_bytes()


def user(uri: object) -> bytes:
    assert isinstance(uri, SipUri)
    return uri.unescaped_user


@pytest.mark.parametrize("name", VALID)
def test_valid_messages_are_parsed_answered_and_forwarded(name: str) -> None:
    """RFC 4475 §3.1.1: every valid message passes, and passes on unharmed."""
    raw = published(name)
    message = Message.parse(raw)
    forward = Forward(message)
    if message.is_request:
        message.note_source(b"192.0.2.250", 5060)
        answer = Message.parse(respond(message, 200, to_tag=b"x"))
        assert answer.call_id == message.call_id
        assert answer.values(b"via")[1:] == message.values(b"via")[1:]
        forward.push_via(b"SIP/2.0/UDP us.example;branch=z9hG4bKx")
    else:
        forward.push(b"X-Seen", b"1")
    passed = forward.to_bytes()
    assert Message.parse(passed).body == message.body
    untouched = [
        line
        for line in raw[: message.size].split(b"\r\n")
        if not line.lower().startswith((b"via", b"v:"))
    ]
    assert [line for line in untouched if line not in passed.split(b"\r\n")] == [
        line for line in untouched if b"192.0.2.2;branch" in line
    ]


def test_a_short_tortuous_invite() -> None:
    """RFC 4475 §3.1.1.1: folds, odd spaces, empty values, quoted quotes."""
    message = Message.parse(published("wsinv"))
    assert message.max_forwards == 68
    assert message.cseq.number == 9
    assert message.to_tag == b"1918181833n"
    assert message.from_tag == b"98asjd8"
    assert message.from_address.display == b'J Rosenberg \\"'
    vias = message.values(b"via")
    assert len(vias) == 3
    assert (message.via.transport, message.via.host) == (b"UDP", b"192.0.2.2")
    assert message.first(b"subject") == b""
    assert message.first(b"newfangledheader") == (b"newfangled value continued newfangled value")
    contact = message.addresses(b"contact")[0]
    assert contact.display == b'Quoted string ""'
    assert contact.params == {b"newparam": b"newvalue", b"secondparam": None, b"q": b"0.33"}
    assert message.addresses(b"route")[0].uri.startswith(b"sip:services.example.com;lr;")
    assert parse_sip_uri(message.target).has(b"unknownparam")


def test_wide_range_of_characters() -> None:
    """RFC 4475 §3.1.1.2: every character that tokens, quoted strings and users may hold."""
    message = Message.parse(published("intmeth"))
    assert message.method == b"!interesting-Method0123456789_*+`.%indeed'~"
    assert message.from_tag == b"_token~1'+`*%!-."
    assert message.from_address.display == b"token1~` token2'+_ token3*%!.-"
    assert message.to_address.display == b"BEL:\x07 NUL:\x00 DEL:\x7f"
    uri = message.uri
    assert isinstance(uri, SipUri)
    assert uri.host == b"example.com"
    assert uri.password == b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert user(uri) == b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.via.branch == b"z9hG4bK-.!%66*_+`'~"


def test_escaped_characters() -> None:
    """RFC 4475 §3.1.1.3: escapes in users and parameters."""
    message = Message.parse(published("esc01"))
    assert user(message.uri) == b"sips:user@example.com"
    assert user(message.to_address.parsed_uri()) == b"user"
    assert user(message.from_address.parsed_uri()) == b"I have spaces"
    assert user(message.addresses(b"contact")[0].parsed_uri()) == b"caller"


def test_escaped_nulls() -> None:
    """RFC 4475 §3.1.1.4: null is a character like any other."""
    message = Message.parse(published("escnull"))
    assert user(message.to_address.parsed_uri()) == b"null-\0-null"
    users = [user(contact.parsed_uri()) for contact in message.addresses(b"contact")]
    assert users == [b"\0", b"\0\0"]


def test_percent_where_it_is_no_escape() -> None:
    """RFC 4475 §3.1.1.5: method and header names are never unescaped."""
    message = Message.parse(published("esc02"))
    assert message.method == b"RE%47IST%45R"
    assert message.to_address.display == b"%Z%45"
    assert len(message.values(b"contact")) == 2
    assert message.values(b"c%6fntact") == [b"<sip:alias2@host2.example.com>"]


def test_no_space_before_the_bracket() -> None:
    """RFC 4475 §3.1.1.6: a display name may touch the address."""
    assert Message.parse(published("lwsdisp")).from_address.display == b"caller"


def test_long_values() -> None:
    """RFC 4475 §3.1.1.7: long values are values."""
    message = Message.parse(published("longreq"))
    assert len(message.values(b"via")) == 34
    assert len(message.from_tag) > 100
    assert b"longparam" + b"name" * 25 in message.to_address.uri


def test_trailing_octets_of_a_datagram() -> None:
    """RFC 4475 §3.1.1.8: what follows the message is not part of it, nor a message."""
    message = Message.parse(published("dblreq"))
    assert message.method == b"REGISTER"
    assert message.body == b""
    assert b"INVITE" not in Forward(message).to_bytes()


def test_semicolon_in_the_user() -> None:
    """RFC 4475 §3.1.1.9: a semicolon left of the @ belongs to the user."""
    message = Message.parse(published("semiuri"))
    assert user(message.uri) == b"user;par=u@example.net"


def test_varied_transports() -> None:
    """RFC 4475 §3.1.1.10: unknown transports in Via are carried, not judged."""
    message = Message.parse(published("transports"))
    assert len(message.values(b"via")) == 5


def test_multipart_mime() -> None:
    """RFC 4475 §3.1.1.11: a body is octets."""
    message = Message.parse(published("mpart01"))
    assert len(message.body) == 553
    assert b"\0" in message.body


def test_unusual_reasons() -> None:
    """RFC 4475 §3.1.1.12 and §3.1.1.13: reason phrases may be UTF-8, or empty."""
    unusual = Message.parse(published("unreason"))
    assert unusual.status == 200
    assert "девяносто" in unusual.reason.decode()
    empty = Message.parse(published("noreason"))
    assert (empty.status, empty.reason) == (100, b"")


# Invalid messages, written after the descriptions of RFC 4475 §3.1.2, §3.2 and §3.3.

GOOD = b"\r\n".join(
    (
        b"INVITE sip:user@example.com SIP/2.0",
        b"Via: SIP/2.0/UDP host.example.net;branch=z9hG4bKkdj",
        b"Max-Forwards: 70",
        b"To: <sip:user@example.com>",
        b"From: <sip:caller@example.net>;tag=93921",
        b"Call-ID: broken.1@host.example.net",
        b"CSeq: 3 INVITE",
        b"Contact: <sip:caller@host.example.net>",
        b"Content-Length: 4",
        b"",
        b"sdp\n",
    )
)
REQUEST_LINE = b"INVITE sip:user@example.com SIP/2.0"
RESPONSE = GOOD.replace(REQUEST_LINE, b"SIP/2.0 200 OK")


def outcome(raw: bytes) -> int | None:
    """The status of what is answered: a refusal, None for silence, 200 where nothing is wrong."""
    try:
        message = Message(raw)
    except RemoteProtocolError:
        return None
    fault = fault_of(message)
    if fault is None:
        return 200
    answer = respond_to_fault(message, fault, b"t")
    assert (answer is None) == (fault.status is None)
    return None if answer is None else Message(answer).status


def fault_of(message: Message) -> RemoteProtocolError | None:
    """What is wrong with a message once everything that this server needs was read."""
    try:
        message.check()
        if message.is_request:
            parse_sip_uri(message.target)
            _ = message.uri
        for address in message.addresses(b"contact"):
            address.parsed_uri()
    except RemoteProtocolError as error:
        return error
    return None


def test_the_good_message_is_good() -> None:
    """RFC 4475 §3: the message that is broken below is whole."""
    assert outcome(GOOD) == 200
    assert outcome(RESPONSE) == 200


@pytest.mark.parametrize(
    ("section", "old", "new", "expected"),
    [
        ("3.1.2.1 separators in Via", b";branch=z9hG4bKkdj", b";;,;,,", 400),
        ("3.1.2.1 separators in From", b";tag=93921", b";;tag=93921;;", 400),
        ("3.1.2.2 length beyond the end", b"Content-Length: 4", b"Content-Length: 9999", 400),
        ("3.1.2.3 negative length", b"Content-Length: 4", b"Content-Length: -999", 400),
        ("3.1.2.4 large CSeq", b"CSeq: 3", b"CSeq: 36893488147419103232", 400),
        ("3.1.2.4 large Max-Forwards", b"Forwards: 70", b"Forwards: 300", 400),
        ("3.1.2.4 large port in Via", b"host.example.net;b", b"host.example.net:655360;b", 400),
        ("3.1.2.6 open quote in To", b"To: <sip", b'To: "Mr. J. User <sip', 400),
        ("3.1.2.7 Request-URI in brackets", b"sip:user@example.com S", b"<sip:user@e.com> S", 400),
        ("3.1.2.8 space in Request-URI", b"com SIP/2.0", b"com; lr SIP/2.0", 400),
        ("3.1.2.9 several spaces", b"INVITE sip:user", b"INVITE  sip:user", 400),
        ("3.1.2.9 tab", b"INVITE sip:user", b"INVITE\tsip:user", None),
        ("3.1.2.10 space behind the version", b"com SIP/2.0", b"com SIP/2.0  ", 400),
        ("3.1.2.11 headers in Request-URI", b"com SIP", b"com?Route=%3Csip:e.com%3E SIP", 400),
        ("3.1.2.13 bare Contact with headers", b"<sip:caller@host.example.net>\r\nC",
         b"sip:u@e.com?Route=%3Csip:e.com%3E\r\nC", 400),
        ("3.1.2.15 comma in a display name", b"From: <", b"From: Bell, Alexander <", 400),
        ("3.1.2.16 unknown version", REQUEST_LINE, REQUEST_LINE.replace(b"2.0", b"7.0"), 505),
        ("3.1.2.17 method against CSeq", b"CSeq: 3 INVITE", b"CSeq: 3 OPTIONS", 400),
        ("3.1.2.18 unknown method against CSeq", REQUEST_LINE,
         REQUEST_LINE.replace(b"INVITE", b"NEWMETHOD"), 400),
        ("3.3.1 missing Call-ID", b"Call-ID: broken.1@host.example.net\r\n", b"", 400),
        ("3.3.1 missing From", b"From: <sip:caller@example.net>;tag=93921\r\n", b"", 400),
        ("3.3.2 unknown scheme", b"sip:user@example.com S", b"nobodyKnows:opaque S", 416),
        ("3.3.4 known but unroutable scheme", b"sip:user@example.com S", b"tel:+15551212 S", 416),
        ("3.3.8 two From", b"Contact:", b"From: <sip:other@e.com>;tag=2\r\nContact:", 400),
        ("3.3.8 two Call-ID, one compact", b"Contact:", b"i: other\r\nContact:", 400),
        ("3.3.9 two Content-Length", b"Contact:", b"Content-Length: 5\r\nContact:", 400),
        ("two equal Content-Length", b"Contact:", b"l: 4\r\nContact:", 400),
        ("empty To", b"To: <sip:user@example.com>", b"To:", 400),
        ("header without a colon", b"Max-Forwards: 70", b"Max-Forwards 70", 400),
        ("no end of the header", b"\r\n\r\nsdp\n", b"\r\n", 400),
        ("bare line feeds", b"\r\nTo:", b"\nTo:", 400),
        ("only line feeds", b"\r\n", b"\n", None),
        ("malformed escape in Request-URI", b"sip:user@", b"sip:us%4@", 400),
        ("null in the Call-ID", b"broken.1", b"broken\0", 400),
    ],
)  # fmt: skip
def test_invalid_requests_are_refused(
    section: str, old: bytes, new: bytes, expected: int | None
) -> None:
    """RFC 4475 §3.1.2 and §3.3: an answer with the right status, never anything else."""
    assert old in GOOD
    assert outcome(GOOD.replace(old, new)) == expected, section


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        ("3.1.2.5 large CSeq", b"CSeq: 3", b"CSeq: 9292394834772304023312"),
        ("3.1.2.19 large status", b"SIP/2.0 200", b"SIP/2.0 4294967301"),
        ("status 099", b"SIP/2.0 200", b"SIP/2.0 099"),
        ("version 3", b"SIP/2.0 200", b"SIP/3.0 200"),
        ("length beyond the end", b"Content-Length: 4", b"Content-Length: 9999"),
    ],
)
def test_invalid_responses_are_dropped(section: str, old: bytes, new: bytes) -> None:
    """RFC 4475 §3.1.2.5 and §3.1.2.19: there is no answer to a response."""
    assert outcome(RESPONSE.replace(old, new)) is None, section


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        (
            "3.1.2.12 date without GMT",
            b"Contact:",
            b"Date: Fri, 01 Jan 2010 16:00:00 EST\r\nContact:",
        ),
        ("3.1.2.14 spaces in brackets", b"To: <sip:user@example.com>", b"To: < sip:u@e.com >"),
        ("3.3.11 no hops left", b"Max-Forwards: 70", b"Max-Forwards: 0"),
        ("3.3.14 escaped headers in Contact", b"host.example.net>\r\nC", b"h?Route=%3C%3E>\r\nC"),
        ("3.4.1 Via of RFC 2543", b";branch=z9hG4bKkdj", b""),
        ("3.4.1 From without a tag", b";tag=93921", b""),
    ],
)
def test_what_others_decide_passes(section: str, old: bytes, new: bytes) -> None:
    """RFC 4475 §3.1.2 to §3.4: reading is generous where a later step decides, or none."""
    assert old in GOOD
    assert outcome(GOOD.replace(old, new)) == 200, section
