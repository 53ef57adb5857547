"""The heap of deadlines against a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from chordial_node.kernel.timers import Timers


def fire_all(timers: Timers, now: float) -> None:
    while (fire := timers.next_due(now)) is not None:
        fire()


def test_timers_fire_in_order_of_their_due_times_then_of_their_making() -> None:
    timers, fired = Timers(), list[str]()
    timers.at(2.0, lambda: fired.append("late"))
    timers.at(1.0, lambda: fired.append("first"))
    timers.at(1.0, lambda: fired.append("second"))
    fire_all(timers, 1.5)
    assert fired == ["first", "second"]
    assert timers.deadline() == 2.0


def test_a_cancelled_timer_does_not_fire_and_may_be_cancelled_again() -> None:
    timers, fired = Timers(), list[int]()
    timer = timers.at(1.0, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    fire_all(timers, 5.0)
    assert (fired, len(timers), timers.deadline()) == ([], 0, None)


def test_cancelling_after_firing_changes_nothing() -> None:
    timers = Timers()
    timer = timers.at(1.0, lambda: None)
    timers.at(2.0, lambda: None)
    fire_all(timers, 1.0)
    timer.cancel()
    assert len(timers) == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=300))
def test_the_heap_agrees_with_a_sorted_list(timers_made: list[tuple[int, bool]]) -> None:
    timers, fired = Timers(), list[tuple[int, int]]()
    expected = []
    for index, (due, is_cancelled) in enumerate(timers_made):
        timer = timers.at(due, lambda place=(due, index): fired.append(place))  # type: ignore[misc]
        if is_cancelled:
            timer.cancel()
        else:
            expected.append((due, index))
    assert len(timers) == len(expected)
    fire_all(timers, 50)
    assert fired == sorted(expected)
