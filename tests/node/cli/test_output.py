"""What a person sees: the ring drawn, one JSON object, colours only on a terminal."""

import json
import re

import pytest

from chordial_node.cli.output import RING_HEIGHT, Output, draw_ring, fitting

MARKUP = re.compile(r"\[/?[a-z ]*\]")


def plain(lines: list[str]) -> list[str]:
    return [MARKUP.sub("", line) for line in lines]


def test_each_peer_stands_at_the_place_of_its_node_id() -> None:
    lines = plain(
        draw_ring(
            [
                ("top", "00" * 16, "ready"),
                ("right", "40" + "00" * 15, "ready"),
                ("bottom", "80" + "00" * 15, "ready"),
                ("left", "c0" + "00" * 15, "down"),
            ]
        )
    )
    assert len(lines) == RING_HEIGHT
    assert "top" in lines[0]
    assert "bottom" in lines[-1]
    middle = lines[RING_HEIGHT // 2]
    assert middle.index("left ○") < middle.index("● right")


def test_two_peers_at_one_place_are_both_drawn() -> None:
    lines = plain(draw_ring([("one", "40" * 16, "ready"), ("two", "40" * 16, "ready")]))
    assert sum("one" in line and "two" in line for line in lines) == 1


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.say("for people")
    output.table(("A",), [("b",)])
    output.ring([("one", "40" * 16, "ready")])
    output.result({"found": True})
    assert json.loads(capsys.readouterr().out) == {"found": True}


def test_a_failure_is_told_on_standard_error_and_in_the_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(as_json=True).failed("no peer answers: start the fleet")
    told = capsys.readouterr()
    assert json.loads(told.out) == {"error": "no peer answers: start the fleet"}
    assert "chordial: no peer answers" in told.err


def test_without_a_terminal_there_are_no_escape_codes(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.table(("STATE",), [("ready",)])
    output.done("registered")
    assert "\x1b" not in capsys.readouterr().out


COLUMNS = ("PEER", "GRPC", "CALLS")
ROWS = [("peer-1", "127.0.0.1:6084", "0")]


@pytest.mark.parametrize(
    ("width", "shown"),
    [(80, COLUMNS), (29, COLUMNS), (28, ("PEER", "CALLS")), (5, ("PEER",))],
)
def test_a_table_leaves_spare_columns_out_where_it_is_too_wide(
    width: int, shown: tuple[str, ...]
) -> None:
    held = fitting(COLUMNS, ROWS, ("GRPC", "CALLS"), width)
    assert tuple(column[0] for column in held) == shown
