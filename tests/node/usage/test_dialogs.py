"""Calls in progress."""

from chordial_node.boundary.notices import CallEnded
from chordial_node.sip.message import Message
from chordial_node.usage import dialogs as module
from chordial_node.usage.dialogs import Dialogs
from tests.node.usage.solo import Solo

INVITE = (
    b"INVITE sip:bob@chordial.test SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@chordial.test>;tag=a\r\nTo: <sip:bob@chordial.test>\r\nCall-ID: c\r\n"
    b"CSeq: 1 INVITE\r\nContact: <sip:alice@10.0.0.1>\r\nContent-Length: 0\r\n\r\n"
)
ANSWER = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n"
    b"Record-Route: <sip:t2@h;lr>, <sip:t1@h;lr>\r\n"
    b"From: <sip:alice@chordial.test>;tag=a\r\nTo: <sip:bob@chordial.test>;tag=b\r\nCall-ID: c\r\n"
    b"CSeq: 1 INVITE\r\nContact: <sip:bob@10.0.0.2>\r\nContent-Length: 0\r\n\r\n"
)
BYE = (
    b"BYE sip:bob@chordial.test SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK2\r\n"
    b"From: <sip:alice@chordial.test>;tag=a\r\nTo: <sip:bob@chordial.test>;tag=b\r\nCall-ID: c\r\n"
    b"CSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
)
REVERSED = BYE.replace(b"tag=a", b"tag=x").replace(b"tag=b", b"tag=a").replace(b"tag=x", b"tag=b")


def begun(solo: Solo) -> Dialogs:
    dialogs = Dialogs(solo.kernel)
    assert dialogs.note_answer(Message(INVITE), Message(ANSWER))
    return dialogs


def test_a_call_begins_once_with_its_first_answer() -> None:
    dialogs = begun(Solo())
    assert not dialogs.note_answer(Message(INVITE), Message(ANSWER))
    assert len(dialogs) == 1


def test_either_side_finds_it_with_the_route_set_and_target_it_lacks() -> None:
    dialogs = begun(Solo())
    for raw, routes, target in (
        (BYE, [b"<sip:t1@h;lr>", b"<sip:t2@h;lr>"], b"sip:bob@10.0.0.2"),
        (REVERSED, [b"<sip:t2@h;lr>", b"<sip:t1@h;lr>"], b"sip:alice@10.0.0.1"),
    ):
        dialog = dialogs.find(Message(raw))
        assert dialog is not None
        assert dialog.routes_of(Message(raw)) == routes
        assert dialog.target_of(Message(raw)) == target


def test_a_bye_ends_it_and_tells_how_long_it_was() -> None:
    solo = Solo()
    dialogs = begun(solo)
    solo.run(12.0)
    dialogs.note_bye(Message(REVERSED))
    solo.run(0.0)
    assert len(dialogs) == 0
    assert CallEnded(seconds=12.0) in solo.effects


def test_session_expires_ends_a_call_whose_phones_are_gone() -> None:
    solo = Solo()
    dialogs = Dialogs(solo.kernel)
    timed = ANSWER.replace(b"Contact:", b"Session-Expires: 90;refresher=uac\r\nContact:")
    dialogs.note_answer(Message(INVITE), Message(timed))
    solo.run(100.0)
    assert len(dialogs) == 1
    solo.run(90.0)
    assert len(dialogs) == 0


def test_the_table_is_bounded() -> None:
    dialogs = Dialogs(Solo().kernel)
    for number in range(module.MOST_DIALOGS + 5):
        call_id = b"Call-ID: c%d\r\n" % number
        answer = ANSWER.replace(b"Call-ID: c\r\n", call_id)
        dialogs.note_answer(Message(INVITE.replace(b"Call-ID: c\r\n", call_id)), Message(answer))
    assert len(dialogs) == module.MOST_DIALOGS
