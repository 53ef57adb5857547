"""Storage: what this peer answers about values, as owner, as stand-in and as replica.

RFC 6940 §7.4 and `protocol.md` §5 to §7. Memory is the truth while it runs, the disk remembers,
and an answer to a Store waits for disks, those of a majority unless configured otherwise. A Store
that is not acknowledged in time ends with an error; it was then applied whole by some peers and not
at all by the others, and asking it again is always right. Rules, order, sets and repair have files
of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chordial_node.boundary.notices import StoreAcknowledged
from chordial_node.config import OverlayConfig
from chordial_node.ids import ID_LENGTH, NodeId, ResourceId, offset, within
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import digest_of, order_of
from chordial_node.overlay.messages import (
    Entry,
    EntryStat,
    FetchAnswer,
    FetchRequest,
    FetchSpecifier,
    FindAnswer,
    FindRequest,
    KindData,
    RangeDigestAnswer,
    RangeDigestRequest,
    ReplicaItem,
    ReplicateAnswer,
    ReplicateRequest,
    StatAnswer,
    StatRequest,
    StoreAnswer,
    StoreRequest,
)
from chordial_node.overlay.requests import RequestContext
from chordial_node.overlay.storage.copies import Copies
from chordial_node.overlay.storage.exchange import Exchange
from chordial_node.overlay.storage.handover import Handover
from chordial_node.overlay.storage.journal import Journal
from chordial_node.overlay.storage.ranges import Ranges, RingView
from chordial_node.overlay.storage.repair import Repair
from chordial_node.overlay.storage.rules import accept, check_kinds
from chordial_node.overlay.storage.spreading import ACKNOWLEDGE_SECONDS, Asker
from chordial_node.overlay.storage.strays import Strays
from chordial_node.overlay.storage.values import (
    DISK_PREFIX,
    Values,
    is_live,
    item_of_record,
    larger,
)

STORE_ID_KEY = b"meta/store-id"
SWEEP_SECONDS = 1.0
SWEEP_ON_SECONDS = 0.02
"""Between two sweeps while there is more to do."""
SWEPT_AT_ONCE = 500
NO_RESOURCE = ResourceId(bytes(ID_LENGTH))


class Storage:
    """The values that this peer owns or holds copies of."""

    def __init__(
        self,
        kernel: Kernel,
        config: OverlayConfig,
        own: NodeId,
        requests: Asker,
        ring: RingView,
        journal: Journal,
    ) -> None:
        self._kernel = kernel
        self._config = config
        self._own = own
        self._ring = ring
        self._journal = journal
        self._values = Values()
        self._ranges = Ranges(kernel, config, own, ring, journal)
        self._copies = Copies(kernel, own, requests, self._ranges, self._values, journal)
        self._spreading = self._copies.spreading
        self._exchange = Exchange(
            kernel, requests, self._ranges, self._values, journal, self._copies
        )
        strays = Strays(own, requests, self._ranges, self._values, journal, self._exchange)
        self._repair = Repair(kernel, self._ranges, self._values, journal, self._exchange, strays)
        self._handover = Handover(kernel, config, ring, self._ranges, self._values, self._exchange)
        self._copies.on_missed = self._repair.soon
        self.store_id = b""
        """Made with the store, kept on its disk: another disk is another member of a set."""

    def start(self, records: Mapping[bytes, bytes]) -> None:
        """Recover the values that the disk remembers; a damaged row is counted and left there."""
        self.store_id = records.get(STORE_ID_KEY, b"")
        if not self.store_id:
            self.store_id = self._kernel.random.getrandbits(128).to_bytes(16, "big")
            self._journal.remember(STORE_ID_KEY, self.store_id)
        items = []
        damaged = 0
        for key, value in records.items():
            if key.startswith(DISK_PREFIX):
                try:
                    items.append(item_of_record(key, value))
                except ValueError:
                    damaged += 1
        self._values.load(items)
        self._kernel.counters.values_damaged += damaged
        self._ranges.start(records, is_damaged=damaged > 0)
        self._repair.start()
        self._kernel.at_beat(SWEEP_SECONDS, self._sweep)

    # what the peer shows

    @property
    def keys(self) -> int:
        """Entries held, replicas included, markers not."""
        return self._values.live

    @property
    def owned_keys(self) -> int:
        """Entries of the own range, markers not."""
        own_range = self._ranges.own_range()
        if own_range is None:
            return 0
        now_ms = self._kernel.wall_ms
        return sum(
            is_live(entry, now_ms)
            for place in self._values.places(*own_range)
            for entry in self._values.entries(*place)
        )

    @property
    def in_step(self) -> bool:
        """Tell whether every entry of the own range is on a majority of its set."""
        return self._ranges.in_step

    @property
    def is_degraded(self) -> bool:
        """Tell whether answers rest on fewer copies than could have told everything."""
        return self._ranges.is_degraded

    @property
    def copies_missing(self) -> int:
        """Copies of entries of the own range that are not known to be where they should be."""
        return self.owned_keys * self._ranges.copies_missing()

    def owned(self, kind: int) -> list[tuple[ResourceId, Entry]]:
        """Return the values of a Kind in the own range."""
        own_range = self._ranges.own_range()
        if own_range is None:
            return []
        return [
            (resource, entry)
            for resource, entry in self.held(kind)
            if within(own_range[0], resource, own_range[1])
        ]

    def held(self, kind: int) -> list[tuple[ResourceId, Entry]]:
        """Return the values of a Kind that are held here, copies included."""
        return self._values.all_live(kind, self._kernel.wall_ms)

    def range_digests(self, after: bytes, last: bytes) -> tuple[bytes, ...]:
        """Return the digests of what is held in a range: equal digests, equal copies."""
        return self._values.digests(after, last, 64)

    # what the ring tells

    def on_neighbors_changed(self) -> None:
        """Look at the own range and its set again, and bring them in step."""
        if self._ranges.refresh():
            self._spreading.on_set_changed()
            self._repair.soon()

    def on_member_dead(self, node: NodeId) -> None:
        """Look again if it was around us: a member of the set may be lost."""
        if self._ranges.is_reachable(node):
            self.on_neighbors_changed()

    async def prepare_handover(self, seconds: float) -> bool:
        """Have others hold the own range as well, while everything goes on."""
        return await self._handover.prepare(seconds)

    async def hand_over(self) -> int:
        """Give the own range to those who hold it after us; return how many entries they have."""
        entries = await self._handover.run()
        if self._handover.is_closed:
            self._repair.stop()
        return entries

    # requests

    async def on_store(self, request: StoreRequest, context: RequestContext) -> StoreAnswer:
        """Store values at their owner (RFC 6940 §7.4.1): all of them, or none."""
        self._check_responsible(request.resource, context)
        check_kinds(tuple(data.kind for data in request.kinds))
        self._check_room(request)
        await self._may_answer(request.resource, context)
        self._check_room(request)
        accepted = accept(request, self._values, self._kernel.wall_ms)
        taken = self._copies.take(accepted.changed, as_owner=False)
        items = accepted.changed + accepted.unchanged
        try:
            replicas = await self._spreading.spread(
                items, taken.written, context.trace, self._config.acknowledge
            )
            if context.stand_in:
                await self._copies.tell_owner(items, context.trace)
        except OverlayError:
            self._kernel.counters.stores_refused += 1
            raise
        self._kernel.counters.stores_acknowledged += 1
        for item in items:
            self._tell_acknowledged(item, len(replicas))
        return StoreAnswer(
            generations=accepted.generations,
            replicas=replicas,
            storage_time_ms=accepted.storage_time_ms,
            is_degraded=self._ranges.is_degraded,
        )

    async def on_fetch(self, request: FetchRequest, context: RequestContext) -> FetchAnswer:
        """Fetch values from their owner (§7.4.2), or what a replica holds of them."""
        resource = request.resource
        if request.from_replica:
            return self._answer_as_replica(request)
        check_kinds(tuple(specifier.kind for specifier in request.specifiers))
        await self._may_answer(resource, context)
        self._kernel.counters.answers_degraded += self._ranges.is_degraded
        return FetchAnswer(
            kinds=tuple(self._fetched(resource, each) for each in request.specifiers),
            copies=len(self._ranges.members()),
            is_degraded=self._ranges.is_degraded,
            is_complete=self._ranges.knows_all(resource),
        )

    async def on_stat(self, request: StatRequest, context: RequestContext) -> StatAnswer:
        """Tell of values without them (§7.4.3)."""
        check_kinds(tuple(specifier.kind for specifier in request.specifiers))
        await self._may_answer(request.resource, context)
        stats = []
        for specifier in request.specifiers:
            data = self._fetched(request.resource, specifier)
            stats.append((data.kind, data.generation, tuple(map(_stat_of, data.entries))))
        return StatAnswer(kinds=tuple(stats))

    async def on_find(self, request: FindRequest, context: RequestContext) -> FindAnswer:
        """Tell the closest resources of the own range that hold values of some Kinds (§7.4.4)."""
        check_kinds(request.kinds)
        await self._may_answer(request.resource, context)
        if not self._ranges.is_complete:
            reason = "the range is not in step yet"
            raise OverlayError(ErrorCode.STORE_UNAVAILABLE, reason, retry_after=0.5)
        closest = dict.fromkeys(request.kinds, NO_RESOURCE)
        now_ms = self._kernel.wall_ms
        for resource, kind in self._values.places(offset(request.resource, -1), self._own):
            if closest.get(kind) == NO_RESOURCE and any(
                is_live(entry, now_ms) for entry in self._values.entries(resource, kind)
            ):
                closest[kind] = resource
        return FindAnswer(closest=tuple(closest.items()))

    async def on_replicate(
        self, request: ReplicateRequest, context: RequestContext
    ) -> ReplicateAnswer:
        """Merge entries that another peer holds; answered when they are on disk here.

        What is new to their owner is written to a majority of the set before the answer: whoever
        offers it may then forget it.
        """
        if self._journal.is_failing:
            await self._journal.settled()  # raises
        self._check_count(
            self._values.entry(item.resource, item.kind, item.entry.key) is None
            for item in request.items
        )
        taken = self._copies.take(request.items, as_owner=False)
        await taken.written
        if not request.handover:
            ours = tuple(each for each in taken.changed if self._is_own(each.resource))
            if ours:
                await self._spreading.spread(ours, taken.written, context.trace, "quorum")
        return ReplicateAnswer(newer=tuple(self._newer_than(request.items)))

    async def on_range_digest(
        self, request: RangeDigestRequest, context: RequestContext
    ) -> RangeDigestAnswer:
        """Compare a range with what is held here."""
        return await self._exchange.answer(request, context.source)

    async def _may_answer(self, resource: ResourceId, context: RequestContext) -> None:
        """Return when this peer knows all that is to be known of a resource, and still owns it."""
        self._check_responsible(resource, context)
        await self._copies.ask_first(resource, context.trace)
        self._check_responsible(resource, context)

    def _check_responsible(self, resource: ResourceId, context: RequestContext) -> None:
        if not context.stand_in and not self._ring.is_responsible_for(resource):
            reason = f"this peer is not responsible for {resource.hex()}"
            raise OverlayError(ErrorCode.NOT_FOUND, reason, retry_after=0.2)

    def _check_room(self, request: StoreRequest) -> None:
        if self._handover.is_closed:
            reason = "this peer is leaving: its successor takes over"
            raise OverlayError(ErrorCode.STORE_UNAVAILABLE, reason, retry_after=0.5)
        if self._journal.is_failing:
            self._kernel.counters.stores_refused += 1
            raise OverlayError(
                ErrorCode.STORE_UNAVAILABLE, self._journal.reason, ACKNOWLEDGE_SECONDS
            )
        self._check_count(
            self._values.entry(request.resource, data.kind, entry.key) is None
            for data in request.kinds
            for entry in data.entries
        )

    def _check_count(self, are_new: Iterable[bool]) -> None:
        new = sum(are_new)
        if new and self._values.count + new > self._config.max_entries:
            raise OverlayError(ErrorCode.BUSY, "the store is full", retry_after=10.0)

    def _is_own(self, resource: ResourceId) -> bool:
        own_range = self._ranges.own_range()
        return own_range is not None and within(own_range[0], resource, own_range[1])

    def _answer_as_replica(self, request: FetchRequest) -> FetchAnswer:
        """Tell all that is held of a resource, or of the Kinds that are named, markers included."""
        resource = request.resource
        named = tuple(specifier.kind for specifier in request.specifiers)
        kinds = named or tuple(self._values.kinds(resource))
        return FetchAnswer(
            kinds=tuple(
                KindData(
                    kind,
                    self._values.generation(resource, kind),
                    tuple(self._values.entries(resource, kind)),
                )
                for kind in kinds
            ),
            is_complete=self._ranges.knows_all(resource),
        )

    def _fetched(self, resource: ResourceId, specifier: FetchSpecifier) -> KindData:
        generation = self._values.generation(resource, specifier.kind)
        if specifier.generation and specifier.generation == generation:
            return KindData(specifier.kind, generation, ())
        now_ms = self._kernel.wall_ms
        return KindData(
            specifier.kind,
            generation,
            tuple(
                entry
                for entry in self._values.entries(resource, specifier.kind)
                if (specifier.with_markers or is_live(entry, now_ms))
                and (not specifier.keys or entry.key in specifier.keys)
            ),
        )

    def _newer_than(self, items: tuple[ReplicaItem, ...]) -> list[ReplicaItem]:
        newer = []
        for item in items:
            mine = self._values.entry(item.resource, item.kind, item.entry.key)
            if mine is not None and order_of(larger(item.entry, mine)) != order_of(item.entry):
                generation = self._values.generation(item.resource, item.kind)
                newer.append(ReplicaItem(item.resource, item.kind, generation, mine))
        return newer

    def _tell_acknowledged(self, item: ReplicaItem, copies: int) -> None:
        self._kernel.emit(
            StoreAcknowledged(
                resource=item.resource,
                kind=item.kind,
                key=item.entry.key,
                order=order_of(item.entry),
                copies=copies,
            )
        )

    def _sweep(self) -> None:
        """Shrink what has expired and forget markers that are past, a bounded number at once."""
        records = self._values.expire(self._kernel.wall_ms, SWEPT_AT_ONCE)
        self._kernel.counters.values_expired += len(records)
        self._journal.remember_all(records)
        is_done = len(records) < SWEPT_AT_ONCE
        if is_done:
            self._kernel.at_beat(SWEEP_SECONDS, self._sweep)
        else:
            self._kernel.after(SWEEP_ON_SECONDS, self._sweep)


def _stat_of(entry: Entry) -> EntryStat:
    return EntryStat(
        key=entry.key,
        exists=entry.exists,
        storage_time_ms=entry.storage_time_ms,
        expires_at_ms=entry.expires_at_ms,
        size=len(entry.value),
        digest=digest_of(entry),
    )
