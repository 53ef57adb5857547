"""Log lines: one JSON object for each notice, bounded where outsiders can cause them."""

import io
import json

import pytest

from chordial_node.adapters.json_logs import BURST, LINES, NodeLog
from chordial_node.boundary.effects import Notice
from chordial_node.boundary.notices import (
    LinkUp,
    NeighborsChanged,
    PeerDied,
    PeerRefused,
    SpanEnded,
)
from tests.node.adapters.overlay_rig import NODES


class Lines:
    """A log that is read back."""

    def __init__(self, level: str) -> None:
        self.stream = io.StringIO()
        self.now = 0.0
        self.log = NodeLog(self.stream, level, "p1", lambda: self.now)
        self.observers = self.log.observers()

    def tell(self, notice: Notice) -> None:
        if type(notice) in self.observers:
            self.observers[type(notice)](notice)

    def read(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def test_a_notice_is_a_constant_message_and_fields() -> None:
    lines = Lines("debug")
    lines.tell(PeerDied(NODES[0], incarnation=3, left=False, reason="silent"))
    lines.tell(NeighborsChanged(None, (NODES[0], NODES[1])))
    died, changed = lines.read()
    assert died.pop("time")
    assert died == {
        "level": "info",
        "self": "p1",
        "message": "peer died",
        "node": NODES[0].hex(),
        "incarnation": 3,
        "left": False,
        "reason": "silent",
    }
    assert changed["successors"] == [NODES[0].hex(), NODES[1].hex()]


def test_a_span_carries_its_trace() -> None:
    lines = Lines("debug")
    lines.tell(
        SpanEnded("INVITE", "server", b"\1" * 16, b"\2" * 8, bytes(8), 1.0, 2.0, None, {"a": 1})
    )
    assert lines.read()[0]["trace_id"] == "01" * 16


def test_what_the_level_hides_is_not_even_observed() -> None:
    lines = Lines("info")
    assert LinkUp not in lines.observers
    assert PeerDied in lines.observers


def test_what_outsiders_cause_is_limited_and_counted() -> None:
    lines = Lines("info")
    for _ in range(BURST + 5):
        lines.tell(PeerRefused(None, "no certificate"))
    assert len(lines.read()) == BURST
    lines.now = 2.0
    lines.tell(PeerRefused(None, "no certificate"))
    assert lines.read()[-1]["left_out"] == 5


def test_what_the_level_hides_takes_no_room_from_what_it_shows() -> None:
    lines = Lines("info")
    for _ in range(BURST):
        lines.log.limited_line("debug", "grpc says", told="nothing of interest")
    lines.log.limited_line("error", "grpc says", told="that it cannot go on")
    assert [line["told"] for line in lines.read()] == ["that it cannot go on"]


def test_a_fault_comes_with_where_it_happened() -> None:
    lines = Lines("info")
    lines.log.fault("core failed", ValueError("bug"))
    assert "ValueError: bug" in str(lines.read()[0]["exception"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_lines_are_for_people() -> None:
    stream = Terminal()
    log = NodeLog(stream, "info", "p1")
    log.line("warning", "outsider refused", reason="expired")
    assert stream.getvalue().rstrip().endswith("warning outsider refused  reason=expired")


@pytest.mark.parametrize("kind", Notice.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_notice_has_a_line(kind: type[Notice]) -> None:
    level, message = LINES[kind]
    assert level > 0
    assert message == message.lower()
