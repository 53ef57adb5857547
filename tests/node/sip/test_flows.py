"""Flows: one object for each way, connections that open, fail, idle and end."""

import pytest

from chordial_node.boundary.effects import OpenFlow, WriteFlow
from chordial_node.boundary.events import FlowFailed, FlowLost, FlowOpened, FlowReceived
from chordial_node.boundary.notices import FlowDied
from chordial_node.ids import NodeId
from chordial_node.sip.datagrams import MOST_DATAGRAM_FLOWS
from chordial_node.sip.flows import MOST_QUEUED_BYTES, Flow
from chordial_node.sip.framing import MAX_HEAD
from chordial_node.sip.response import respond
from tests.node.sip.flow_rig import (
    LOWER,
    OTHER,
    PEER,
    PEER_ADDRESS,
    PHONE,
    TCP,
    UDP,
    Rig,
    request,
    statuses,
)

TCP_VIA = b"SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bKa"


def _peer_via(node: NodeId) -> bytes:
    return b"SIP/2.0/TLS " + node.hex().encode() + b".peer.invalid;branch=z9hG4bKp"


def _to_peer(rig: Rig, node: NodeId = OTHER) -> Flow:
    found: list[Flow] = []
    rig.do(lambda: found.append(rig.flows.to_peer(node, PEER_ADDRESS)))
    return found[0]


# datagrams -------------------------------------------------------------------------------------


def test_the_same_listener_and_address_are_the_same_flow() -> None:
    rig = Rig()
    rig.hear(request(b"MESSAGE"))
    flow = rig.user.requests[0].flow
    assert rig.flows.datagram(UDP, PHONE) is flow
    assert rig.flows.datagram(UDP, ("192.0.2.7", 5061)) is not flow
    assert flow.is_open
    assert not flow.is_reliable
    assert repr(flow) == "udp/192.0.2.7:5060"


def test_remembered_datagram_flows_are_bounded() -> None:
    rig = Rig()
    rig.hear(request(b"MESSAGE"))
    old = rig.phone_flow()
    silent = rig.flows.datagram(UDP, ("198.51.100.1", 1))
    for port in range(MOST_DATAGRAM_FLOWS - 2):
        rig.flows.datagram(UDP, (f"10.0.{port >> 12}.1", port & 4095))
    rig.hear(request(b"OPTIONS"))  # in use, so not the next to be forgotten
    rig.flows.datagram(UDP, ("198.51.100.2", 1))
    assert rig.phone_flow() is old
    assert rig.flows.datagram(UDP, ("198.51.100.1", 1)) is not silent


