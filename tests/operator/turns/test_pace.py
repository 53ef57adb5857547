"""So many changes a second."""

from chordial_operator.turns.pace import Pace


def test_ten_at_once_and_then_ten_a_second() -> None:
    pace = Pace(10)
    assert pace.take(25, 100.0) == 10
    assert pace.take(15, 100.0) == 0
    assert pace.take(15, 100.5) == 5
    assert pace.take(15, 200.0) == 10


def test_a_clock_that_goes_back_gives_nothing() -> None:
    pace = Pace(10)
    assert pace.take(10, 100.0) == 10
    assert pace.take(1, 50.0) == 0
    assert pace.take(3, 51.0) == 3
