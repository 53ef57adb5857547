"""Asks this peer's own UDP listeners whether they answer: OPTIONS, as a phone would (fleet H5).

A listener that a phone cannot use makes this peer unready; what is wrong elsewhere does not. Any
answer is life, whatever it says.
"""

import asyncio
import secrets
import socket

from chordial_node.config import Endpoint

ANSWER_SECONDS = 2.0
_LONGEST = 4_096


async def udp_answers(listener: Endpoint) -> bool:
    """Tell whether a UDP listener of this process answers an OPTIONS in time."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        try:
            asker.bind((listener.host, 0))
            asker.connect(listener.address)
            own = Endpoint(*asker.getsockname()[:2])
            asker.send(_options(listener, own))
            await asyncio.wait_for(_readable(asker), ANSWER_SECONDS)
            return bool(asker.recv(_LONGEST))
        except OSError:  # a time-out is one, and so is an ICMP error: nobody listens
            return False


async def _readable(asker: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(asker, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(asker)


def _options(listener: Endpoint, own: Endpoint) -> bytes:
    """Max-Forwards 0: who gets it answers it, whatever it thinks of the URI (RFC 3261 §16.3)."""
    mark = secrets.token_hex(8)
    return (
        f"OPTIONS sip:{listener} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {own};branch=z9hG4bK{mark};rport\r\n"
        f"Max-Forwards: 0\r\nFrom: <sip:{own}>;tag={mark}\r\nTo: <sip:{listener}>\r\n"
        f"Call-ID: {mark}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()
