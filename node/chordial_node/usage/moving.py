"""Phones of an edge that ends: who is still to be moved, and the mark that tells their callers.

fleet.md H2 and 2.3, sip.md 6. A phone behind a NAT or a Service belongs to its flow, and that ends
with the edge. Its binding is stored once more, marked, by the edge itself; what others do about
the mark stands in `holding.py`, in which order an edge ends in `drain.py`.
"""

import msgspec

from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.errors import OverlayError
from chordial_node.usage.bindings import Binding, Bindings, Change
from chordial_node.usage.delivery import Delivery
from chordial_node.usage.location import Location

AT_ONCE = 16
"""So many bindings are marked at the same time."""


class Moving:
    """The phones that only this edge reaches."""

    def __init__(
        self,
        kernel: Kernel,
        own: NodeId,
        location: Location,
        delivery: Delivery,
        short_seconds: int,
    ) -> None:
        """Hold what is known of phones; `short_seconds` is the longest of short registrations."""
        self._kernel = kernel
        self._own = own
        self._location = location
        self._delivery = delivery
        self.short_seconds = short_seconds

    @property
    def waiting(self) -> int:
        """How many phones would miss it for long if this edge ended now."""
        return sum(
            binding.registration.granted > self.short_seconds
            and self._delivery.is_held_here(resource, binding)
            for resource, binding in self._location.by_flow()
        )

    async def mark(self) -> int:
        """Mark the bindings of all phones that only this edge reaches; return how many are marked.

        From now on bindings made here are marked from the start.
        """
        self._delivery.is_ending = True
        left = self._location.by_flow()
        marked: list[bytes] = []
        ends: list[Reply[None]] = []
        for _ in range(min(AT_ONCE, len(left))):
            reply: Reply[None] = self._kernel.reply()
            ends.append(reply)
            self._kernel.start(self._mark_some(left, marked, reply))
        for reply in ends:
            await reply
        return len(marked)

    def cut(self) -> None:
        """Reach these phones by their flows no more, where there is another way."""
        self._delivery.is_cut = True

    async def _mark_some(
        self, left: list[tuple[ResourceId, Binding]], marked: list[bytes], end: Reply[None]
    ) -> None:
        while left:
            resource, binding = left.pop()
            try:
                if await self._mark_one(resource, binding.device):
                    marked.append(binding.device)
            except OverlayError:
                continue  # it ends as that of a killed peer, and so does the next one perhaps
        end.resolve(None)

    async def _mark_one(self, resource: ResourceId, device: bytes) -> bool:
        def decide(found: Bindings) -> list[Change]:
            present = found.get(device)
            if present is None or present.registration.edge != self._own:
                return []
            if present.registration.moving:
                return []
            now = msgspec.structs.replace(present.registration, moving=True)
            return [Change(device, now, now.call_id, now.cseq, present.expires_at_ms)]

        found = await self._location.find(resource)
        present = (await self._location.change(resource, found, decide)).get(device)
        return present is not None and present.registration.moving
