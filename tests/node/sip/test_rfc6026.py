"""RFC 6026: 2xx to INVITE keep their transactions for a while, in the state Accepted."""

from chordial_node.boundary.events import FlowReceived
from chordial_node.sip.machines import State
from chordial_node.sip.response import respond
from tests.node.sip.flow_rig import Rig, request, statuses


def test_each_2xx_of_a_fork_is_passed_up() -> None:
    """RFC 6026 §7.2: a client in Accepted passes every further 2xx to its user."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.answer(run, 200)
    rig.hear(respond(run.request, 200, to_tag=b"another"))
    assert run.state is State.ACCEPTED
    assert rig.user.responses == [200, 200]


def test_a_late_2xx_is_passed_up_until_timer_m() -> None:
    """RFC 6026 §7.2: timer M is 64 T1; after it the response is nobody's."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.answer(run, 200)
    rig.advance(31.9)
    rig.answer(run, 200)
    assert rig.user.responses == [200, 200]
    rig.advance(0.2)
    assert run.is_terminated
    rig.answer(run, 200)
    assert rig.user.responses == [200, 200]
    assert len(rig.user.strays) == 1


def test_no_other_response_is_passed_up_after_a_2xx() -> None:
    """RFC 6026 §8.4: any response but 2xx is dropped in Accepted."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.answer(run, 200)
    rig.sent()
    rig.answer(run, 180)
    rig.answer(run, 486)
    assert rig.user.responses == [200]
    assert rig.sent() == []


def test_the_client_does_not_acknowledge_a_2xx() -> None:
    """RFC 6026 §7.2, RFC 3261 §13.2.2.4: the ACK to a 2xx is not the transaction's."""
    rig = Rig()
    run = rig.ask(b"INVITE")
    rig.sent()
    rig.answer(run, 200)
    assert rig.sent() == []


def test_a_repeated_invite_is_absorbed_after_a_2xx() -> None:
    """RFC 6026 §7.1: retransmissions of an answered INVITE start nothing new."""
    rig = Rig()
    rig.hear(request())
    run = rig.user.requests[0]
    rig.respond(run, 200)
    rig.sent()
    rig.hear(request())
    assert run.state is State.ACCEPTED
    assert rig.sent() == []
    assert len(rig.user.requests) == 1


def test_the_server_does_not_repeat_a_2xx_by_itself() -> None:
    """RFC 6026 §7.1: the user sends each 2xx again, the transaction only lets it through."""
    rig = Rig()
    rig.hear(request())
    run = rig.user.requests[0]
    rig.respond(run, 200)
    rig.advance(20)
    rig.respond(run, 200)
    rig.respond(run, 486)
    assert statuses(rig.sent()) == [200, 200]


def test_the_server_transaction_of_a_2xx_lasts_until_timer_l() -> None:
    """RFC 6026 §7.1: timer L is 64 T1, over UDP and TCP alike."""
    rig = Rig()
    rig.accept(1)
    rig.tell(FlowReceived(1, request(via=b"SIP/2.0/TCP 192.0.2.7;branch=z9hG4bKb")))
    rig.hear(request())
    for run in rig.user.requests:
        rig.respond(run, 200)
    rig.advance(31.9)
    assert [run.state for run in rig.user.requests] == [State.ACCEPTED, State.ACCEPTED]
    rig.advance(0.2)
    assert [run.is_terminated for run in rig.user.requests] == [True, True]
    assert rig.transactions.count == 0


def test_an_ack_in_accepted_is_passed_up() -> None:
    """RFC 6026 §7.1: an ACK that matches an accepted INVITE is the user's."""
    rig = Rig()
    rig.hear(request())
    run = rig.user.requests[0]
    rig.respond(run, 200)
    rig.hear(request(b"ACK", to_tag=run.to_tag))
    assert len(rig.user.acks) == 1
    assert run.state is State.ACCEPTED
