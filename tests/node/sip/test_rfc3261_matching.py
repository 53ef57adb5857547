"""RFC 3261 §9, §17.1.3, §17.2.3, §18: which message belongs to which transaction, and CANCEL."""

from chordial_node.sip.machines import State
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond
from chordial_node.sip.transactions import ServerTransaction
from tests.node.sip.flow_rig import Rig, methods, request, statuses


def _server(rig: Rig, method: bytes) -> ServerTransaction:
    rig.hear(request(method))
    return rig.user.requests[-1]


# matching --------------------------------------------------------------------------------------


def test_the_same_branch_of_another_host_is_another_transaction() -> None:
    """RFC 3261 §17.2.3: branch, sent-by and method make a transaction."""
    rig = Rig()
    rig.hear(request(b"MESSAGE"))
    rig.hear(request(b"MESSAGE", via=b"SIP/2.0/UDP 192.0.2.8:5060;branch=z9hG4bKa"))
    rig.hear(request(b"MESSAGE", via=b"SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKa"))
    rig.hear(request(b"INFO"))
    assert len(rig.user.requests) == 4


def test_a_response_is_matched_by_branch_and_method() -> None:
    """RFC 3261 §17.1.3: a 200 to a CANCEL shares the branch of its INVITE, not its method."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    cancelled = respond(run.request, 200, to_tag=b"t").replace(b"CSeq: 1 INVITE", b"CSeq: 1 CANCEL")
    rig.hear(cancelled)
    assert run.state is State.CALLING
    assert len(rig.user.strays) == 1


def test_a_response_that_nobody_waits_for_goes_up() -> None:
    """RFC 3261 §16.7 step 1, `sip.md` 9: the usage knows whose branch it is."""
    rig = Rig()
    rig.hear(respond(Message.parse(request()), 200, to_tag=b"t"))
    assert rig.user.strays[0].status == 200


OLD_VIA = b"SIP/2.0/UDP 192.0.2.7:5060;branch=1"


def test_an_invite_without_the_cookie_is_matched_by_what_it_repeats() -> None:
    """RFC 3261 §17.2.3: RFC 2543 clients have branches that are not unique."""
    rig = Rig()
    rig.hear(request(via=OLD_VIA))
    rig.hear(request(via=OLD_VIA))
    assert len(rig.user.requests) == 1
    rig.hear(request(via=OLD_VIA, cseq=2))
    rig.hear(request(via=OLD_VIA, target=b"sip:carol@chordial.test"))
    rig.hear(request(b"OPTIONS", via=OLD_VIA))
    rig.hear(request(b"OPTIONS", via=OLD_VIA, to_tag=b"x"))
    assert len(rig.user.requests) == 5


def test_an_ack_without_the_cookie_is_matched_by_the_tag_of_the_response() -> None:
    """RFC 3261 §17.2.3: the To tag of an RFC 2543 ACK is that of the response it acknowledges."""
    rig = Rig()
    rig.hear(request(via=OLD_VIA))
    run = rig.user.requests[0]
    rig.respond(run, 486)
    rig.hear(request(b"ACK", via=OLD_VIA, to_tag=b"another"))
    assert len(rig.user.acks) == 1
    rig.advance(0.6)
    assert statuses(rig.sent()) == [486, 486]  # not acknowledged
    rig.hear(request(b"ACK", via=OLD_VIA, to_tag=run.to_tag))
    assert run.state is State.CONFIRMED
    assert len(rig.user.acks) == 1


def test_a_cancel_without_the_cookie_finds_its_invite() -> None:
    """RFC 3261 §9.2: matched by what both repeat, the method aside."""
    rig = Rig()
    rig.hear(request(via=OLD_VIA))
    rig.hear(request(b"CANCEL", via=OLD_VIA))
    assert rig.user.cancelled == rig.user.requests
    assert statuses(rig.sent()) == [200]


# CANCEL ----------------------------------------------------------------------------------------


def test_a_cancel_is_answered_and_its_invite_passed_up_once() -> None:
    """RFC 3261 §9.2: 200 to the CANCEL, then the usage ends the INVITE with 487."""
    rig = Rig()
    run = _server(rig, b"INVITE")
    rig.hear(request(b"CANCEL"))
    rig.hear(request(b"CANCEL"))
    assert rig.user.cancelled == [run]
    answers = rig.sent()
    assert statuses(answers) == [200, 200]
    rig.respond(run, 487)
    assert Message.parse(answers[0]).to_tag == Message.parse(rig.sent()[0]).to_tag


def test_a_cancel_after_the_final_response_changes_nothing() -> None:
    """RFC 3261 §9.2: it is answered with 200 all the same."""
    rig = Rig()
    rig.respond(_server(rig, b"INVITE"), 486)
    rig.sent()
    rig.hear(request(b"CANCEL"))
    assert statuses(rig.sent()) == [200]
    assert rig.user.cancelled == []


def test_a_cancel_of_another_request_has_no_effect() -> None:
    """RFC 3261 §9.2: a CANCEL for a method other than INVITE is answered, nothing more."""
    rig = Rig()
    _server(rig, b"MESSAGE")
    rig.hear(request(b"CANCEL"))
    assert statuses(rig.sent()) == [200]
    assert rig.user.cancelled == []


def test_a_cancel_of_nothing_is_481() -> None:
    """RFC 3261 §9.2: no matching transaction, 481."""
    rig = Rig()
    rig.hear(request(b"CANCEL"))
    assert statuses(rig.sent()) == [481]
    assert rig.transactions.count == 0


def test_our_cancel_waits_for_the_first_provisional_response() -> None:
    """RFC 3261 §9.1: CANCEL must not be sent before a provisional response was received."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.sent()
    rig.do(run.send_cancel)
    assert rig.sent() == []
    rig.answer(run, 180)
    (sent,) = rig.sent()
    message = Message.parse(sent)
    assert (message.method, message.via.branch) == (b"CANCEL", run.branch)
    assert message.cseq.number == 1
    assert message.target == run.request.target
    rig.do(run.send_cancel)
    assert rig.sent() == []  # once is enough


