"""How often enrollment may be asked for: per caller and in all, so that a flood costs nothing dear.

Token buckets in a bounded table; the caller that was quiet longest is forgotten first. Behind every
request that passes stand five questions to the API server.
"""

from collections.abc import Callable

import msgspec

MOST_CALLERS = 4_096


class Rate(msgspec.Struct, frozen=True):
    """So many at once, and so many a second for ever."""

    burst: float
    per_second: float


class TokenBucket:
    """Lets a burst through and then a steady rate."""

    __slots__ = ("_filled_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        """Start full."""
        self._rate = rate
        self._left = rate.burst
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Take one if there is one."""
        gained = max(now - self._filled_at, 0.0) * self._rate.per_second
        self._left = min(self._rate.burst, self._left + gained)
        self._filled_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class CallerLimits:
    """A bucket for each caller."""

    def __init__(self, rate: Rate, clock: Callable[[], float], most: int = MOST_CALLERS) -> None:
        """Take the rate of one caller, a clock, and how many callers are remembered."""
        self._rate = rate
        self._clock = clock
        self._most = most
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, caller: str) -> bool:
        """Tell whether a caller may be served now."""
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or TokenBucket(self._rate, now)
        while len(self._buckets) >= self._most:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[caller] = bucket
        return bucket.take(now)
