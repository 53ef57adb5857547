"""Ports of a fleet: the usual ones, and free ones where somebody else has them."""

import socket

from chordial_node.cli import ports


def test_ports_are_distinct_and_ten_apart_where_they_are_free() -> None:
    chosen = ports.choose(5, "127.0.0.1", "127.0.0.1")
    numbers = [
        number
        for each in chosen
        for number in (each.overlay, each.sip, each.sip_tls, each.sip_peer, each.http)
    ]
    assert len(set(numbers)) == len(numbers)


def test_a_taken_port_is_avoided_and_said() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        base = holder.getsockname()[1]
        chosen = ports.choose(1, "127.0.0.1", "127.0.0.1", base)
        assert chosen[0].sip != base
        assert (base, chosen[0].sip) in list(ports.unusual(chosen, base))


def test_what_somebody_else_has_taken_since_is_found() -> None:
    chosen = ports.choose(1, "127.0.0.1", "127.0.0.1")[0]
    assert ports.taken_ports(chosen, "127.0.0.1", "127.0.0.1") == []
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.bind(("127.0.0.1", chosen.http))
        holder.listen()
        assert ports.taken_ports(chosen, "127.0.0.1", "127.0.0.1") == [chosen.http]


def test_a_datagram_port_that_others_may_share_is_taken_all_the_same() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        base = holder.getsockname()[1]
        assert ports.choose(1, "127.0.0.1", "127.0.0.1", base)[0].sip != base


def test_ports_beyond_the_last_are_none() -> None:
    chosen = ports.choose(2, "127.0.0.1", "127.0.0.1", 65_529)
    assert max(each.sip for each in chosen) < 65_536


def test_an_address_of_this_machine_is_told_from_others() -> None:
    assert ports.is_own_address("127.0.0.1")
    assert not ports.is_own_address("192.0.2.1")
    assert not ports.is_own_address("no.such.host.invalid")
