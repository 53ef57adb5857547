"""RFC 5626 §3.5, §4.4 and `sip.md` 12, 14: what keeps flows open, and how dead ones are found."""

from chordial_node.boundary.events import FlowReceived
from chordial_node.boundary.notices import FlowDied
from chordial_node.sip.flows import Flow
from chordial_node.sip.message import Message
from chordial_node.sip.response import respond
from chordial_node.sip.stun import binding_request, mapped_address
from tests.node.sip.flow_rig import PHONE, UDP, Rig, methods, request

CAROL = b"sip:carol@192.168.0.9:5060"


def _kept(rig: Rig, seconds: float = 1000.0) -> Flow:
    """The flow of a phone that registered, kept open from now on."""
    rig.hear(request(b"REGISTER", target=b"sip:chordial.test"))
    rig.sent()
    flow = rig.phone_flow()
    rig.do(lambda: rig.flows.keep_alive(flow, CAROL, seconds))
    return flow


def _answer(rig: Rig, options: bytes) -> None:
    rig.hear(respond(Message.parse(options), 486, to_tag=b"t"))


def test_a_double_crlf_is_answered_with_crlf() -> None:
    """RFC 5626 §3.5.1, §4.4.1: the ping of a connection-oriented flow gets its pong."""
    rig = Rig()
    rig.accept(1)
    rig.tell(FlowReceived(1, b"\r\n\r\n"))
    assert rig.sent() == [b"\r\n"]
    rig.tell(FlowReceived(1, b"\r\n"))
    rig.tell(FlowReceived(1, b"\r\n"))
    assert rig.sent() == [b"\r\n"]


def test_a_ping_between_messages_is_answered_in_its_turn() -> None:
    """RFC 5626 §4.4.1: keepalives are sent between messages."""
    rig = Rig()
    rig.accept(1)
    via = b"SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK"
    first, second = request(b"MESSAGE", via=via + b"1"), request(b"MESSAGE", via=via + b"2")
    rig.tell(FlowReceived(1, first + b"\r\n\r\n" + second))
    assert len(rig.user.requests) == 2
    assert rig.sent() == [b"\r\n"]


def test_stun_binding_is_answered_on_the_listener_it_came_to() -> None:
    """RFC 5626 §4.4.2, §8: a datagram listener answers Binding with the mapped address."""
    rig = Rig()
    rig.hear(binding_request(b"transaction1"))
    assert rig.destinations() == [(UDP, PHONE)]
    assert mapped_address(rig.sent()[0]) == PHONE


def test_crlf_and_empty_datagrams_are_ignored() -> None:
    """`sip.md` 12: on UDP they only keep a NAT open."""
    rig = Rig()
    for data in (b"", b"\r\n", b"\r\n\r\n", b"\0", b"\0\0\0\0"):
        rig.hear(data)
    assert rig.sent() == []
    assert rig.kernel.counters.sip_bad_messages == 0


def test_a_kept_flow_gets_options_each_27_seconds() -> None:
    """`sip.md` 14: each 27 ± 3 s, down the flow, with Max-Forwards 1."""
    rig = Rig()
    _kept(rig)
    times = []
    for _ in range(40):
        rig.advance(10)
        for when, data in rig.sent_when():
            times.append(when)
            options = Message.parse(data)
            assert options.method == b"OPTIONS"
            assert options.target == CAROL
            assert options.max_forwards == 1
            assert options.via.host == b"203.0.113.10"
            assert options.via.wants_rport
            _answer(rig, data)
    gaps = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    assert len(times) >= 13
    assert all(24.0 <= gap <= 30.0 for gap in gaps)
    assert len(set(gaps)) > 3  # phones of one restart spread out
    assert rig.user.strays == []


