"""The transaction layer beyond the RFCs' tables: refusals without state, limits, lost flows."""

import pytest

from chordial_node.boundary.events import FlowLost, FlowOpened, FlowReceived
from chordial_node.ids import NodeId
from chordial_node.sip.flows import Flow
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond
from chordial_node.sip.transactions import branch, owner_prefix
from tests.node.sip.flow_rig import (
    OTHER,
    OWN,
    PEER,
    PEER_ADDRESS,
    Rig,
    methods,
    request,
    statuses,
)


def _via(number: int) -> bytes:
    return b"SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bK%d" % number


def _peer_flow(rig: Rig) -> Flow:
    found: list[Flow] = []
    rig.do(lambda: found.append(rig.flows.to_peer(OTHER, PEER_ADDRESS)))
    rig.tell(FlowOpened(2, PEER, PEER_ADDRESS, OTHER))
    return found[0]


# refusals --------------------------------------------------------------------------------------


def test_a_refusal_is_sent_once_and_forgotten() -> None:
    """`sip.md` 10: 401, 407, 403 and 404 to strangers leave no state and are never repeated."""
    rig = Rig()
    rig.hear(request())
    run = rig.user.requests[0]
    rig.refuse(run, 407)
    rig.advance(60)
    assert statuses(rig.sent()) == [407]
    assert run.is_final
    assert rig.transactions.count == 0
    assert rig.kernel.deadline() is None


def test_a_repeated_request_that_was_refused_is_new() -> None:
    """RFC 3261 §8.2.7: a stateless server answers each retransmission anew, the same way."""
    rig = Rig()
    for _ in range(2):
        rig.hear(request())
        rig.refuse(rig.user.requests[-1], 407)
    first, second = rig.sent()
    assert first == second
    assert len(rig.user.requests) == 2


def test_the_ack_of_a_refusal_is_absorbed_by_its_tag() -> None:
    """RFC 3261 §8.2.7: nothing but the To tag says that this ACK is not one for a 2xx."""
    rig = Rig()
    rig.hear(request())
    run = rig.user.requests[0]
    rig.refuse(run, 407)
    rig.hear(request(b"ACK", to_tag=run.to_tag))
    assert rig.user.acks == []
    rig.hear(request(b"ACK", to_tag=run.to_tag, cseq=2))  # another request's: not our answer
    rig.hear(request(b"ACK", to_tag=b"callee"))
    assert len(rig.user.acks) == 2


def test_nothing_is_answered_after_a_refusal() -> None:
    rig = Rig()
    rig.hear(request(b"MESSAGE"))
    run = rig.user.requests[0]
    rig.refuse(run, 403)
    rig.respond(run, 200)
    rig.refuse(run, 404)
    assert statuses(rig.sent()) == [403]


# limits ----------------------------------------------------------------------------------------


def test_is_full_counts_requests_without_a_final_response() -> None:
    rig = Rig(transactions=3)
    for number in range(4):
        assert not rig.transactions.is_full
        rig.hear(request(via=_via(number)))
    assert rig.transactions.is_full
    rig.refuse(rig.user.requests[-1], 500)
    assert not rig.transactions.is_full
    rig.respond(rig.user.requests[0], 404)
    assert rig.transactions.open_count == 2


def test_a_flood_that_the_usage_does_not_stop_is_dropped() -> None:
    rig = Rig(transactions=3)
    for number in range(20):
        rig.hear(request(via=_via(number)))
    assert len(rig.user.requests) == 6
    assert rig.kernel.counters.datagrams_dropped == 14


def test_answered_transactions_are_remembered_within_a_bound() -> None:
    rig = Rig(transactions=3)
    for number in range(20):
        rig.hear(request(b"MESSAGE", via=_via(number)))
        rig.respond(rig.user.requests[-1], 200)
    assert rig.transactions.count == 6
    rig.sent()
    rig.hear(request(b"MESSAGE", via=_via(19)))
    assert statuses(rig.sent()) == [200]
    rig.advance(33)
    assert rig.transactions.count == 0
    assert rig.kernel.deadline() is None


def test_many_transactions_leave_no_timer_behind() -> None:
    rig = Rig(transactions=5_000)
    for number in range(5_000):
        rig.hear(request(via=_via(number)))
        rig.refuse(rig.user.requests.pop(), 407)
        run = rig.ask(b"INVITE")
        rig.answer(run, 486)
        rig.effects.clear()
    rig.advance(40)
    assert rig.kernel.deadline() is None
    assert rig.transactions.count == 0


