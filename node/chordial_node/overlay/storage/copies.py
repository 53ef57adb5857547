"""The other copies: asking them before an answer, and taking up what they know.

`protocol.md` §5 and RFC 6940 §10.4. An owner that may not answer alone asks first, key by key,
merges what it finds, and writes that to a majority (`spreading.py`) before it answers. Which peers
these are is `ranges.py`'s to know.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel, TimedOutError
from chordial_node.kernel.procedures import Reply
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import order_of
from chordial_node.overlay.messages import (
    FetchAnswer,
    FetchRequest,
    ReplicaItem,
    ReplicateRequest,
)
from chordial_node.overlay.storage.journal import Journal
from chordial_node.overlay.storage.ranges import Criterion, Ranges
from chordial_node.overlay.storage.spreading import ACKNOWLEDGE_SECONDS, Asker, Spreading
from chordial_node.overlay.storage.values import Values, record_of

ASK_SECONDS = 2.0
"""A silent member is waited for this long before the range is degraded."""
ASK_ROUNDS = 3
"""What was asked counts only for the ring that stands afterwards: it is asked again so often."""
MAX_ASKING = 2_000
"""Resources that are asked for at one time, and requests that wait for one of them."""


class Taken:
    """What merging changed, and when it is on disk."""

    __slots__ = ("changed", "written")

    def __init__(self, changed: list[ReplicaItem], written: Reply[None]) -> None:
        self.changed = changed
        self.written = written


class _Inquiry:
    """What came back of one question to the members of former sets."""

    __slots__ = ("answered", "criteria", "done", "found", "waiting")

    def __init__(self, criteria: list[Criterion], waiting: int, done: Reply[None]) -> None:
        self.criteria = criteria
        self.waiting = waiting
        self.done = done
        self.answered: dict[NodeId, bool] = {}
        self.found: dict[NodeId, list[ReplicaItem]] = {}

    def note(self, node: NodeId, resource: ResourceId, answer: FetchAnswer) -> None:
        """Count a member that has answered, and keep what it holds."""
        self.answered[node] = answer.is_complete
        self.found[node] = [
            ReplicaItem(resource, data.kind, data.generation, entry)
            for data in answer.kinds
            for entry in data.entries
        ]


class Copies:
    """Talks with the peers that hold copies of what this peer owns."""

    def __init__(
        self,
        kernel: Kernel,
        own: NodeId,
        requests: Asker,
        ranges: Ranges,
        values: Values,
        journal: Journal,
    ) -> None:
        self._kernel = kernel
        self._own = own
        self._requests = requests
        self._ranges = ranges
        self._values = values
        self._journal = journal
        self._asking: dict[ResourceId, list[Reply[None]]] = {}
        self.spreading = Spreading(
            kernel, own, requests, ranges, self._take_newer, lambda: self.on_missed()
        )
        """Writes what we own to the others of the set."""
        self.on_missed: Callable[[], None] = lambda: None
        """A replica did not take what it was sent: repair is to follow soon."""

    def take(self, items: Iterable[ReplicaItem], *, as_owner: bool) -> Taken:
        """Merge items into memory and write what changed."""
        changed = self._values.merge(items, self._kernel.wall_ms, raising=as_owner)
        if changed:
            written = self._journal.write([record_of(item) for item in changed])
        else:
            written = self._journal.settled()
        return Taken(changed, written)

    def _take_newer(self, items: Iterable[ReplicaItem]) -> None:
        self.take(items, as_owner=True)

    async def tell_owner(self, items: tuple[ReplicaItem, ...], trace: Trace | None) -> None:
        """Return when an owner that lives after all has what was stored in its stead.

        Whoever asked could not reach it; others can, and it answers them alone.
        """
        owner = self._ranges.role(items[0].resource)
        if owner is None or not self._ranges.is_reachable(owner):
            return
        with suppress(OverlayError):  # it is lost indeed, or will be: nobody asks it then
            await self._requests.ask(
                owner, ReplicateRequest(items), to_resource=False, trace=trace, timeout=ASK_SECONDS
            )

    async def ask_first(self, resource: ResourceId, trace: Trace | None) -> None:
        """Return when a resource may be answered; OverlayError with a retry time when not yet."""
        if self._ranges.may_answer_alone(resource):
            return
        waiting = self._asking.get(resource)
        if waiting is None:
            await self._ask_for_all(resource, trace)
            return
        if len(waiting) >= MAX_ASKING:
            raise OverlayError(ErrorCode.BUSY, "too many wait for this resource", retry_after=0.5)
        reply: Reply[None] = self._kernel.reply(timeout=ASK_SECONDS + ACKNOWLEDGE_SECONDS + 1.0)
        waiting.append(reply)
        try:
            await reply
        except TimedOutError as error:
            reason = "the other copies did not answer"
            raise OverlayError(ErrorCode.STORE_UNAVAILABLE, reason, retry_after=1.0) from error

    async def _ask_for_all(self, resource: ResourceId, trace: Trace | None) -> None:
        """Ask once, for all who wait for the same resource."""
        if len(self._asking) >= MAX_ASKING:
            raise OverlayError(ErrorCode.BUSY, "too many resources are asked for", retry_after=0.5)
        self._asking[resource] = []
        error: OverlayError | None = None
        try:
            await self._ask_until_it_counts(resource, trace)
        except OverlayError as caught:
            error = caught
        finally:
            waiting = self._asking.pop(resource)
        for reply in waiting:
            if error is None:
                reply.resolve(None)
            else:
                reply.fail(error)
        if error is not None:
            raise error

    async def _ask_until_it_counts(self, resource: ResourceId, trace: Trace | None) -> None:
        ranges = self._ranges
        for _ in range(ASK_ROUNDS):
            epoch = ranges.epoch
            await self._inquire(resource, trace)
            if ranges.epoch == epoch:
                ranges.note_key(resource)
                return
        reason = "the ring changes faster than the copies can be asked"
        raise OverlayError(ErrorCode.STORE_UNAVAILABLE, reason, retry_after=0.5)

    async def _inquire(self, resource: ResourceId, trace: Trace | None) -> None:
        ranges = self._ranges
        criteria = ranges.criteria(resource)
        nodes = ranges.to_ask(criteria)
        done: Reply[None] = self._kernel.reply(timeout=ASK_SECONDS)
        inquiry = _Inquiry(criteria, len(nodes), done)
        if nodes and not ranges.are_met(criteria, {}):
            for node in nodes:
                self._kernel.start(self._ask(node, resource, trace, inquiry))
            with suppress(TimedOutError):  # silent members: what has answered decides
                await done
        else:
            done.resolve(None)
        is_met = ranges.are_met(criteria, inquiry.answered)
        if not is_met:
            if ranges.is_starting:
                reason = "copies that may know more are not back yet"
                raise OverlayError(ErrorCode.STORE_UNAVAILABLE, reason, retry_after=0.5)
            ranges.degrade("members of a former set are lost or silent")
        items = [item for found in inquiry.found.values() for item in found]
        taken = self.take(items, as_owner=True)
        self._kernel.counters.values_repaired += len(taken.changed)
        owed = self._held_by_too_few(resource, inquiry.found)
        if owed and is_met:
            await self.spreading.spread(owed, taken.written, trace, "quorum")
        elif owed:
            self.on_missed()  # a phone must be callable where it is: repair follows

    async def _ask(
        self, node: NodeId, resource: ResourceId, trace: Trace | None, inquiry: _Inquiry
    ) -> None:
        request = FetchRequest(resource, (), from_replica=True)
        try:
            answered = await self._requests.ask(
                node, request, to_resource=False, trace=trace, timeout=ASK_SECONDS
            )
            if isinstance(answered.answer, FetchAnswer):
                inquiry.note(node, resource, answered.answer)
        except OverlayError:
            pass  # who does not answer is not counted
        inquiry.waiting -= 1
        is_enough = self._ranges.are_met(inquiry.criteria, inquiry.answered)
        if is_enough or inquiry.waiting == 0:
            inquiry.done.resolve(None)

    def _held_by_too_few(
        self, resource: ResourceId, found: dict[NodeId, list[ReplicaItem]]
    ) -> tuple[ReplicaItem, ...]:
        """Return what is held at a resource and is not known to be on a majority of the set."""
        members = self._ranges.members()
        holders: dict[tuple[int, bytes], int] = {}
        for node in members[1:]:
            for item in found.get(node, ()):
                version = (item.kind, item.entry.key + order_of(item.entry))
                holders[version] = holders.get(version, 0) + 1
        needed = len(members) // 2
        return tuple(
            item
            for item in self._values.items(resource)
            if holders.get((item.kind, item.entry.key + order_of(item.entry)), 0) < needed
        )
