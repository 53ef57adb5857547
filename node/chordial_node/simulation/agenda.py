"""Virtual time and chance of the simulator: one heap, integer microseconds, two kinds of draws.

The same seed gives the same run on every machine and Python version, so nothing here reads a
clock, and a core that draws by anything but `getrandbits` and `random` is told so at once. What
happens at an entry's time is for the world to know.
"""

import heapq
from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

P = TypeVar("P")
E = TypeVar("E")

MICROSECONDS = 1_000_000
_FORBIDDEN_DRAWS = (
    "betavariate", "binomialvariate", "choice", "choices", "expovariate", "gammavariate", "gauss",
    "lognormvariate", "normalvariate", "paretovariate", "randbytes", "randint", "randrange",
    "sample", "shuffle", "triangular", "uniform", "vonmisesvariate", "weibullvariate",
)  # fmt: skip


class Draws(Random):
    """A seeded random source that offers `getrandbits` and `random` alone.

    Every other method of `Random` may draw differently in another Python version.
    """


def _refuse_to_draw(*_: object, **__: object) -> None:
    raise AssertionError("the core draws with getrandbits() and random() alone")


for _name in _FORBIDDEN_DRAWS:
    setattr(Draws, _name, _refuse_to_draw)


def below(random: Random, limit: int) -> int:
    """Return a number from 0 up to, but not including, a limit."""
    assert limit > 0
    return random.getrandbits(64) * limit >> 64


def exponential_us(random: Random, mean_us: int) -> int:
    """Return a waiting time with this mean: a sum of coin throws, free of `log` and its rounding.

    The time is geometric in steps of 1/64 of the mean, and even within a step.
    """
    step = max(1, mean_us // 64)
    steps = 0
    while below(random, 64) and steps < 64 * 12:
        steps += 1
    return steps * step + below(random, step)


class Agenda(Generic[P, E]):
    """What is going to happen, ordered by time and then by the order of its making."""

    __slots__ = ("_heap", "_order", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self._heap: list[tuple[int, int, P | None, E | Callable[[], None]]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._heap)

    def tell(self, at_us: int, who: P, event: E) -> None:
        """Let an event come to somebody at a time, not before now."""
        self._order += 1
        if at_us < self.now_us:
            at_us = self.now_us
        heapq.heappush(self._heap, (at_us, self._order, who, event))

    def tell_first(self, at_us: int, who: P, event: E) -> None:
        """Let an event come before all others of its time."""
        self._order += 1
        heapq.heappush(self._heap, (max(at_us, self.now_us), -self._order, who, event))

    def do(self, at_us: int, action: Callable[[], None]) -> None:
        """Let something be done at a time, not before now."""
        self._order += 1
        heapq.heappush(self._heap, (max(at_us, self.now_us), self._order, None, action))

    def put_back(self, at_us: int, order: int, who: P, event: E) -> None:
        """Let an event that was taken come later, still in its old order."""
        heapq.heappush(self._heap, (at_us, order, who, event))

    def next_us(self) -> int | None:
        """Return when something happens next."""
        return self._heap[0][0] if self._heap else None

    def take_until(self, end_us: int) -> tuple[int, P | None, E | Callable[[], None]] | None:
        """Go on to the next thing that happens up to a time; None when nothing does."""
        heap = self._heap
        if not heap or heap[0][0] > end_us:
            return None
        self.now_us, order, who, what = heapq.heappop(heap)
        return order, who, what

    def take(self) -> tuple[int, P | None, E | Callable[[], None]]:
        """Go on to the next thing that happens: its order, whom it meets, and what it is."""
        self.now_us, order, who, what = heapq.heappop(self._heap)
        return order, who, what
