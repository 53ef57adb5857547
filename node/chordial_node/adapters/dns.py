"""Resolves the names among the seeds: each time anew, because pods come and go behind one name.

Only addresses leave here. A name that cannot be resolved is no fault: nobody may be there yet.
"""

import asyncio
import socket
from collections.abc import Sequence
from random import SystemRandom

from chordial_node.boundary.events import Address
from chordial_node.config import Endpoint

MOST_ADDRESSES = 64
"""Of more, some are drawn: each of them knows all others."""


async def resolve(seeds: Sequence[Endpoint]) -> tuple[Address, ...] | None:
    """Return the addresses of all names, sorted; None when no name can be resolved at present."""
    found: dict[Address, None] = {}
    loop = asyncio.get_running_loop()
    is_answered = False
    for seed in seeds:
        try:
            answers = await loop.getaddrinfo(*seed.address, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            continue
        is_answered = True
        for *_, address in answers:
            found[str(address[0]), seed.port] = None
    if not is_answered:
        return None
    addresses = sorted(found)
    if len(addresses) > MOST_ADDRESSES:
        addresses = sorted(SystemRandom().sample(addresses, MOST_ADDRESSES))
    return tuple(addresses)