def test_our_cancel_is_sent_at_once_while_it_rings() -> None:
    """RFC 3261 §9.1: and repeated like any request until it is answered."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.answer(run, 180)
    rig.sent()
    rig.do(run.send_cancel)
    rig.advance(0.6)
    assert methods(rig.sent()) == [b"CANCEL", b"CANCEL"]
    rig.answer(run, 487)
    assert rig.user.responses == [180, 487]


def test_no_cancel_follows_a_final_response() -> None:
    """RFC 3261 §9.1: a request that was answered is not cancelled."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.do(run.send_cancel)
    rig.answer(run, 200)
    rig.do(run.send_cancel)
    assert methods(rig.sent()) == [b"INVITE"]
    assert rig.user.responses == [200]


def test_a_cancelled_invite_without_an_answer_is_given_up() -> None:
    """RFC 3261 §9.1: after 64 T1 without a final response it counts as cancelled."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.answer(run, 180)
    rig.do(run.send_cancel)
    rig.advance(32.1)
    assert rig.user.failures == ["cancelled, and never answered"]
    assert run.is_terminated
    assert rig.transactions.count == 0
    assert rig.kernel.deadline() is None


# sending ---------------------------------------------------------------------------------------


def test_an_ack_to_a_2xx_is_passed_up() -> None:
    """RFC 3261 §17.1.1.3, §13.2.2.4: it has a branch of its own and belongs to the usage."""
    rig = Rig()
    rig.hear(request(b"ACK", to_tag=b"callee"))
    assert len(rig.user.acks) == 1


def test_the_answer_leaves_by_the_flow_of_the_request() -> None:
    """RFC 3261 §18.2.2: the listener that the request came to sends the response."""
    rig = Rig()
    via = b"SIP/2.0/UDP [2001:db8::7]:5060;branch=z9hG4bKa"
    rig.hear(request(b"MESSAGE", via=via), ("2001:db8::7", 5060), 3)
    rig.respond(rig.user.requests[0], 200)
    assert rig.destinations() == [(3, ("2001:db8::7", 5060))]


def test_no_100_is_sent_unless_the_usage_asks() -> None:
    """RFC 3261 §17.2.1, `sip.md` 10: 100 comes after authentication, and only once."""
    rig = Rig()
    run = _server(rig, b"INVITE")
    rig.advance(5)
    assert rig.sent() == []
    rig.do(run.trying)
    rig.do(run.trying)
    assert statuses(rig.sent()) == [100]


def test_no_100_answers_another_request_of_a_phone() -> None:
    """RFC 4320 §4.1: no provisional response to a request other than INVITE over UDP."""
    rig = Rig()
    run = _server(rig, b"MESSAGE")
    rig.do(run.trying)
    assert rig.sent() == []
