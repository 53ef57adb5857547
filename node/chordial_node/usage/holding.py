"""Requests to phones that move: held until the phone has registered with its next edge.

fleet.md H2, sip.md 6: an edge that ends marks the bindings that only it could reach. Until such a
phone comes again, within a short registration, a request to it waits for the newer binding. Held
requests are bounded in time and number; what becomes of a request then is `proxy.py`'s business.
"""

from collections.abc import Callable

from chordial_node.ids import ResourceId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import OverlayError
from chordial_node.usage.bindings import Bindings
from chordial_node.usage.location import Location

HOLD_SECONDS = 20.0
"""Also less than Timer F: what is no INVITE has no 100 to hold it up."""
LOOK_SECONDS = 1.0
MOST_HELD = 2_000


class Holding:
    """Waits for newer bindings of phones that move."""

    def __init__(self, kernel: Kernel, location: Location) -> None:
        """Hold nothing yet."""
        self._kernel = kernel
        self._location = location
        self._held = 0

    async def wait(
        self,
        resource: ResourceId,
        found: Bindings,
        is_over: Callable[[Bindings], bool],
        trace: Trace | None = None,
    ) -> Bindings:
        """Return the bindings of an AOR once they end the wait, or the last ones after a time."""
        if self._held >= MOST_HELD:
            return found
        until = self._kernel.now + HOLD_SECONDS
        self._held += 1
        self._kernel.counters.sip_requests_held += 1
        try:
            while self._kernel.now < until and not is_over(found):
                await self._kernel.sleep(LOOK_SECONDS)
                try:
                    found = await self._location.find(resource, trace)
                except OverlayError:
                    continue  # the ring changes as well: look again
        finally:
            self._held -= 1
        return found


def is_moving(found: Bindings) -> bool:
    """Tell whether a phone of these bindings is about to come again elsewhere."""
    return any(binding.registration.moving for binding in found.live)
