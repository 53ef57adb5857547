"""The chart's README and schema say what values.yaml says, of every value."""

from tests.chart_pages import FREE, ITEMS, ONE_OF, PATTERNS, descriptions, leaves, pages, values


def test_every_value_is_described() -> None:
    undescribed = [path for path in leaves(values()) if path not in descriptions()]
    assert undescribed == []


def test_what_is_told_of_a_value_is_of_one_that_exists() -> None:
    known = leaves(values())
    assert [path for path in (*FREE, *ITEMS, *ONE_OF, *PATTERNS) if path not in known] == []


def test_the_pages_are_made_from_the_values() -> None:
    for path, text in pages().items():
        assert path.read_text() == text, f"{path.name} is not current: run `make docs`"
