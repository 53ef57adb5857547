"""Numbers are written seldom, whatever happens (fleet H20)."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from chordial_operator.status.slow_numbers import (
    DEBOUNCE_SECONDS,
    SlowNumber,
    slow_numbers,
    slowed,
)


def test_a_number_is_told_anew_after_half_a_minute_and_when_it_changed_enough() -> None:
    first = slowed(None, None, 100, 0.0)
    assert first == SlowNumber(100, 0.0)
    assert slowed(first, None, 200, 29.9) is first
    assert slowed(first, None, 105, 1000.0) is first
    assert slowed(first, None, 106, 30.0) == SlowNumber(106, 30.0)
    assert slowed(SlowNumber(0, 0.0), None, 1, 30.0).value == 1
    assert slowed(SlowNumber(3, 0.0), None, 0, 30.0).value == 0


def test_an_operator_that_starts_says_what_is_said_already() -> None:
    first = slowed(None, 40, 100, 50.0)
    assert first == SlowNumber(40, 50.0)
    assert slowed(first, 40, 100, 80.0).value == 100


def test_every_change_of_a_debounced_number_is_told_but_not_sooner() -> None:
    first = SlowNumber(100, 0.0)
    later = slowed(first, None, 101, 60.0, period=DEBOUNCE_SECONDS, least_change=0.0)
    assert later.value == 101
    assert slowed(later, None, 100, 119.0, period=DEBOUNCE_SECONDS, least_change=0.0) is later


@given(st.lists(st.tuples(st.floats(0.1, 20.0), st.integers(0, 10_000)), max_size=100))
def test_whatever_happens_a_number_is_written_at_most_twice_a_minute(
    changes: list[tuple[float, int]],
) -> None:
    now, numbers, writes = 0.0, slow_numbers({}, {}, {"calls": 0}, 0.0), [0.0]
    for after, value in changes:
        now += after
        following = slow_numbers(numbers, {}, {"calls": value}, now)
        if following != numbers:
            writes.append(now)
        numbers = following
    assert all(later - sooner >= 30.0 for sooner, later in itertools.pairwise(writes))
