"""The reference pages are made from the source, are up to date, and leave nothing out."""

from pathlib import Path

import pytest

from chordial_node import config
from chordial_node.boundary.counters import Counters
from chordial_node.overlay.messages import MESSAGES
from tests.reference_pages import metrics_page, node_config_page, notice_kinds, pages, wire_page


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_reference_page_is_what_the_source_says(path: Path) -> None:
    assert path.read_text() == pages()[path], "run `make docs`"


def test_the_wire_page_has_every_message() -> None:
    page = wire_page()
    assert not [each.__name__ for each in MESSAGES.values() if f"### {each.__name__} (" not in page]


def test_the_metrics_page_has_every_counter_and_notice_and_what_it_means() -> None:
    page = metrics_page()
    assert not [name for name in Counters.__slots__ if f"`chordial_{name}_total`" not in page]
    assert not [name for name in notice_kinds() if f"| `{name}` |" not in page]
    assert "|  |\n" not in page


def test_the_configuration_page_has_every_field() -> None:
    page = node_config_page()
    for struct in (
        config.NodeConfig,
        config.OverlayConfig,
        config.SipConfig,
        config.IdentityConfig,
    ):
        assert not [name for name in struct.__struct_fields__ if f"| `{name}` |" not in page]
