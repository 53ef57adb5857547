"""The operator's one loop: which object has its turn when, and never two turns of one object.

Level-triggered: a wake says only "look at it", so a hundred wakes are one turn, and one during a
turn is one more turn. What a turn does must never be put here; nor may anything here know kopf.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

import msgspec

PATIENT_KINDS = ("SipUser",)
"""There are thousands: an Overlay or a set never waits for them, nor for all the workers."""
WORKERS = 16
MOST_KEYS = 100_000
FIRST_BACK_OFF_SECONDS = 0.5
MOST_BACK_OFF_SECONDS = 60.0
RESYNC_SECONDS = 300.0
RESYNC_SPREAD_SECONDS = 60.0
TURN_SECONDS = 120.0

_log = logging.getLogger(__name__)


class Key(NamedTuple):
    """Whose turn it is: an object by its kind, namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Next(msgspec.Struct, frozen=True):
    """What follows a turn that went well."""

    after: float | None = None
    """Seconds until the object wants its next turn; None: the resync will do."""
    gone: bool = False
    """There is no such object any more: forget it."""


SETTLED = Next()
GONE = Next(gone=True)


class QueueCounters(msgspec.Struct):
    """What the queue has done, for the metrics page."""

    turns: int = 0
    errors: int = 0
    refused: int = 0
    """Wakes dropped because the queue held its most."""


class _Entry:
    """One key's place in the schedule."""

    __slots__ = ("due", "failures", "is_awake", "is_running", "not_before", "ticket")

    def __init__(self) -> None:
        self.due = float("inf")
        self.ticket = -1
        self.failures = 0
        self.not_before = 0.0
        self.is_running = False
        self.is_awake = False


class Schedule:
    """Who is due when; pure, so that it is tested with plain numbers for times."""

    def __init__(self, random: Random, most_keys: int = MOST_KEYS) -> None:
        """Begin with nobody due."""
        self._random = random
        self._most_keys = most_keys
        self._entries: dict[Key, _Entry] = {}
        self._urgent: list[tuple[float, int, Key]] = []
        self._patient: list[tuple[float, int, Key]] = []
        self._tickets = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def wake(self, key: Key, now: float) -> bool:
        """Make a key due at once, or again after its running turn; False when there is no room."""
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._most_keys:
                return False
            entry = self._entries[key] = _Entry()
        if entry.is_running:
            entry.is_awake = True
        else:
            self._set_due(key, entry, min(entry.due, max(now, entry.not_before)))
        return True

    def take(self, now: float, *, patient: bool = True) -> Key | None:
        """Return who has been due longest, patient kinds last or not, and mark it as running."""
        self._drop_stale()
        heaps = (self._urgent, self._patient) if patient else (self._urgent,)
        heap = next((each for each in heaps if each and each[0][0] <= now), None)
        if heap is None:
            return None
        _, _, key = heapq.heappop(heap)
        entry = self._entries[key]
        entry.is_running, entry.is_awake = True, False
        entry.due, entry.ticket = float("inf"), -1
        return key

    def settled(self, key: Key, now: float, what: Next) -> None:
        """Note that a turn went well, and when the next one is due."""
        entry = self._ended(key)
        entry.failures, entry.not_before = 0, 0.0
        if entry.is_awake:
            self._set_due(key, entry, now)
        elif what.gone:
            del self._entries[key]
        else:
            resync = RESYNC_SECONDS + self._random.random() * RESYNC_SPREAD_SECONDS
            after = resync if what.after is None else min(what.after, resync)
            self._set_due(key, entry, now + after)

    def failed(self, key: Key, now: float) -> float:
        """Note that a turn failed; return the seconds until it is tried again."""
        entry = self._ended(key)
        doubled = FIRST_BACK_OFF_SECONDS * 2.0 ** min(entry.failures, 16)
        after = min(doubled, MOST_BACK_OFF_SECONDS) * (0.75 + 0.5 * self._random.random())
        after = min(after, MOST_BACK_OFF_SECONDS)
        entry.failures += 1
        # events wake a broken object sooner than its back-off, but not in a tight circle
        entry.not_before = now + FIRST_BACK_OFF_SECONDS
        self._set_due(key, entry, entry.not_before if entry.is_awake else now + after)
        return after

    def failures(self, key: Key) -> int:
        """Return how many turns of a key have failed in a row."""
        entry = self._entries.get(key)
        return 0 if entry is None else entry.failures

    def next_due(self, *, patient: bool = True) -> float | None:
        """Return when the next turn is due, of patient kinds or not; None when nobody waits."""
        self._drop_stale()
        heaps = (self._urgent, self._patient) if patient else (self._urgent,)
        return min((each[0][0] for each in heaps if each), default=None)

    def depth(self, now: float) -> int:
        """Return how many keys are due and wait for a worker."""
        return sum(1 for entry in self._entries.values() if entry.due <= now)

    def oldest(self, now: float) -> float:
        """Return for how many seconds the first in the line has been due."""
        due = self.next_due()
        return 0.0 if due is None else max(0.0, now - due)

    def _ended(self, key: Key) -> _Entry:
        entry = self._entries[key]
        assert entry.is_running, "only a running turn can end"
        entry.is_running = False
        return entry

    def _set_due(self, key: Key, entry: _Entry, due: float) -> None:
        if due == entry.due:
            return
        entry.due, entry.ticket = due, next(self._tickets)
        heap = self._patient if key.kind in PATIENT_KINDS else self._urgent
        heapq.heappush(heap, (due, entry.ticket, key))

    def _drop_stale(self) -> None:
        for heap in (self._urgent, self._patient):
            while heap:
                _, ticket, key = heap[0]
                entry = self._entries.get(key)
                if entry is not None and entry.ticket == ticket:
                    break
                heapq.heappop(heap)


