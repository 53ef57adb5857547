"""The values themselves: the truth in memory, their order, their digests and their end.

RFC 6940 §7 and `protocol.md` §6. Merging is taking the larger of two versions by an order that
rests on the entry alone, so it is commutative, associative and idempotent. What expired or was
removed shrinks to a marker that still orders until everything it superseded is past. Who owns a
value, and what is written where, is not known here.
"""

import hashlib
import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

import msgspec
from msgspec.structs import replace

from chordial_node.boundary.events import Record
from chordial_node.ids import ResourceId, within
from chordial_node.overlay.kinds import digest_of, order_of
from chordial_node.overlay.messages import Entry, ReplicaItem

MARKER_MS = 10_000
"""A marker is kept this long after all that it superseded is past."""
BUCKETS = 1024
"""The finest digests; a power of two, so that fewer buckets are XORs of these."""
DISK_PREFIX = b"value/"
_TRACKED_RANGES = 8
_FEW_PLACES = 256
"""With no more than so many, digests are made when they are asked for."""
_PAGE_SCAN = 4096
_ENTRY_OVERHEAD = 150
_DIGEST_LENGTH = 16

Place = tuple[ResourceId, int]
"""A Resource-ID and a Kind-ID."""


class Held:
    """What is held of one Kind at one Resource-ID."""

    __slots__ = ("digest", "entries", "generation")

    def __init__(self) -> None:
        self.generation = 0
        self.entries: dict[bytes, Entry] = {}
        self.digest = 0


class Page(msgspec.Struct, frozen=True):
    """Items of whole resources in ring order, and from where to go on."""

    items: tuple[ReplicaItem, ...]
    covered: bytes
    """The last resource that was looked at; empty: the range is done."""


class Row(msgspec.Struct, array_like=True, frozen=True):
    """An entry as the disk remembers it."""

    generation: int
    entry: Entry


_encoder = msgspec.msgpack.Encoder()
_row_decoder = msgspec.msgpack.Decoder(Row)


def is_live(entry: Entry, now_ms: int) -> bool:
    """Tell whether an entry is a value that may be answered at this time."""
    return _has_value(entry) and entry.expires_at_ms > now_ms


def larger(mine: Entry, other: Entry) -> Entry:
    """Merge two versions of one entry: the larger, kept as long as either must be."""
    own_order, other_order = order_of(mine), order_of(other)
    winner = mine if own_order > other_order else other
    expires_at_ms = winner.expires_at_ms
    if own_order == other_order:
        winner = other if mine.digest else mine
        expires_at_ms = max(mine.expires_at_ms, other.expires_at_ms)
    keep_until_ms = max(mine.keep_until_ms, other.keep_until_ms, expires_at_ms)
    if (expires_at_ms, keep_until_ms) == (winner.expires_at_ms, winner.keep_until_ms):
        return winner
    return replace(winner, expires_at_ms=expires_at_ms, keep_until_ms=keep_until_ms)


def shrink(entry: Entry, now_ms: int) -> Entry:
    """Return an entry without its value if that has expired; its order stays the same."""
    if not _has_value(entry) or entry.expires_at_ms > now_ms:
        return entry
    return replace(entry, value=b"", digest=digest_of(entry))


def is_past(entry: Entry, now_ms: int) -> bool:
    """Tell whether not even a marker of an entry is needed any longer."""
    return max(entry.keep_until_ms, entry.expires_at_ms) + MARKER_MS <= now_ms


def row_key(resource: ResourceId, kind: int, key: bytes) -> bytes:
    """Return the key under which the disk remembers an entry."""
    return DISK_PREFIX + resource + kind.to_bytes(4, "big") + key


def record_of(item: ReplicaItem) -> Record:
    """Return the record that makes the disk remember an item."""
    row = Row(item.generation, item.entry)
    return row_key(item.resource, item.kind, item.entry.key), _encoder.encode(row)


