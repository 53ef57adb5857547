"""Repair: brings the own range in step with its set, after each change and now and then.

`protocol.md` §5 and RFC 6940 §10.7.3. A round compares the own range with the peers that hold
copies of it or may know more of it, first with the one that ceded it to us, until nothing new is
found; then `ranges.py` judges. What is held outside of any role is offered to its owner after
that. Stores and fetches go on meanwhile.
"""

from chordial_node.boundary.notices import RangeInStep
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.timers import Timer
from chordial_node.overlay.errors import OverlayError
from chordial_node.overlay.storage.exchange import Exchange, Outcome
from chordial_node.overlay.storage.journal import Journal
from chordial_node.overlay.storage.quorum import Quorum
from chordial_node.overlay.storage.ranges import Ranges
from chordial_node.overlay.storage.strays import Strays
from chordial_node.overlay.storage.values import Values

PERIOD_SECONDS = 10.0
"""Between rounds of a range in step, spread by a quarter."""
RETRY_SECONDS = 1.0
"""Between rounds of a range that is not in step."""
GAP_SECONDS = 0.2
"""Between two rounds, whatever happens."""
PASSES = 4
"""A round compares at most so often before it is tried again."""


class Repair:
    """Runs one round of repair at a time."""

    def __init__(
        self,
        kernel: Kernel,
        ranges: Ranges,
        values: Values,
        journal: Journal,
        exchange: Exchange,
        strays: Strays,
    ) -> None:
        self._kernel = kernel
        self._ranges = ranges
        self._values = values
        self._journal = journal
        self._exchange = exchange
        self._strays = strays
        self._timer: Timer | None = None
        self._is_running = False
        self._is_wanted = False
        self._is_stopped = False
        self._ended = -GAP_SECONDS

    def start(self) -> None:
        """Begin with the periodic rounds."""
        self._arm(GAP_SECONDS)

    def stop(self) -> None:
        """Make no further rounds."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def soon(self) -> None:
        """Make a round as soon as may be: something has changed."""
        self._is_wanted = True
        if not self._is_running:
            self._arm(max(0.0, self._ended + GAP_SECONDS - self._kernel.now))

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_stopped:
            self._timer = self._kernel.after(seconds, self._begin)

    def _begin(self) -> None:
        self._is_running = True
        self._is_wanted = False
        self._kernel.start(self._run())

    async def _run(self) -> None:
        try:
            await self._round()
        finally:
            self._is_running = False
            self._ended = self._kernel.now
            if self._is_wanted:
                self._arm(GAP_SECONDS)
            elif self._ranges.in_step:
                self._arm(self._kernel.jittered(PERIOD_SECONDS))
            else:
                self._arm(self._kernel.jittered(RETRY_SECONDS))

    async def _round(self) -> None:
        ranges = self._ranges
        ranges.refresh()
        own_range = ranges.own_range()
        if own_range is None:
            return
        outcomes: dict[NodeId, Outcome] = {}
        for _ in range(PASSES):
            epoch = ranges.epoch
            outcomes = await self._compare(*own_range)
            if ranges.epoch != epoch:
                self._is_wanted = True
                return
            if not any(outcome.changed for outcome in outcomes.values()):
                break
        try:
            await self._journal.settled()
        except OverlayError:
            return  # what is not on the own disk is on no majority
        if ranges.epoch != epoch:
            self._is_wanted = True
            return
        is_settled = not any(outcome.changed for outcome in outcomes.values())
        compared = {n: o.is_complete for n, o in outcomes.items() if o.is_compared}
        held_by = [n for n, o in outcomes.items() if o.is_held and is_settled]
        if ranges.conclude(compared, held_by):
            entries = sum(
                len(self._values.entries(*place)) for place in self._values.places(*own_range)
            )
            self._kernel.emit(RangeInStep(entries=entries))
            self._is_wanted = True  # one more round tells the members, who then forget older sets
        await self._strays.offer()

    async def _compare(self, after: bytes, last: bytes) -> dict[NodeId, Outcome]:
        """Compare the own range with everyone it concerns: the first alone, the others together.

        Who comes first has most of what is new; the others then have little left to tell.
        """
        nodes = self._ranges.to_compare()
        outcomes: dict[NodeId, Outcome] = {}
        if nodes:
            await self._compare_with(nodes[0], after, last, outcomes, None)
        others = nodes[1:]
        all_ended = Quorum(self._kernel, len(others), len(others))
        for node in others:
            self._kernel.start(self._compare_with(node, after, last, outcomes, all_ended))
        await all_ended.reached
        return outcomes

    async def _compare_with(
        self,
        node: NodeId,
        after: bytes,
        last: bytes,
        outcomes: dict[NodeId, Outcome],
        ended: Quorum | None,
    ) -> None:
        sets = self._ranges.announcement()
        try:
            outcomes[node] = await self._exchange.sync(node, after, last, as_owner=True, sets=sets)
        finally:
            if ended is not None:
                ended.succeed()
