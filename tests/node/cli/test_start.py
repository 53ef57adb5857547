"""Which folder `up` takes, and what it does when a port is taken under its feet."""

import argparse
import asyncio
import socket
from pathlib import Path

import pytest

from chordial_node.cli import ports
from chordial_node.cli.fleet import Fleet, FleetError
from chordial_node.cli.options import UsageError
from chordial_node.cli.output import Output
from chordial_node.cli.processes import Processes
from chordial_node.cli.start import bring_up, check_folder, prepare


def options(state: Path, **given: object) -> argparse.Namespace:
    usual: dict[str, object] = {"advertise": "", "domain": "", "peers": 1}
    return argparse.Namespace(state=state, **{**usual, **given})


def make(state: Path, **given: object) -> Fleet:
    return asyncio.run(prepare(options(state, **given), Output(as_json=True)))


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FleetError, match=r"holds something else \(thesis\.tex\)"):
        check_folder(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_fleet_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    fleet = make(tmp_path / "state")
    (fleet.state / "fleet.json").rename(fleet.state / "fleet.json.new")
    check_folder(fleet.state)
    assert make(fleet.state).trusted.exists()
    assert Fleet.exists(fleet.state)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"peers": 0}, "--peers is 1 to 100"),
        ({"advertise": "192.0.2.1:5060"}, "no address of this machine"),
        ({"domain": "two words"}, "--domain is a name"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    tmp_path: Path, given: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        make(tmp_path / "state", **given)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [({"peers": 4}, "1 peers, not 4"), ({"domain": "b.test"}, "--domain a.test, not b.test")],
)
def test_what_a_fleet_has_been_made_with_stays(
    tmp_path: Path, given: dict[str, object], told: str
) -> None:
    make(tmp_path, domain="A.test")
    assert make(tmp_path, domain="a.test").file.domain == "a.test"
    with pytest.raises(FleetError, match=told):
        make(tmp_path, **given)


@pytest.mark.slow
def test_a_port_taken_between_choice_and_start_costs_another_try(tmp_path: Path) -> None:
    fleet = make(tmp_path / "state")
    started: list[Processes] = []

    async def start() -> None:
        try:
            await bring_up(fleet, 1, Output(as_json=True), started)
        finally:
            await started[-1].stop_all()

    with socket.create_server(("127.0.0.1", fleet.file.peers[0].ports.http)):
        asyncio.run(start())
    assert len(started) == 2
    moved = Fleet.load(fleet.state).file.peers[0].ports
    assert moved.http != fleet.file.peers[0].ports.http
    assert ports.taken_ports(moved, "127.0.0.1", "127.0.0.1") == []
