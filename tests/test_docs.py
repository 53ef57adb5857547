"""Links of the documentation lead somewhere, and every page can be found from the index."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


def links(page: Path) -> list[Path]:
    """The files that a page links to."""
    return [
        (page.parent / found[1]).resolve() for found in LINK.finditer(page.read_text()) if found[1]
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_of_ours(page: Path) -> None:
    assert not [str(target) for target in links(page) if not target.exists()]


def test_every_page_is_found_from_the_index() -> None:
    found = [DOCS / "index.md"]
    for page in found:
        found += [p for p in links(page) if p.suffix == ".md" and p.is_file() and p not in found]
    missing = [str(page) for page in DOCS.rglob("*.md") if page.resolve() not in found]
    assert not missing, "link them from docs/index.md"
