"""Numbers that change all the time, told seldom (fleet H20): the rest is metrics.

At most every 30 s, and only when changed by more than 5 %; whether a phone is registered at most
every 60 s. Pure: the caller keeps the struct between turns, and may lose it.
"""

from collections.abc import Mapping

import msgspec

PERIOD_SECONDS = 30.0
LEAST_CHANGE = 0.05
DEBOUNCE_SECONDS = 60.0


class SlowNumber(msgspec.Struct, frozen=True):
    """A number as it is told, and since when."""

    value: int
    since: float


def slowed(
    before: SlowNumber | None,
    shown: int | None,
    value: int,
    now: float,
    *,
    period: float = PERIOD_SECONDS,
    least_change: float = LEAST_CHANGE,
) -> SlowNumber:
    """Return the number to tell now.

    `shown` is what the status says: an operator that has just started changes nothing at once.
    """
    if before is None:
        if shown is None:
            return SlowNumber(value, now)
        before = SlowNumber(shown, now)
    is_early = now - before.since < period
    is_like_before = abs(value - before.value) <= least_change * before.value
    return before if is_early or is_like_before else SlowNumber(value, now)


def slow_numbers(
    before: Mapping[str, SlowNumber],
    shown: Mapping[str, int | None],
    values: Mapping[str, int],
    now: float,
) -> dict[str, SlowNumber]:
    """Return all numbers of an object as they are to be told now, by name."""
    return {
        name: slowed(before.get(name), shown.get(name), value, now)
        for name, value in values.items()
    }