# lost flows ------------------------------------------------------------------------------------


def test_a_request_on_a_dead_flow_fails_after_it_was_sent() -> None:
    rig = Rig()
    flow = rig.dial()
    rig.tell(FlowLost(2, "reset"))
    run = rig.ask(b"MESSAGE", flow)
    assert rig.user.failures == []
    rig.advance(0.01)
    assert rig.user.failures == ["the flow is dead"]
    assert run.is_completed


@pytest.mark.parametrize("method", [b"INVITE", b"MESSAGE"])
def test_a_lost_flow_fails_what_waits_on_it_once(method: bytes) -> None:
    rig = Rig()
    rig.ask(method, rig.dial())
    rig.tell(FlowLost(2, "reset"))
    rig.advance(60)
    assert rig.user.failures == ["reset"]
    assert rig.transactions.count == 0


def test_an_invite_that_rings_at_a_phone_fails_with_its_connection() -> None:
    rig = Rig()
    run = rig.ask(b"INVITE", rig.dial())
    rig.tell(FlowReceived(2, respond(run.request, 180, to_tag=b"t")))
    rig.tell(FlowLost(2, "reset"))
    assert rig.user.failures == ["reset"]


def test_an_invite_that_rings_at_a_peer_outlives_the_connection() -> None:
    """`sip.md` 8: the answer may come through another peer, and is still this branch's."""
    rig = Rig()
    run = rig.ask(b"INVITE", _peer_flow(rig))
    rig.tell(FlowReceived(2, respond(run.request, 180, to_tag=b"t")))
    rig.tell(FlowLost(2, "reset"))
    assert rig.user.failures == []
    rig.hear(respond(run.request, 200, to_tag=b"t"))
    assert rig.user.responses == [180, 200]


def test_a_cancel_takes_a_new_connection_when_the_old_one_is_gone() -> None:
    rig = Rig()
    run = rig.ask(b"INVITE", _peer_flow(rig))
    rig.tell(FlowReceived(2, respond(run.request, 180, to_tag=b"t")))
    rig.tell(FlowLost(2, "reset"))
    rig.sent()
    rig.do(run.send_cancel)
    assert [opened.flow for opened in rig.opened()] == [2, 4]
    rig.tell(FlowOpened(4, PEER, PEER_ADDRESS, OTHER))
    assert methods(rig.sent()) == [b"CANCEL"]


def test_a_final_response_is_the_last_word() -> None:
    rig = Rig()
    run = rig.ask(b"INVITE", rig.dial())
    rig.tell(FlowReceived(2, respond(run.request, 486, to_tag=b"t")))
    rig.tell(FlowLost(2, "reset"))
    assert rig.user.failures == []
    assert rig.user.responses == [486]


def test_a_peer_gets_100_for_any_request() -> None:
    """`sip.md` 8, RFC 4320 §4.1: over a reliable transport 100 may answer every method."""
    rig = Rig()
    rig.accept(1, PEER, ("10.0.0.2", 33_000), OTHER)
    via = b"SIP/2.0/TLS " + OTHER.hex().encode() + b".peer.invalid;branch=z9hG4bKp"
    rig.tell(FlowReceived(1, request(b"MESSAGE", via=via)))
    rig.do(rig.user.requests[0].trying)
    assert statuses(rig.sent()) == [100]


# branches --------------------------------------------------------------------------------------


def test_a_branch_names_its_owner() -> None:
    """`sip.md` 9: an answer that lands at another peer finds its owner."""
    rig = Rig()
    written = branch(OWN, rig.kernel.random)
    assert written.startswith(b"z9hG4bK")
    assert owner_prefix(written) == OWN[:6]
    assert written != branch(OWN, rig.kernel.random)
    assert owner_prefix(branch(NodeId(OTHER), rig.kernel.random)) == OTHER[:6]


@pytest.mark.parametrize("written", [b"", b"z9hG4bKa1", b"z9hG4bK-cXY", b"z9hG4bK-c4040", b"1"])
def test_a_branch_of_somebody_else_names_nobody(written: bytes) -> None:
    assert owner_prefix(written) is None


def test_retransmissions_are_counted() -> None:
    rig = Rig()
    run = rig.ask(b"MESSAGE")
    rig.advance(1.6)
    assert rig.kernel.counters.sip_retransmissions_sent == 2
    rig.answer(run, 200)
    rig.answer(run, 200)
    assert rig.kernel.counters.sip_retransmissions_received == 1
    assert Message.parse(rig.sent()[0]).method == b"MESSAGE"
