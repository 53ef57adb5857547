"""The lowest number that no object holds (fleet H6)."""

from hypothesis import given
from hypothesis import strategies as st

from chordial_operator.decisions.numbers import lowest_free, missing, taken


def test_a_number_is_free_when_no_object_of_that_name_is_left() -> None:
    held = taken("edge", ["edge-0"], ["edge-1-0"], ["edge-3"])
    assert held == {0, 1, 3}
    assert lowest_free(held) == 2


def test_objects_of_other_sets_hold_nothing() -> None:
    assert taken("edge", ["edges-0", "edge-x", "edge", "west-edge-0"], ["edge-1-0-0"], []) == set()


def test_missing_peers_get_the_lowest_numbers() -> None:
    assert missing(5, 2, frozenset({0, 3})) == (1, 2, 4)
    assert missing(2, 3, frozenset({0, 1, 2})) == ()


@given(st.frozensets(st.integers(0, 30)), st.integers(0, 20))
def test_a_number_is_never_given_twice(held: frozenset[int], wanted: int) -> None:
    made = missing(wanted, 0, held)
    assert len(set(made)) == wanted
    assert not held.intersection(made)
