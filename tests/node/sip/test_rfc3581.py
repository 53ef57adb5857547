"""RFC 3581 and RFC 3261 §18.2: where a request came from, and where its answer goes."""

import pytest

from chordial_node.boundary.events import Address, FlowLost, FlowReceived
from chordial_node.sip.message import Message
from tests.node.sip.flow_rig import OTHER, PEER, TCP, UDP, UDP6, Rig, request, statuses

NAT: Address = ("198.51.100.7", 40_112)


def _answered(via: bytes, source: Address, listener: int = UDP) -> bytes:
    """The topmost Via of the answer to a request."""
    rig = Rig()
    rig.hear(request(b"MESSAGE", via=via), source, listener)
    rig.respond(rig.user.requests[0], 200)
    (answer,) = rig.sent()
    return Message.parse(answer).first(b"via") or b""


@pytest.mark.parametrize(
    ("via", "noted"),
    [
        (b";rport", b";rport=40112;received=198.51.100.7"),
        (b";rport=1", b";rport=40112;received=198.51.100.7"),
        (b"", b";received=198.51.100.7"),
        (b";received=10.9.9.9", b";received=198.51.100.7"),
    ],
)
def test_the_source_is_noted_in_the_topmost_via(via: bytes, noted: bytes) -> None:
    """RFC 3581 §4, RFC 3261 §18.2.1: received and rport are ours to write, never the phone's."""
    plain = b"SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bKa"
    answered = _answered(plain + via, NAT)
    assert answered == plain + noted


def test_with_rport_the_answer_goes_to_the_source_port() -> None:
    """RFC 3581 §4: to the address and port that the request came from, by the same listener."""
    rig = Rig()
    rig.hear(request(b"MESSAGE", via=b"SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bKa;rport"), NAT)
    rig.respond(rig.user.requests[0], 200)
    assert rig.destinations() == [(UDP, NAT)]


@pytest.mark.parametrize(("port", "expected"), [(b":5064", 5064), (b"", 5060)])
def test_without_rport_the_answer_goes_to_the_port_of_sent_by(port: bytes, expected: int) -> None:
    """RFC 3261 §18.2.2: received address, port of sent-by, 5060 where it names none."""
    rig = Rig()
    via = b"SIP/2.0/UDP 192.0.2.7" + port + b";branch=z9hG4bKa"
    rig.hear(request(b"MESSAGE", via=via), ("192.0.2.7", 49_152))
    rig.respond(rig.user.requests[0], 200)
    assert rig.destinations() == [(UDP, ("192.0.2.7", expected))]


def test_a_via_never_chooses_the_host_of_an_answer() -> None:
    """RFC 3261 §18.2.2, `sip.md` 2: nobody is sent anything for a forged received or maddr."""
    rig = Rig()
    via = b"SIP/2.0/UDP victim.test:53;branch=z9hG4bKa;received=192.0.2.66;maddr=192.0.2.66"
    rig.hear(request(b"MESSAGE", via=via), NAT)
    rig.respond(rig.user.requests[0], 200)
    assert rig.destinations() == [(UDP, ("198.51.100.7", 53))]


def test_an_ipv6_source_is_noted_without_brackets() -> None:
    """RFC 3581 §4, RFC 5118 §4.5: received is an address, not a host in a URI."""
    via = b"SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKa;rport"
    answered = _answered(via, ("2001:db8::99", 5070), UDP6)
    assert answered.endswith(b";rport=5070;received=2001:db8::99")


def test_a_malformed_request_is_answered_to_its_source() -> None:
    """RFC 3261 §18.2.1, §21.4.1: 400 where a Via tells the way back, without a transaction."""
    rig = Rig()
    via = b"SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bKa;rport"
    rig.hear(request(b"MESSAGE", via=via).replace(b"Call-ID: c1\r\n", b""), NAT)
    assert rig.destinations() == [(UDP, NAT)]
    assert rig.sent()[0].startswith(b"SIP/2.0 400 Missing call-id\r\n")
    assert rig.kernel.counters.sip_bad_messages == 1
    assert rig.transactions.count == 0
    assert rig.user.calls == 0


def test_an_answer_over_tcp_takes_the_same_connection() -> None:
    """RFC 3261 §18.2.2: over a reliable transport the connection of the request is used."""
    rig = Rig()
    rig.accept(1)
    rig.tell(FlowReceived(1, request(via=b"SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bKa")))
    rig.respond(rig.user.requests[0], 486)
    assert statuses(rig.sent()) == [486]
    assert rig.opened() == []


def test_an_answer_over_tcp_is_dialed_when_its_connection_is_gone() -> None:
    """RFC 3261 §18.2.2: a new connection to the received address and the port of sent-by."""
    rig = Rig()
    rig.accept(1)
    rig.tell(FlowReceived(1, request(via=b"SIP/2.0/TCP 192.0.2.7:5066;branch=z9hG4bKa")))
    rig.tell(FlowLost(1, "reset"))
    rig.respond(rig.user.requests[0], 486)
    (opened,) = rig.opened()
    assert (opened.listener, opened.address) == (TCP, ("192.0.2.7", 5066))
    assert opened.node is None


def test_the_via_of_a_peer_is_left_as_it_is() -> None:
    """`sip.md` 8: the sent-by between peers is a Node-ID; answers take a connection with it."""
    rig = Rig()
    rig.accept(1, PEER, ("10.0.0.2", 33_000), OTHER)
    via = b"SIP/2.0/TLS " + OTHER.hex().encode() + b".peer.invalid;branch=z9hG4bKa"
    rig.tell(FlowReceived(1, request(via=via)))
    assert rig.user.requests[0].request.marked_via is None
