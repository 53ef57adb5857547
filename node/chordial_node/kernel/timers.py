"""One heap of deadlines for the whole core.

Cancelled timers stay in the heap until they outnumber the live ones; then it is rebuilt, so that
40,000 transactions which each cancel their timers leave no memory behind. No clock is read here.
"""

import heapq
from collections.abc import Callable

_REBUILD_FROM = 64


class Timer:
    """A deadline that fires once, unless it is cancelled before."""

    __slots__ = ("_fire", "_timers", "due", "is_armed")

    def __init__(self, timers: "Timers", due: float, fire: Callable[[], None]) -> None:
        self.due = due
        self._timers = timers
        self._fire: Callable[[], None] | None = fire
        self.is_armed = True
        """The timer will still fire."""

    def cancel(self) -> None:
        """Forget the timer; cancelling twice, or after it fired, changes nothing."""
        if self.is_armed:
            self.is_armed = False
            self._fire = None
            self._timers.forget_one()

    def take(self) -> Callable[[], None] | None:
        """Return what is to be called, once."""
        fire, self._fire = self._fire, None
        self.is_armed = False
        return fire


class Timers:
    """All deadlines of one core, ordered by time and then by the order of their making."""

    __slots__ = ("_cancelled", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def at(self, due: float, fire: Callable[[], None]) -> Timer:
        """Arm a timer for a point in time."""
        timer = Timer(self, due, fire)
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, timer))
        return timer

    def deadline(self) -> float | None:
        """Return when the next timer is due, or None."""
        heap = self._heap
        while heap:
            due, _, timer = heap[0]
            if timer.is_armed:
                return due
            heapq.heappop(heap)
            self._cancelled -= 1
        return None

    def next_due(self, now: float) -> Callable[[], None] | None:
        """Return what the next due timer wants called, or None when nothing is due."""
        heap = self._heap
        if not heap or heap[0][0] > now:
            return None
        due = self.deadline()
        if due is None or due > now:
            return None
        return heapq.heappop(self._heap)[2].take()

    def forget_one(self) -> None:
        """Note a cancelled timer, and rebuild the heap when half of it is cancelled."""
        self._cancelled += 1
        if self._cancelled * 2 > len(self._heap) >= _REBUILD_FROM:
            self._heap = [entry for entry in self._heap if entry[2].is_armed]
            heapq.heapify(self._heap)
            self._cancelled = 0
