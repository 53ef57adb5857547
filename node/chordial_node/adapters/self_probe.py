"""Asks this peer's own UDP listeners whether they answer: OPTIONS, as a phone would (fleet H5).

A listener that a phone cannot use makes this peer unready; what is wrong elsewhere does not. Any
answer is life, whatever it says.
"""

import asyncio
import secrets
from contextlib import suppress

from chordial_node.config import Endpoint

ANSWER_SECONDS = 2.0


async def udp_answers(listener: Endpoint) -> bool:
    """Tell whether a UDP listener of this process answers an OPTIONS in time."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()
    try:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Asker(listener, answered),
            local_addr=(listener.host, 0),
            remote_addr=listener.address,
        )
    except OSError:
        return False
    try:
        with suppress(TimeoutError, OSError):
            await asyncio.wait_for(asyncio.shield(answered), ANSWER_SECONDS)
        return answered.done() and answered.exception() is None
    finally:
        answered.cancel()
        transport.close()


class _Asker(asyncio.DatagramProtocol):
    def __init__(self, listener: Endpoint, answered: "asyncio.Future[None]") -> None:
        self._listener = listener
        self._answered = answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        host, port = transport.get_extra_info("sockname")[:2]
        transport.sendto(_options(self._listener, Endpoint(host, port)))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._answered.done():
            self._answered.set_result(None)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)


def _options(listener: Endpoint, own: Endpoint) -> bytes:
    """Max-Forwards 0: who gets it answers it, whatever it thinks of the URI (RFC 3261 §16.3)."""
    mark = secrets.token_hex(8)
    return (
        f"OPTIONS sip:{listener} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {own};branch=z9hG4bK{mark};rport\r\n"
        f"Max-Forwards: 0\r\nFrom: <sip:{own}>;tag={mark}\r\nTo: <sip:{listener}>\r\n"
        f"Call-ID: {mark}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()
