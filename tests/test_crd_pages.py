"""The pages of the custom resources are made from the definitions and leave nothing out."""

from pathlib import Path

import pytest

from tests.crd_pages import page, pages
from tests.definitions import KINDS, examples, fields, schema


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_page_is_what_the_definition_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run `make docs`"


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_every_field_and_an_example(kind: str) -> None:
    text = page(kind)
    for part in ("spec", "status"):
        told = [path for path, _ in fields(schema(kind)["properties"][part])]
        assert not [path for path in told if f"| `{path}` |" not in text]
    assert f"kind: {kind}\n" in text
    assert "|  |\n" not in text


def test_there_is_an_example_of_every_kind() -> None:
    shown = [manifest["kind"] for several in examples().values() for manifest in several]
    assert not [kind for kind in KINDS if kind not in shown]