def test_what_is_no_sip_is_dropped_in_silence() -> None:
    rig = Rig()
    rig.hear(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    rig.hear(b"\x80" * 200)
    rig.hear(b"SIP/2.0 9999 What\r\n\r\n")
    assert rig.sent() == []
    assert rig.kernel.counters.sip_bad_messages == 3


def test_scanners_are_dropped_before_anything_is_parsed() -> None:
    rig = Rig()
    scan = request(b"OPTIONS").replace(
        b"Max-Forwards", b"User-Agent: friendly-scanner\r\nMax-Forwards"
    )
    rig.hear(scan)
    assert rig.kernel.counters.sip_scanners_dropped == 1
    assert rig.sent() == []
    rig.accept(1)
    rig.tell(FlowReceived(1, scan))
    assert rig.closed() == [1]
    assert rig.kernel.counters.sip_scanners_dropped == 2


# connections -----------------------------------------------------------------------------------


def test_messages_wait_while_a_connection_opens() -> None:
    rig = Rig()
    flow = _to_peer(rig)
    rig.do(lambda: rig.flows.send(flow, b"one"))
    rig.do(lambda: rig.flows.send(flow, b"two"))
    assert rig.opened() == [OpenFlow(2, PEER, PEER_ADDRESS, OTHER)]
    assert not flow.is_open
    assert rig.sent() == []
    rig.tell(FlowOpened(2, PEER, PEER_ADDRESS, OTHER))
    assert [effect for _, effect in rig.effects if isinstance(effect, WriteFlow)] == [
        WriteFlow(2, b"one"),
        WriteFlow(2, b"two"),
    ]
    assert flow.is_open


def test_what_waits_for_a_connection_is_bounded() -> None:
    rig = Rig()
    flow = _to_peer(rig)
    for _ in range(3):
        rig.do(lambda: rig.flows.send(flow, b"x" * (MOST_QUEUED_BYTES // 2)))
    rig.tell(FlowOpened(2, PEER, PEER_ADDRESS, OTHER))
    assert len(rig.sent()) == 2
    assert rig.kernel.counters.datagrams_dropped == 1


def test_a_connection_that_fails_to_open_is_lost_once() -> None:
    rig = Rig()
    flow = _to_peer(rig)
    rig.ask(b"INVITE", flow)
    rig.tell(FlowFailed(2, "connection refused"))
    rig.tell(FlowLost(2, "again"))
    assert rig.user.lost == [(flow, "connection refused")]
    assert rig.user.failures == ["connection refused"]
    assert flow.is_dead
    assert _to_peer(rig) is not flow


def test_an_accepted_connection_that_ends_is_told() -> None:
    rig = Rig()
    flow = rig.accept(1)
    rig.tell(FlowReceived(1, request(via=TCP_VIA)))
    rig.tell(FlowLost(1, "reset"))
    assert rig.user.lost == [(flow, "reset")]
    assert rig.notices() == [FlowDied("tcp/192.0.2.7:40000", "reset")]
    assert rig.flows.find_connection(TCP, ("192.0.2.7", 40_000)) is None


def test_bytes_are_cut_into_messages_wherever_they_arrive() -> None:
    rig = Rig()
    rig.accept(1)
    for byte in request(b"MESSAGE", via=TCP_VIA):
        rig.tell(FlowReceived(1, bytes((byte,))))
    assert len(rig.user.requests) == 1


def test_a_lost_boundary_is_answered_and_ends_the_connection() -> None:
    rig = Rig()
    rig.accept(1)
    rig.tell(FlowReceived(1, request(via=TCP_VIA).replace(b"Content-Length: 0\r\n", b"")))
    assert statuses(rig.sent()) == [400]
    assert rig.closed() == [1]
    assert [reason for _, reason in rig.user.lost] == ["Missing Content-Length"]


def test_an_endless_header_ends_the_connection_in_silence() -> None:
    rig = Rig()
    rig.accept(1)
    rig.tell(FlowReceived(1, b"INVITE sip:b@h SIP/2.0\r\nX: " + b"x" * MAX_HEAD))
    assert rig.sent() == []
    assert rig.closed() == [1]


def test_a_malformed_message_on_a_connection_is_answered_and_the_next_is_read() -> None:
    rig = Rig()
    rig.accept(1)
    good = request(b"MESSAGE", via=TCP_VIA)
    rig.tell(FlowReceived(1, good.replace(b"Call-ID: c1\r\n", b"") + good))
    assert statuses(rig.sent()) == [400]
    assert len(rig.user.requests) == 1
    assert rig.closed() == []


def test_a_connection_that_says_nothing_is_ended_after_ten_seconds() -> None:
    rig = Rig()
    rig.accept(1)
    rig.accept(3, TCP, ("192.0.2.8", 40_000))
    rig.tell(FlowReceived(3, request(via=TCP_VIA)))
    rig.advance(9)
    assert rig.closed() == []
    rig.advance(4)
    assert rig.closed() == [1]
    rig.advance(600)
    assert rig.closed() == [1]
    assert rig.notices() == []  # no phone of ours


def test_contacts_are_dialed_once() -> None:
    rig = Rig()
    flow = rig.dial()
    found: list[Flow] = []
    rig.do(lambda: found.append(rig.flows.connect(TCP, ("192.0.2.7", 5060))))
    assert found == [flow]
    assert len(rig.opened()) == 1


def test_an_opening_that_was_given_up_is_ignored() -> None:
    rig = Rig()
    flow = _to_peer(rig)
    rig.do(lambda: rig.flows.close(flow, "not needed"))
    assert rig.closed() == [2]
    rig.tell(FlowOpened(2, PEER, PEER_ADDRESS, OTHER))
    rig.tell(FlowReceived(2, request()))
    assert rig.user.requests == []


# peers -----------------------------------------------------------------------------------------


def test_one_connection_serves_a_pair_of_peers_in_both_directions() -> None:
    rig = Rig()
    flow = rig.accept(1, PEER, ("10.0.0.2", 33_000), OTHER)
    assert _to_peer(rig) is flow
    assert rig.opened() == []
    assert flow.is_peer


@pytest.mark.parametrize(("node", "dialed_wins"), [(OTHER, True), (LOWER, False)])
def test_of_two_crossing_connections_that_of_the_lower_node_id_is_used(
    node: NodeId, dialed_wins: bool
) -> None:
    rig = Rig()
    dialed = _to_peer(rig, node)
    accepted = rig.accept(1, PEER, ("10.0.0.2", 33_000), node)
    assert _to_peer(rig, node) is accepted  # the only one that is open
    rig.tell(FlowOpened(2, PEER, PEER_ADDRESS, node))
    assert _to_peer(rig, node) is (dialed if dialed_wins else accepted)


def test_an_idle_connection_between_peers_is_closed_after_two_minutes() -> None:
    rig = Rig()
    flow = _to_peer(rig)
    rig.tell(FlowOpened(2, PEER, PEER_ADDRESS, OTHER))
    rig.advance(100)
    rig.do(lambda: rig.flows.send(flow, b"x"))
    rig.advance(119)
    assert rig.closed() == []
    rig.advance(4)
    assert rig.closed() == [2]
    assert rig.user.lost == [(flow, "idle")]
    assert rig.kernel.deadline() is None


def test_a_connection_on_which_a_call_rings_is_not_idle() -> None:
    rig = Rig()
    flow = _to_peer(rig)
    rig.tell(FlowOpened(2, PEER, PEER_ADDRESS, OTHER))
    run = rig.ask(b"INVITE", flow)
    rig.tell(FlowReceived(2, respond(run.request, 180, to_tag=b"t")))
    rig.advance(170)
    assert rig.closed() == []
    rig.tell(FlowReceived(2, respond(run.request, 486, to_tag=b"t")))
    rig.advance(124)
    assert rig.closed() == [2]


def test_a_certificate_of_another_peer_ends_the_connection() -> None:
    rig = Rig()
    flow = _to_peer(rig)
    rig.tell(FlowOpened(2, PEER, PEER_ADDRESS, LOWER))
    assert rig.closed() == [2]
    assert rig.user.lost == [(flow, "the certificate names another peer")]


def test_nobody_without_a_certificate_is_accepted_as_a_peer() -> None:
    rig = Rig()
    rig.tell(FlowOpened(1, PEER, PEER_ADDRESS, None))
    assert rig.closed() == [1]
    assert rig.kernel.counters.sip_refused == 1


def test_a_request_of_a_peer_must_name_that_peer() -> None:
    rig = Rig()
    rig.accept(1, PEER, ("10.0.0.2", 33_000), OTHER)
    rig.tell(FlowReceived(1, request(via=_peer_via(LOWER))))
    assert statuses(rig.sent()) == [403]
    assert rig.user.requests == []
    rig.tell(FlowReceived(1, request(via=_peer_via(OTHER))))
    assert len(rig.user.requests) == 1


def test_an_answer_to_a_peer_takes_whatever_connection_there_is() -> None:
    rig = Rig()
    rig.accept(1, PEER, ("10.0.0.2", 33_000), OTHER)
    rig.tell(FlowReceived(1, request(via=_peer_via(OTHER))))
    rig.tell(FlowLost(1, "reset"))
    rig.accept(3, PEER, ("10.0.0.2", 33_001), OTHER)
    rig.respond(rig.user.requests[0], 486)
    writes = [effect for _, effect in rig.effects if isinstance(effect, WriteFlow)]
    assert [write.flow for write in writes] == [3]


def test_via_names_the_listener_or_the_peer() -> None:
    rig = Rig()
    assert rig.flows.via(rig.phone_flow(), b"z9hG4bKx") == (
        b"SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bKx;rport"
    )
    assert rig.flows.via(_to_peer(rig), b"z9hG4bKx") == (
        b"SIP/2.0/TLS " + b"40" * 16 + b".peer.invalid;branch=z9hG4bKx"
    )
