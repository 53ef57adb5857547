"""SIP over UDP: one socket for each listener address, datagrams in and out.

Answers leave from the socket that the request came to (RFC 3261 §18.2.2, RFC 3581 §4). What a
datagram holds is not looked at.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

from chordial_node.boundary.effects import SendDatagram
from chordial_node.boundary.events import DatagramReceived, Event
from chordial_node.config import Endpoint

RECEIVE_BUFFER = 4 << 20
"""Asked of the kernel, which may grant less: a burst of REGISTERs waits here, not on the phone."""
LONGEST_SEND_QUEUE = 1 << 20
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 10, 23, 0  # Linux; not in `socket`


class SipUdp:
    """The datagram listeners of one peer."""

    def __init__(self, tell: Callable[[Event], None], unsent: Callable[[], None]) -> None:
        """Take whom to tell of what arrives, and of each datagram that could not be sent."""
        self._tell = tell
        self._unsent = unsent
        self._sockets: dict[int, _Listener] = {}

    async def listen(self, listener: int, bind: Endpoint) -> int:
        """Receive on an address, and return its port; OSError says why that cannot be."""
        bound = _socket(bind)
        try:
            _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Listener(listener, bound.family, self._tell), sock=bound
            )
        except BaseException:
            bound.close()
            raise
        self._sockets[listener] = protocol
        return int(bound.getsockname()[1])

    def send(self, effect: SendDatagram) -> None:
        """Perform `SendDatagram`."""
        found = self._sockets.get(effect.listener)
        if found is None or not found.send(effect.data, effect.destination):
            self._unsent()

    def close(self) -> None:
        """Close every socket."""
        for listener in self._sockets.values():
            listener.close()
        self._sockets.clear()


class _Transport(Protocol):
    """What the datagram transports of asyncio and uvloop have in common."""

    def sendto(self, data: bytes, addr: tuple[str, int]) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def close(self) -> None: ...


class _Listener(asyncio.DatagramProtocol):
    """One socket."""

    def __init__(
        self, number: int, family: socket.AddressFamily, tell: Callable[[Event], None]
    ) -> None:
        self._number = number
        self._family = family
        self._tell = tell
        self._transport: _Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("_Transport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._tell(DatagramReceived(self._number, (addr[0], addr[1]), data))

    def error_received(self, exc: Exception) -> None:
        """An ICMP error of an earlier datagram says nothing about which: timers tell."""

    def send(self, data: bytes, destination: tuple[str, int]) -> bool:
        """Send, unless the address is of another family or the kernel is too far behind."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() > LONGEST_SEND_QUEUE:
            return False
        host, port = destination
        if not 0 < port < 65_536:
            return False
        try:
            socket.inet_pton(self._family, host.partition("%")[0])
            transport.sendto(data, destination)
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


def _socket(bind: Endpoint) -> socket.socket:
    is_ipv6 = ":" in bind.host
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if is_ipv6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        else:  # without DF: a large INVITE is fragmented, not lost (sip: rule 20)
            made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        made.bind(bind.address)
    except BaseException:
        made.close()
        raise
    return made