def item_of_record(key: bytes, value: bytes) -> ReplicaItem:
    """Return the item that a record remembers; ValueError when it is damaged."""
    place = key[len(DISK_PREFIX) :]
    if len(place) < 20:
        raise ValueError("the key of a value is too short")
    row = _row_decoder.decode(value)  # raises a ValueError
    if row.entry.key != place[20:]:
        raise ValueError("a value lies under the key of another one")
    kind = int.from_bytes(place[16:20], "big")
    return ReplicaItem(ResourceId(place[:16]), kind, row.generation, row.entry)


def size_of(item: ReplicaItem) -> int:
    """Return about how many bytes an item takes in a message."""
    return len(item.entry.value) + len(item.entry.key) + _ENTRY_OVERHEAD


class Values:
    """All entries that this peer holds, as owner or as replica, markers included."""

    def __init__(self) -> None:
        self._held: dict[Place, Held] = {}
        self._index: list[Place] = []
        self._tracked: dict[tuple[bytes, bytes], list[int]] = {}
        self._ends: list[tuple[int, ResourceId, int, bytes]] = []
        self.count = 0
        """Entries, markers included."""
        self.live = 0
        """Entries with a value, expired a moment ago perhaps, markers not."""

    # reading

    def generation(self, resource: ResourceId, kind: int) -> int:
        """Return the generation counter of a Kind at a resource; 0: nothing is held."""
        held = self._held.get((resource, kind))
        return held.generation if held else 0

    def entry(self, resource: ResourceId, kind: int, key: bytes) -> Entry | None:
        """Return an entry or its marker."""
        held = self._held.get((resource, kind))
        return held.entries.get(key) if held else None

    def entries(self, resource: ResourceId, kind: int) -> list[Entry]:
        """Return all entries of a Kind at a resource by key, markers included."""
        held = self._held.get((resource, kind))
        return [held.entries[key] for key in sorted(held.entries)] if held else []

    def kinds(self, resource: ResourceId) -> list[int]:
        """Return the Kind-IDs of which something is held at a resource."""
        start = bisect_left(self._index, (resource, 0))
        end = bisect_right(self._index, (resource, 1 << 32))
        return [kind for _, kind in self._index[start:end]]

    def items(self, resource: ResourceId) -> list[ReplicaItem]:
        """Return all that is held at a resource, markers included."""
        return [
            ReplicaItem(resource, kind, self._held[resource, kind].generation, entry)
            for kind in self.kinds(resource)
            for entry in self.entries(resource, kind)
        ]

    def places(self, after: bytes, last: bytes) -> Iterator[Place]:
        """Go through what is held in (after, last], clockwise; nothing may change meanwhile."""
        index = self._index
        start = bisect_right(index, (ResourceId(after), 1 << 32))
        end = bisect_right(index, (ResourceId(last), 1 << 32))
        if after < last:
            yield from index[start:end]
        else:
            yield from index[start:]
            yield from index[:end]

    def all_live(self, kind: int, now_ms: int) -> list[tuple[ResourceId, Entry]]:
        """Return the values of a Kind, by Resource-ID and key."""
        return [
            (place[0], entry)
            for place in self._index
            if place[1] == kind
            for entry in self.entries(*place)
            if is_live(entry, now_ms)
        ]

    def next_resource(self, after: bytes) -> ResourceId | None:
        """Return the first resource clockwise after a point at which something is held."""
        if not self._index:
            return None
        start = bisect_right(self._index, (ResourceId(after), 1 << 32))
        return self._index[start % len(self._index)][0]

    # digests and pages

    def digests(self, after: bytes, last: bytes, buckets: int) -> tuple[bytes, ...]:
        """Return the XOR of the digests of all that is held in (after, last], by bucket.

        The number of buckets is a power of two, at most BUCKETS.
        """
        if len(self._index) <= _FEW_PLACES:
            folded = [0] * buckets
            for place in self.places(after, last):
                folded[_bucket_of(place[0], buckets)] ^= self._held[place].digest
        else:
            fine = self._tracked_digests(after, last)
            folded = fine[:buckets]
            for start in range(buckets, BUCKETS, buckets):
                folded = [one ^ other for one, other in zip(folded, fine[start:], strict=False)]
        return tuple([digest.to_bytes(_DIGEST_LENGTH, "big") for digest in folded])

    def _tracked_digests(self, after: bytes, last: bytes) -> list[int]:
        """Return the finest digests of a range, kept in step while it is asked for."""
        fine = self._tracked.pop((after, last), None)
        if fine is None:
            fine = [0] * BUCKETS
            for place in self.places(after, last):
                fine[_bucket_of(place[0], BUCKETS)] ^= self._held[place].digest
        self._tracked[after, last] = fine
        while len(self._tracked) > _TRACKED_RANGES:
            del self._tracked[next(iter(self._tracked))]
        return fine

    def page(
        self, after: bytes, last: bytes, wanted: tuple[int, ...], buckets: int, max_bytes: int
    ) -> Page:
        """Return what is held in the wanted buckets of (after, last], as much as fits.

        A resource is never cut, so one page may be larger by what lies at one resource.
        """
        is_wanted = [False] * buckets
        for bucket in wanted:
            is_wanted[bucket] = True
        items: list[ReplicaItem] = []
        size = 0
        previous = b""
        for scanned, place in enumerate(self.places(after, last)):
            if place[0] != previous and previous and (size >= max_bytes or scanned >= _PAGE_SCAN):
                return Page(tuple(items), previous)
            previous = place[0]
            if is_wanted[_bucket_of(place[0], buckets)]:
                held = self._held[place]
                for key in sorted(held.entries):
                    items.append(ReplicaItem(*place, held.generation, held.entries[key]))
                    size += size_of(items[-1])
        return Page(tuple(items), b"")

    # changing

    def load(self, items: list[ReplicaItem]) -> None:
        """Take up what the disk remembers, as it was: what ended meanwhile is swept as usual."""
        places = dict.fromkeys((item.resource, item.kind) for item in items)
        for place in places:
            self._held[place] = Held()
        self._index = sorted(self._held)
        for item in items:
            place = (item.resource, item.kind)
            self._put(place, item.entry.key, item.entry)
            if item.generation > self._held[place].generation:
                self._set_generation(place, item.generation)

    def merge(
        self, items: Iterable[ReplicaItem], now_ms: int, *, raising: bool = False
    ) -> list[ReplicaItem]:
        """Merge items and return those that changed something, as they now stand.

        `raising` is for who owns them: a Kind in which two histories met gets a generation that
        neither had (max + 1), so that nobody's conditional Store passes over the other's.
        """
        changed: dict[tuple[ResourceId, int, bytes], None] = {}
        met: dict[Place, int] = {}
        for item in items:
            place = (item.resource, item.kind)
            before = self.generation(*place)
            met.setdefault(place, before)
            if self._merge_one(item, now_ms):
                changed[item.resource, item.kind, item.entry.key] = None
            if item.generation > before:
                met[place] = 0
        if raising:
            for resource, kind, _ in changed:
                if (generation := met.pop((resource, kind), 0)) > 0:
                    self._set_generation((resource, kind), generation + 1)
        result = []
        for resource, kind, key in changed:
            entry = self.entry(resource, kind, key)
            if entry is not None:
                result.append(ReplicaItem(resource, kind, self.generation(resource, kind), entry))
        return result

    def drop(self, resource: ResourceId, kind: int, key: bytes) -> Record:
        """Forget an entry and return the record that deletes it."""
        self._put((resource, kind), key, None)
        return row_key(resource, kind, key), None

    def expire(self, now_ms: int, limit: int) -> list[Record]:
        """Shrink what has expired and forget markers that are past; return what to write."""
        records: list[Record] = []
        while self._ends and self._ends[0][0] <= now_ms and len(records) < limit:
            due, resource, kind, key = heapq.heappop(self._ends)
            entry = self.entry(resource, kind, key)
            if entry is None or _end_of(entry) != due:
                continue
            if is_past(entry, now_ms):
                records.append(self.drop(resource, kind, key))
                continue
            self._put((resource, kind), key, shrink(entry, now_ms))
            generation = self.generation(resource, kind)
            marker = self._held[resource, kind].entries[key]
            records.append(record_of(ReplicaItem(resource, kind, generation, marker)))
        return records

    def _merge_one(self, item: ReplicaItem, now_ms: int) -> bool:
        place = (item.resource, item.kind)
        mine = self.entry(item.resource, item.kind, item.entry.key)
        merged = shrink(larger(mine, item.entry) if mine else item.entry, now_ms)
        if merged.keep_until_ms < merged.expires_at_ms:
            merged = replace(merged, keep_until_ms=merged.expires_at_ms)
        if is_past(merged, now_ms):
            return False
        is_changed = merged != mine
        if is_changed:
            self._put(place, item.entry.key, merged)
        if item.generation > self._held[place].generation:
            self._set_generation(place, item.generation)
            is_changed = True
        return is_changed

    def _put(self, place: Place, key: bytes, entry: Entry | None) -> None:
        held = self._held.get(place)
        if held is None:
            if entry is None:
                return
            held = self._held[place] = Held()
            insort(self._index, place)
        previous = held.entries.get(key)
        before = held.digest
        if previous is not None:
            held.digest ^= _digest(place, previous)
            self.count -= 1
            self.live -= _has_value(previous)
            del held.entries[key]
        if entry is not None:
            held.entries[key] = entry
            held.digest ^= _digest(place, entry)
            self.count += 1
            self.live += _has_value(entry)
            heapq.heappush(self._ends, (_end_of(entry), *place, key))
            self._rebuild_ends()
        if not held.entries:
            del self._held[place]
            del self._index[bisect_left(self._index, place)]
            held.digest = 0
        self._track(place[0], before ^ held.digest)

    def _set_generation(self, place: Place, generation: int) -> None:
        held = self._held[place]
        change = _generation_digest(place, held.generation) ^ _generation_digest(place, generation)
        held.generation = generation
        held.digest ^= change
        self._track(place[0], change)

    def _track(self, resource: ResourceId, change: int) -> None:
        for (after, last), fine in self._tracked.items():
            if within(after, resource, last):
                fine[_bucket_of(resource, BUCKETS)] ^= change

    def _rebuild_ends(self) -> None:
        """Keep the heap within twice what it is for: each refresh leaves an old end behind."""
        if len(self._ends) > 2 * self.count + 64:
            self._ends = [
                (_end_of(entry), *place, key)
                for place, held in self._held.items()
                for key, entry in held.entries.items()
            ]
            heapq.heapify(self._ends)


def _has_value(entry: Entry) -> bool:
    return entry.exists and not entry.digest


def _end_of(entry: Entry) -> int:
    return entry.expires_at_ms if _has_value(entry) else entry.keep_until_ms + MARKER_MS


def _bucket_of(resource: ResourceId, buckets: int) -> int:
    return int.from_bytes(resource[-2:], "big") % buckets


def _digest(place: Place, entry: Entry) -> int:
    """Digest what two peers must agree upon; whether the value has yet shrunk is not part of it."""
    hashed = hashlib.blake2b(place[0], digest_size=_DIGEST_LENGTH)
    hashed.update(b"%d %d %d " % (place[1], entry.expires_at_ms, entry.keep_until_ms))
    hashed.update(order_of(entry) + entry.key)
    return int.from_bytes(hashed.digest(), "big")


def _generation_digest(place: Place, generation: int) -> int:
    if not generation:
        return 0
    data = b"%d %d" % (place[1], generation)
    hashed = hashlib.blake2b(place[0] + data, digest_size=_DIGEST_LENGTH)
    return int.from_bytes(hashed.digest(), "big")
