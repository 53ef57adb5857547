"""Datagrams over real sockets, IPv4 and IPv6, on both event loops."""

import socket

import pytest

from chordial_node.adapters.sip_udp import SipUdp
from chordial_node.boundary.effects import SendDatagram
from chordial_node.boundary.events import DatagramReceived
from chordial_node.config import Endpoint
from tests.node.adapters.overlay_rig import Told, on_both_loops


def unwanted() -> None:
    raise AssertionError("a datagram was not sent")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_both_loops
async def test_datagrams_come_and_go_on_the_same_address(host: str) -> None:
    told_a, told_b = Told(), Told()
    a, b = SipUdp(told_a, unwanted), SipUdp(told_b, unwanted)
    port_a = await a.listen(3, Endpoint(host, 0))
    port_b = await b.listen(0, Endpoint(host, 0))
    largest = b"x" * 65_000
    for data in (b"first", b"", largest):
        a.send(SendDatagram(3, (host, port_b), data))
    await told_b.until(lambda e: isinstance(e, DatagramReceived) and e.data == largest)
    b.send(SendDatagram(0, (host, port_a), b"back"))
    assert await told_a.until(lambda _: True) == DatagramReceived(3, (host, port_b), b"back")
    assert told_b.events[0] == DatagramReceived(0, (host, port_a), b"first")
    a.close()
    b.close()


@on_both_loops
async def test_what_cannot_be_sent_is_counted() -> None:
    unsent: list[int] = []
    udp = SipUdp(Told(), lambda: unsent.append(1))
    await udp.listen(0, Endpoint("127.0.0.1", 0))
    for listener, destination in (
        (0, ("::1", 5060)),
        (0, ("phone.chordial.test", 5060)),
        (0, ("127.0.0.1", 70_000)),
        (7, ("127.0.0.1", 5060)),
    ):
        udp.send(SendDatagram(listener, destination, b"x"))
    assert len(unsent) == 4
    udp.close()


@on_both_loops
async def test_a_phone_that_is_gone_disturbs_nobody() -> None:
    told = Told()
    udp = SipUdp(told, unwanted)
    port = await udp.listen(0, Endpoint("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        gone = phone.getsockname()
    udp.send(SendDatagram(0, gone, b"x"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.sendto(b"hello", ("127.0.0.1", port))
        await told.until(lambda e: isinstance(e, DatagramReceived) and e.data == b"hello")
    udp.close()


@on_both_loops
async def test_a_port_in_use_is_an_error_of_the_system() -> None:
    udp = SipUdp(Told(), unwanted)
    port = await udp.listen(0, Endpoint("127.0.0.1", 0))
    with pytest.raises(OSError, match="in use"):
        await udp.listen(1, Endpoint("127.0.0.1", port))
    udp.close()
