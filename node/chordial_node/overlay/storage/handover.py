"""Handover: a leaving peer gives its range to those who will hold it afterwards.

`protocol.md` §5, "Leave", and RFC 6940 §10.7.3. The first successor becomes the owner, it and its
successors the set. The range is given while Stores still come in, then once more with Stores
refused, so that what is acknowledged is there when this peer goes. With nobody left to give it
to, nothing is handed over, the disk is kept, and that is said.
"""

from chordial_node.boundary.notices import RangeDegraded, RangeHandedOver
from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.storage.exchange import Exchange, Outcome
from chordial_node.overlay.storage.quorum import Quorum
from chordial_node.overlay.storage.ranges import Ranges, RingView
from chordial_node.overlay.storage.values import Values

ATTEMPT_SECONDS = 1.0


class Handover:
    """Gives the own range away, acknowledged by a majority of the set that takes it."""

    def __init__(
        self,
        kernel: Kernel,
        config: OverlayConfig,
        ring: RingView,
        ranges: Ranges,
        values: Values,
        exchange: Exchange,
    ) -> None:
        self._kernel = kernel
        self._config = config
        self._ring = ring
        self._ranges = ranges
        self._values = values
        self._exchange = exchange
        self.is_closed = False
        """Stores are refused: what was handed over is to be all there is."""

    async def prepare(self, seconds: float) -> bool:
        """Have those who hold the range after us in step, while Stores go on coming in."""
        deadline = self._kernel.now + seconds
        while self._ring.state == "joined" and self._ring.successors:
            own_range = self._ranges.own_range()
            if own_range is not None and await self._give(own_range):
                return True
            if self._kernel.now >= deadline:
                return False
            await self._kernel.sleep(ATTEMPT_SECONDS)
        return False

    async def run(self) -> int:
        """Return how many entries others have acknowledged to hold after us."""
        if self._ring.state != "joined":
            return 0
        if not self._ring.successors:
            reason = "nobody is left to hand the range to: the disk is kept"
            self._kernel.emit(RangeDegraded(reason=reason))
            return 0
        deadline = self._kernel.now + self._config.drain_timeout_seconds
        is_given = False
        own_range: tuple[bytes, bytes] | None = None
        while not is_given and self._kernel.now < deadline:
            own_range = self._ranges.own_range()
            if own_range is not None and await self._give(own_range):
                self.is_closed = True
                is_given = await self._give(own_range)
                is_given = is_given and own_range == self._ranges.own_range()
                self.is_closed = is_given
            if not is_given:
                await self._kernel.sleep(ATTEMPT_SECONDS)
        if own_range is None or not is_given:
            reason = "the range could not be handed over in time: the disk is kept"
            self._kernel.emit(RangeDegraded(reason=reason))
            return 0
        taker = self._ring.successors[0]
        await self._give(own_range, is_in_step=True)
        entries = sum(
            len(self._values.entries(*place)) for place in self._values.places(*own_range)
        )
        self._kernel.emit(RangeHandedOver(to=taker, entries=entries))
        return entries

    async def _give(self, own_range: tuple[bytes, bytes], *, is_in_step: bool = False) -> bool:
        """Bring the set to be in step; True when its owner and a majority of it hold everything.

        Once it is, that set is announced alone: nobody needs to be asked any more who left.
        """
        takers = self._ring.successors[: self._config.copies]
        if not takers:
            return False
        outcomes: dict[NodeId, Outcome] = {}
        ended = Quorum(self._kernel, len(takers), len(takers))
        for node in takers:
            self._kernel.start(self._give_to(node, own_range, is_in_step, outcomes, ended))
        await ended.reached
        holding = [node for node in takers if node in outcomes and outcomes[node].is_held]
        is_current = takers == self._ring.successors[: self._config.copies]
        return is_current and takers[0] in holding and len(holding) >= len(takers) // 2 + 1

    async def _give_to(
        self,
        node: NodeId,
        own_range: tuple[bytes, bytes],
        is_in_step: bool,
        outcomes: dict[NodeId, Outcome],
        ended: Quorum,
    ) -> None:
        takers = tuple(self._ring.successors[: self._config.copies])
        try:
            outcomes[node] = await self._exchange.sync(
                node,
                *own_range,
                as_owner=True,
                sets=(takers,) if is_in_step else (*self._ranges.announcement(), takers),
                handover=True,
            )
        finally:
            ended.succeed()
