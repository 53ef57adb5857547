"""Ports of a local fleet: ten per peer above the field's defaults, free ones where taken."""

import socket
from collections.abc import Iterator

import msgspec

STEP = 10
OVERLAY, SIP, SIP_TLS, SIP_PEER, HTTP = 6084, 5060, 5061, 5066, 8080


class PeerPorts(msgspec.Struct, frozen=True):
    """The ports of one peer; SIP means the same number on UDP and TCP."""

    overlay: int
    sip: int
    sip_tls: int
    sip_peer: int
    http: int
    has_ipv6: bool


def has_ipv6() -> bool:
    """Tell whether the loopback speaks IPv6."""
    return _is_free(socket.AF_INET6, socket.SOCK_STREAM, "::1", 0)


def is_own_address(host: str) -> bool:
    """Tell whether an IP literal is an address of this machine."""
    return _is_free(_family(host), socket.SOCK_STREAM, host, 0)


def choose(count: int, host: str, sip_host: str, sip_base: int = SIP) -> list[PeerPorts]:
    """Return free ports for so many peers, the usual ones wherever they are free."""
    ipv6 = has_ipv6()
    taken: set[int] = set()
    return [
        PeerPorts(
            overlay=_pick(OVERLAY + STEP * index, [host], taken),
            sip=_pick(sip_base + STEP * index, _hosts(sip_host, ipv6), taken, datagrams=True),
            sip_tls=_pick(sip_base + 1 + STEP * index, _hosts(sip_host, ipv6), taken),
            sip_peer=_pick(sip_base + 6 + STEP * index, [host], taken),
            http=_pick(HTTP + STEP * index, [host], taken),
            has_ipv6=ipv6,
        )
        for index in range(count)
    ]


def taken_ports(ports: PeerPorts, host: str, sip_host: str) -> list[int]:
    """Return which of a peer's ports somebody else has at present."""
    sip_hosts = _hosts(sip_host, ports.has_ipv6)
    checks = (
        (ports.overlay, [host], False),
        (ports.sip, sip_hosts, True),
        (ports.sip_tls, sip_hosts, False),
        (ports.sip_peer, [host], False),
        (ports.http, [host], False),
    )
    return [port for port, hosts, udp in checks if not _all_free(port, hosts, udp)]


def unusual(ports: list[PeerPorts], sip_base: int = SIP) -> Iterator[tuple[int, int]]:
    """Give the ports that are not the usual ones, as (usual, chosen)."""
    for index, each in enumerate(ports):
        usual = (
            (OVERLAY, each.overlay),
            (sip_base, each.sip),
            (sip_base + 1, each.sip_tls),
            (sip_base + 6, each.sip_peer),
            (HTTP, each.http),
        )
        for base, chosen in usual:
            if chosen != base + STEP * index:
                yield base + STEP * index, chosen


def _hosts(sip_host: str, ipv6: bool) -> list[str]:
    return [sip_host, "::1"] if ipv6 and sip_host == "127.0.0.1" else [sip_host]


def _pick(wanted: int, hosts: list[str], taken: set[int], *, datagrams: bool = False) -> int:
    port = wanted
    while port in taken or not _all_free(port, hosts, datagrams):
        with socket.socket(_family(hosts[0]), socket.SOCK_STREAM) as probe:
            probe.bind((hosts[0], 0))
            port = probe.getsockname()[1]
    taken.add(port)
    return port


def _all_free(port: int, hosts: list[str], datagrams: bool) -> bool:
    kinds = [socket.SOCK_STREAM, socket.SOCK_DGRAM] if datagrams else [socket.SOCK_STREAM]
    return all(_is_free(_family(host), kind, host, port) for host in hosts for kind in kinds)


def _is_free(family: int, kind: int, host: str, port: int) -> bool:
    try:
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:  # two datagram sockets would share the port with it
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError):  # the last: a port beyond 65,535
        return False
    return True


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
