"""Responses, CANCEL and ACK: what is copied and what is not."""

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.message import Message
from chordial_node.sip.response import acknowledge, cancel, respond, respond_to_fault

INVITE = (
    b"INVITE sip:bob@chordial.test SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;rport, SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKb\r\n"
    b"v: SIP/2.0/UDP 10.0.0.3;branch=z9hG4bKc\r\n"
    b"Record-Route: <sip:one;lr>\r\n"
    b"Route: <sip:two;lr>\r\n"
    b"From: A <sip:a@h>;tag=a\r\n"
    b"To: <sip:b@h>\r\n"
    b"Call-ID: c1\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Contact: <sip:a@10.0.0.1>\r\n"
    b"Timestamp: 54\r\n"
    b"\r\n"
)


def test_a_ringing_copies_what_makes_a_dialog() -> None:
    assert respond(Message.parse(INVITE), 180, to_tag=b"x") == (
        b"SIP/2.0 180 Ringing\r\n"
        b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;rport, SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKb\r\n"
        b"v: SIP/2.0/UDP 10.0.0.3;branch=z9hG4bKc\r\n"
        b"Record-Route: <sip:one;lr>\r\n"
        b"From: A <sip:a@h>;tag=a\r\n"
        b"To: <sip:b@h>;tag=x\r\n"
        b"Call-ID: c1\r\n"
        b"CSeq: 7 INVITE\r\n"
        b"Content-Length: 0\r\n"
        b"\r\n"
    )


def test_a_refusal_has_no_record_route_and_carries_its_headers() -> None:
    answer = Message.parse(
        respond(Message.parse(INVITE), 486, headers=[(b"Retry-After", b"5")], body=b"busy")
    )
    assert (answer.status, answer.reason, answer.body) == (486, b"Busy Here", b"busy")
    assert answer.first(b"retry-after") == b"5"
    assert b"record-route" not in answer


def test_the_noted_source_is_in_the_response_and_only_in_the_first_via() -> None:
    request = Message.parse(INVITE)
    request.note_source(b"192.0.2.7", 4011)
    answer = Message.parse(respond(request, 200))
    assert answer.via.reply_address == (b"192.0.2.7", 4011)
    assert answer.values(b"via")[1:] == request.values(b"via")[1:]


def test_a_trying_has_no_tag_but_the_timestamp() -> None:
    answer = Message.parse(respond(Message.parse(INVITE), 100, to_tag=b"x"))
    assert answer.to_tag == b""
    assert answer.first(b"timestamp") == b"54"


def test_a_tag_that_is_there_stays() -> None:
    request = Message.parse(INVITE.replace(b"To: <sip:b@h>", b"To: <sip:b@h>;tag=y"))
    assert Message.parse(respond(request, 200, to_tag=b"x")).to_tag == b"y"


def test_a_reason_never_opens_a_new_line() -> None:
    assert respond(Message.parse(INVITE), 400, "a\r\nEvil: b").startswith(
        b"SIP/2.0 400 a  Evil: b\r"
    )


def test_a_cancel_is_hop_by_hop() -> None:
    assert cancel(Message.parse(INVITE)) == (
        b"CANCEL sip:bob@chordial.test SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;rport\r\n"
        b"Route: <sip:two;lr>\r\n"
        b"Max-Forwards: 70\r\n"
        b"From: A <sip:a@h>;tag=a\r\n"
        b"To: <sip:b@h>\r\n"
        b"Call-ID: c1\r\n"
        b"CSeq: 7 CANCEL\r\n"
        b"Content-Length: 0\r\n"
        b"\r\n"
    )


def test_an_ack_takes_to_from_the_response() -> None:
    invite = Message.parse(INVITE)
    answer = Message.parse(respond(invite, 486, to_tag=b"x"))
    ack = Message.parse(acknowledge(invite, answer))
    assert (ack.method, ack.to_tag, ack.cseq.number) == (b"ACK", b"x", 7)
    assert ack.via.branch == b"z9hG4bKa"


def test_faults_are_answered_where_that_is_right() -> None:
    fault = RemoteProtocolError(400, "Bad", headers=((b"Warning", b"y"),))
    answer = respond_to_fault(Message(INVITE), fault, b"t")
    assert answer is not None
    assert Message.parse(answer).first(b"warning") == b"y"
    assert respond_to_fault(Message(INVITE), RemoteProtocolError(None, "Bad"), b"t") is None
    ack = Message(INVITE.replace(b"INVITE", b"ACK"))
    assert respond_to_fault(ack, fault, b"t") is None
    lost = Message(INVITE.replace(b"Via:", b"X-A:").replace(b"v:", b"X-B:"))
    assert respond_to_fault(lost, fault, b"t") is None
    blurred = Message(INVITE.replace(b"To: <sip:b@h>", b'To: "b <sip:b@h>'))
    assert respond_to_fault(blurred, fault, b"t") is not None