Turn = Callable[[Key], Awaitable[Next]]


class WorkQueue:
    """Runs the turns of a schedule, a few at a time, until it is cancelled."""

    def __init__(
        self,
        turn: Turn,
        random: Random,
        clock: Callable[[], float],
        *,
        workers: int = WORKERS,
        turn_seconds: float = TURN_SECONDS,
        most_keys: int = MOST_KEYS,
    ) -> None:
        """Take what runs a turn; an exception of it means: failed, try again later."""
        self.counters = QueueCounters()
        self._turn = turn
        self._clock = clock
        self._workers = workers
        self._turn_seconds = turn_seconds
        self._schedule = Schedule(random, most_keys)
        self._stirred = asyncio.Event()
        self._running: dict[Key, float] = {}

    def wake(self, key: Key) -> None:
        """Give an object a turn soon."""
        if not self._schedule.wake(key, self._clock()):
            self.counters.refused += 1
        self._stirred.set()

    @property
    def depth(self) -> int:
        """How many objects are due and wait for a worker."""
        return self._schedule.depth(self._clock())

    @property
    def keys(self) -> int:
        """How many objects are known."""
        return len(self._schedule)

    @property
    def oldest_seconds(self) -> float:
        """For how long the first in the line, or the longest running turn, has been waited for."""
        now = self._clock()
        running = max((now - began for began in self._running.values()), default=0.0)
        return max(running, self._schedule.oldest(now))

    async def run(self) -> None:
        """Run turns for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._stirred.clear()
                while len(self._running) < self._workers:
                    key = self._schedule.take(self._clock(), patient=self._has_room_for_patient)
                    if key is None:
                        break
                    self._running[key] = self._clock()
                    group.create_task(self._one(key), name=f"turn of {key}")
                await self._rest()

    @property
    def _has_room_for_patient(self) -> bool:
        patient = sum(1 for key in self._running if key.kind in PATIENT_KINDS)
        return patient < max(1, self._workers // 2)

    async def _rest(self) -> None:
        """Wait until something is due, a wake comes, or a worker is free again."""
        due = None
        if len(self._running) < self._workers:
            due = self._schedule.next_due(patient=self._has_room_for_patient)
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                await self._stirred.wait()
        except TimeoutError:
            return

    async def _one(self, key: Key) -> None:
        self.counters.turns += 1
        try:
            async with asyncio.timeout(self._turn_seconds):
                what = await self._turn(key)
            self._schedule.settled(key, self._clock(), what)
        except Exception as error:  # whatever it was: said once, and tried again later
            self.counters.errors += 1
            again = self._schedule.failures(key) > 0
            after = self._schedule.failed(key, self._clock())
            text = "the turn of %s failed, tried again in %.1f s: %r"
            if again:
                _log.warning(text, key, after, error)
            else:
                _log.error(text, key, after, error, exc_info=error)
        finally:
            del self._running[key]
            self._stirred.set()
