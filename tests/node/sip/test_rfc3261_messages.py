"""RFC 3261 §7, §8, §18 and §20: the rules that reading a message keeps."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.forward import Forward
from chordial_node.sip.headers import parse_expires
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond

LINES = {
    b"Via": b"SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds",
    b"Max-Forwards": b"70",
    b"To": b"Bob <sip:bob@biloxi.com>",
    b"From": b"Alice <sip:alice@atlanta.com>;tag=1928301774",
    b"Call-ID": b"a84b4c76e66710@pc33.atlanta.com",
    b"CSeq": b"314159 INVITE",
    b"Content-Length": b"0",
}


def request(
    start: bytes = b"INVITE sip:bob@biloxi.com SIP/2.0", /, **changed: bytes | None
) -> bytes:
    """A good INVITE with some header values changed, or left out where None."""
    lines = dict(LINES)
    for name, value in changed.items():
        key = name.replace("_", "-").encode()
        if value is None:
            del lines[key]
        else:
            lines[key] = value
    return b"\r\n".join((start, *(k + b": " + v for k, v in lines.items()), b"", b""))


def status(raw: bytes) -> int | None:
    """What a message is refused with; 200 where it is not."""
    try:
        Message.parse(raw)
    except RemoteProtocolError as error:
        return error.status
    return 200


@pytest.mark.parametrize("name", ["To", "From", "Call_ID", "CSeq"])
def test_a_mandatory_header_is_missed(name: str) -> None:
    """RFC 3261 §8.1.1: without To, From, Call-ID or CSeq a request is not valid."""
    assert status(request(**{name: None})) == 400


def test_without_a_via_nobody_can_be_answered() -> None:
    """RFC 3261 §8.1.1 and §18.2.2: no Via, no way back, so silence."""
    assert status(request(Via=None)) is None


def test_a_missing_max_forwards_is_tolerated() -> None:
    """RFC 3261 §16.3: a request without Max-Forwards passes that check."""
    message = Message.parse(request(Max_Forwards=None))
    assert message.max_forwards == 70


def test_the_method_of_cseq_is_that_of_the_request() -> None:
    """RFC 3261 §8.1.1.5: the method of CSeq must match."""
    assert status(request(CSeq=b"1 BYE")) == 400


@pytest.mark.parametrize("name", [b"From", b"t", b"Call-ID", b"CSEQ", b"Max-Forwards", b"l"])
def test_a_header_that_stands_once_is_not_repeated(name: bytes) -> None:
    """RFC 3261 §7.3.1: only list headers may stand more than once."""
    value = b"0" if name == b"l" else LINES.get(name, LINES.get(b"To", b""))
    repeated = request().replace(b"\r\n\r\n", b"\r\n" + name + b": " + value + b"\r\n\r\n")
    assert status(repeated) == 400


def test_names_and_compact_names_are_found_without_case() -> None:
    """RFC 3261 §7.3.1 and §7.3.3: names ignore case, compact forms are the same headers."""
    raw = request().replace(b"Via:", b"V:").replace(b"To:", b"T :").replace(b"From:", b"fROM\t:")
    assert Message.parse(raw).from_tag == b"1928301774"


def test_folded_lines_are_one_value() -> None:
    """RFC 3261 §7.3.1: a line that begins with white space continues the one before."""
    message = Message.parse(
        request(To=b"Bob\r\n <sip:bob@biloxi.com>\r\n\t;tag=x", CSeq=b"1\r\n INVITE")
    )
    assert message.to_tag == b"x"
    assert message.cseq.number == 1


def test_a_message_begins_with_a_start_line_and_not_with_a_fold() -> None:
    """RFC 3261 §7: a header cannot begin with a continuation."""
    assert status(request().replace(b"SIP/2.0\r\nVia", b"SIP/2.0\r\n x\r\nVia")) == 400


def test_header_names_are_tokens() -> None:
    """RFC 3261 §7.3.1: header = field-name ":" value."""
    for line in (b"no colon here", b"a b: c", b": no name", b"x(y): z"):
        assert status(request().replace(b"Max-Forwards: 70", line)) == 400


def test_an_extension_method_is_a_method() -> None:
    """RFC 3261 §7.1: the method is a token, unknown ones pass."""
    message = Message.parse(request(b"DANCE sip:bob@biloxi.com SIP/2.0", CSeq=b"1 DANCE"))
    assert message.method == b"DANCE"


@pytest.mark.parametrize("version", [b"SIP/1.0", b"SIP/3.0", b"SIP/2.1"])
def test_another_version_is_505(version: bytes) -> None:
    """RFC 3261 §21.5.6: the server refuses another protocol version."""
    assert status(request(b"INVITE sip:bob@biloxi.com " + version)) == 505


def test_a_body_that_is_cut_off_is_400() -> None:
    """RFC 3261 §18.3: a datagram that ends before the body is answered with 400."""
    assert status(request(Content_Length=b"1")) == 400


def test_a_response_that_is_cut_off_is_dropped() -> None:
    """RFC 3261 §18.3: a response that ends before its body is discarded."""
    assert status(request(b"SIP/2.0 200 OK", Content_Length=b"1")) is None


def test_an_ack_is_never_answered() -> None:
    """RFC 3261 §17: there is no response to ACK, not even to a malformed one."""
    assert status(request(b"ACK sip:bob@biloxi.com SIP/2.0", CSeq=b"1 INVITE")) is None


def test_an_expires_that_is_no_number_counts_as_an_hour() -> None:
    """RFC 3261 §20.19: malformed values are equivalent to 3600."""
    assert parse_expires(b"Thu, 01 Dec 1994") == 3600


def touch(raw: bytes) -> None:
    """Read all there is to read, answer and forward."""
    message = Message(raw)
    message.check()
    message.note_source(b"192.0.2.1", 5060)
    respond(message, 200, to_tag=b"x")
    again = Forward(message)
    again.push_via(b"SIP/2.0/UDP us;branch=z9hG4bKx")
    again.pop(b"route")
    again.set_max_forwards(5)
    Message.parse(again.to_bytes())
    _ = message.uri if message.is_request else None
    for name in (b"contact", b"route", b"record-route"):
        message.addresses(name)


@given(st.binary(max_size=300))
@example(b"SIP/2.0 200")
@example(b"A a: SIP/2.0\r\n\r\n")
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    """RFC 3261 §7: whatever arrives, nothing but RemoteProtocolError leaves the parser."""
    for raw in (data, b"INVITE sip:a SIP/2.0\r\n" + data, request() + data):
        try:
            touch(raw)
        except RemoteProtocolError:
            continue


PIECES = st.sampled_from(
    [
        *(bytes((code,)) for code in b'\r\n\t :;,"<>\\=%@\0\xff'),
        *(b"9" * 30, b"SIP/2.0", b"\r\n", b"\r\n ", b"\r\nv: x", b"\r\nRoute: <"),
    ]
)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), PIECES), max_size=4))
def test_a_damaged_message_is_a_message_or_a_protocol_error(
    damage: list[tuple[int, int, bytes]],
) -> None:
    """RFC 3261 §7: damage in any place is data, never a traceback."""
    raw = request(Route=b'"x" <sip:a;lr>, <sip:b>', Contact=b"<sip:c@d?e=f>;q=0.5")
    for place, length, piece in damage:
        raw = raw[:place] + piece + raw[place + length :]
    try:
        touch(raw)
    except RemoteProtocolError:
        return