def test_a_phone_that_answered_and_misses_three_is_dead() -> None:
    """`sip.md` 14: told once to the user and once to the operator; nothing is sent any more."""
    rig = Rig()
    flow = _kept(rig)
    rig.advance(30)
    _answer(rig, rig.sent()[0])
    rig.advance(89)
    assert not flow.is_dead
    rig.advance(31)
    assert flow.is_dead
    assert methods(rig.sent()) == [b"OPTIONS"] * 3
    assert [(each, reason) for each, reason in rig.user.lost] == [
        (flow, "three keepalives unanswered")
    ]
    assert rig.notices() == [FlowDied("udp/192.0.2.7:5060", "three keepalives unanswered")]
    rig.do(lambda: rig.flows.send(flow, b"dropped"))
    assert rig.sent() == []
    assert rig.kernel.deadline() is None


def test_two_missed_keepalives_are_forgiven() -> None:
    """`sip.md` 14: any answer is life, with whatever status."""
    rig = Rig()
    flow = _kept(rig)
    for _ in range(6):
        rig.advance(60)
        _answer(rig, rig.sent()[-1])
    assert not flow.is_dead


def test_any_message_of_the_phone_is_life() -> None:
    """`sip.md` 14: a phone that registers is not dead because its OPTIONS got lost."""
    rig = Rig()
    flow = _kept(rig)
    rig.advance(30)
    _answer(rig, rig.sent()[0])
    for number in range(10):
        rig.advance(50)
        via = b"SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bKr%d" % number
        rig.hear(request(b"REGISTER", via=via))
    assert not flow.is_dead


def test_a_phone_that_never_answers_gets_crlf_and_is_not_judged() -> None:
    """`sip.md` 14: some phones drop OPTIONS; their flow is kept open all the same."""
    rig = Rig()
    flow = _kept(rig)
    rig.advance(600)
    sent = rig.sent()
    assert methods(sent[:3]) == [b"OPTIONS"] * 3
    assert set(sent[3:]) == {b"\r\n"}
    assert len(sent) > 18
    assert not flow.is_dead


def test_a_dead_flow_is_dead_until_the_phone_speaks() -> None:
    """`sip.md` 2, 14: 430 at once for its binding; a packet from the phone is a new flow."""
    rig = Rig()
    flow = _kept(rig)
    rig.advance(30)
    _answer(rig, rig.sent()[0])
    rig.advance(150)
    assert rig.flows.datagram(UDP, PHONE) is flow
    assert flow.is_dead
    rig.hear(request(b"REGISTER", via=b"SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bKnew"))
    assert rig.flows.datagram(UDP, PHONE) is not flow
    assert not rig.flows.datagram(UDP, PHONE).is_dead


def test_a_flow_whose_binding_has_ended_gets_nothing_and_costs_nothing() -> None:
    """`sip.md` 14: an unregistered phone is left alone; the wheel stops with its last flow."""
    rig = Rig()
    flow = _kept(rig, 40.0)
    rig.do(lambda: rig.flows.keep_alive(flow, CAROL, 70.0))  # each REGISTER says so again
    rig.advance(95)
    assert methods(rig.sent()) == [b"OPTIONS"] * 2
    assert rig.kernel.deadline() is None
    rig.advance(100)
    assert rig.sent() == []


def test_a_mute_phone_that_moved_leaves_no_flow_behind() -> None:
    """`sip.md` 14: it is never judged dead, so nothing but its binding's end frees its place."""
    rig = Rig()
    _kept(rig, 360.0)
    rig.advance(350)
    assert rig.sent()[-1] == b"\r\n"
    rig.advance(40)
    rig.sent()
    assert rig.kernel.deadline() is None


def test_a_late_answer_to_a_former_keepalive_bothers_nobody() -> None:
    """`sip.md` 9: it is ours by its branch, and no stray response."""
    rig = Rig()
    _kept(rig, 40.0)
    rig.advance(70)
    _answer(rig, rig.sent()[0])
    assert rig.user.strays == []


def test_requests_on_a_flow_that_dies_fail_at_once() -> None:
    """`sip.md` 14: the dead flow ends what waits for it."""
    rig = Rig()
    flow = _kept(rig)
    rig.advance(30)
    _answer(rig, rig.sent()[0])
    rig.advance(80)
    rig.ask(b"MESSAGE", flow)
    rig.advance(31)
    assert rig.user.failures == ["three keepalives unanswered"]
