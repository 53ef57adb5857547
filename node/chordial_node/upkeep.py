"""What a running node looks after again and again: seeds' names, its own listeners, certificates.

Each is a loop that ends when its task is cancelled. What follows from what is found is the core's
to decide; nothing here depends on how the overlay is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Never

from chordial_node.adapters.dns import resolve
from chordial_node.boundary.events import Event, FaultFound, SeedsFound
from chordial_node.config import Endpoint

SEEK_SECONDS = 1.0
"""Between two look-ups of the seeds' names while this peer is in no ring."""
FOLLOW_SECONDS = 15.0
TRY_SECONDS = 5.0
MISSES = 3
"""So often a listener must be silent: a busy loop is late, and must not go out of service."""
LOOK_SECONDS = 5.0


async def follow_seeds(
    names: Sequence[Endpoint], tell: Callable[[Event], None], is_settled: Callable[[], bool]
) -> Never:
    """Tell what the seeds' names resolve to, whenever that changes."""
    last = None
    while True:
        found = await resolve(names)
        if found is not None and found != last:
            last = found
            tell(SeedsFound(found))
        await asyncio.sleep(FOLLOW_SECONDS if is_settled() else SEEK_SECONDS)


async def watch_listeners(
    find_fault: Callable[[], Awaitable[str]],
    tell: Callable[[Event], None],
    period: float = TRY_SECONDS,
) -> Never:
    """Try the own listeners, and tell when one is silent for long, and when none is any more."""
    misses = 0
    told = ""
    while True:
        await asyncio.sleep(period)
        fault = await find_fault()
        misses = misses + 1 if fault else 0
        if (misses >= MISSES or not fault) and fault != told:
            told = fault
            tell(FaultFound(fault))


async def follow_certificates(look: Callable[[], Awaitable[None]]) -> Never:
    """Look at the certificate files of listeners now and then."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        await look()
