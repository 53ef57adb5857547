"""A proxy's mistakes, each of which the phones of the swarm must see."""

import pytest

from chordial_node.sip.message import Message
from tests.cluster.phones.dialog import (
    Dialog,
    faults_in_dialog,
    faults_of_answer,
    faults_of_request,
)
from tests.cluster.phones.flow import faults_of_response

CONTACT = b"sip:u1@10.77.0.2:20001"
REALM = b"chordial.test"
INVITE = b"""\
INVITE sip:u1@10.77.0.2:20001 SIP/2.0
Via: SIP/2.0/UDP 192.168.77.11:5060;branch=z9hG4bKa;rport
Via: SIP/2.0/UDP 10.77.0.3:20002;branch=z9hG4bKb;rport=7;received=192.168.77.160
Record-Route: <sip:T2@192.168.77.11;lr>
Record-Route: <sip:T1@192.168.77.11;lr>
Max-Forwards: 69
From: <sip:u2@chordial.test>;tag=caller
To: <sip:u1@chordial.test>
Call-ID: a1
CSeq: 2 INVITE
Contact: <sip:u2@10.77.0.3:20002>
Content-Length: 0

"""
ASKED = b"""\
INVITE sip:u1@chordial.test SIP/2.0
Via: SIP/2.0/UDP 10.77.0.3:20002;branch=z9hG4bKb;rport
Max-Forwards: 70
From: <sip:u2@chordial.test>;tag=caller
To: <sip:u1@chordial.test>
Call-ID: a1
CSeq: 2 INVITE
Contact: <sip:u2@10.77.0.3:20002>
Content-Length: 0

"""
ANSWER = b"""\
SIP/2.0 200 OK
Via: SIP/2.0/UDP 10.77.0.3:20002;branch=z9hG4bKb;rport=7;received=192.168.77.160
Record-Route: <sip:T2@192.168.77.11;lr>
Record-Route: <sip:T1@192.168.77.12:5070;lr>
From: <sip:u2@chordial.test>;tag=caller
To: <sip:u1@chordial.test>;tag=callee
Call-ID: a1
CSeq: 2 INVITE
Contact: <sip:u1@10.77.0.2:20001>
Content-Length: 0

"""


def message(text: bytes, old: bytes = b"", new: bytes = b"") -> Message:
    """A message with a part of it exchanged."""
    assert old in text
    return Message.parse(text.replace(old, new).replace(b"\n", b"\r\n"))


def test_what_a_good_proxy_brings_has_no_fault() -> None:
    assert faults_of_request(message(INVITE), CONTACT, REALM) == []
    assert faults_of_response(message(ASKED), message(ANSWER)) == []
    assert faults_of_answer(message(ANSWER)) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"Max-Forwards: 69\n", b"", "request without Max-Forwards"),
        (b"Forwards: 69", b"Forwards: 70", "request whose Max-Forwards was not lowered"),
        (b"INVITE sip:u1@10.77.0.2:20001", b"INVITE sip:u1@chordial.test",
         "request whose Request-URI is not our Contact"),
        (b"Max-F", b"Route: <sip:192.168.77.11;lr>\nMax-F",
         "request with a Route left for the phone"),
        (b"Max-F", b'Proxy-Authorization: Digest realm="chordial.test", nonce="n"\nMax-F',
         "request with the caller's credentials"),
        (b";tag=caller", b"", "request without From tag"),
        (b"T1@192.168.77.11;lr", b"T1@192.168.77.11", "Record-Route without lr"),
    ],
)  # fmt: skip
def test_a_request_with_a_mistake_is_seen(old: bytes, new: bytes, fault: str) -> None:
    assert faults_of_request(message(INVITE, old, new), CONTACT, REALM) == [fault]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"Via:", b"Via: SIP/2.0/UDP 192.168.77.11;branch=z9hG4bKb;rport=1;received=1.1.1.1\nVia:",
         "response with more than our Via"),
        (b";rport=7;received=192.168.77.160", b"",
         "response without rport and received (RFC 3581 §4)"),
        (b"CSeq: 2", b"CSeq: 3", "response with another CSeq"),
        (b"Call-ID: a1", b"Call-ID: a2", "response with another Call-ID"),
        (b";tag=caller", b";tag=other", "response with another From"),
        (b";tag=callee", b"", "response without To tag"),
    ],
)  # fmt: skip
def test_a_response_with_a_mistake_is_seen(old: bytes, new: bytes, fault: str) -> None:
    assert fault in faults_of_response(message(ASKED), message(ANSWER, old, new))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"Contact: <sip:u1@10.77.0.2:20001>\n", b"", "2xx to INVITE without one Contact"),
        (b"T1@192.168.77.12:5070;lr", b"T1@192.168.77.12:5070", "Record-Route without lr"),
    ],
)
def test_an_answer_with_a_mistake_is_seen(old: bytes, new: bytes, fault: str) -> None:
    assert faults_of_answer(message(ANSWER, old, new)) == [fault]


def test_each_side_has_its_own_order_of_routes_and_sends_to_the_first() -> None:
    caller = Dialog.of_caller(message(ASKED), message(ANSWER))
    assert caller.next_hop(("192.168.77.99", 5060)) == ("192.168.77.12", 5070)
    assert [b"T1" in route for route in caller.routes] == [True, False]
    callee = Dialog.of_callee(message(INVITE), b"callee")
    assert [b"T1" in route for route in callee.routes] == [False, True]
    assert callee.target == b"sip:u2@10.77.0.3:20002"
    bye = callee.request(b"BYE", b"SIP/2.0/UDP 10.77.0.2:20001;branch=z9hG4bKc", 1)
    assert bye.startswith(b"BYE sip:u2@10.77.0.3:20002 SIP/2.0\r\n")


def test_a_request_in_a_dialog_with_an_old_number_or_another_tag_is_seen() -> None:
    callee = Dialog.of_callee(message(INVITE), b"callee")
    again = message(INVITE, b";tag=caller", b";tag=other")
    assert faults_in_dialog(callee, again) == [
        "in-dialog request with another From tag",
        "in-dialog request whose CSeq did not grow",
    ]
