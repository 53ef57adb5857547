"""Processes of a fleet are known by their command line, and their logs have a bound."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chordial_node.cli.fleet import FleetError
from chordial_node.cli.processes import (
    LONGEST_LOG,
    FleetLock,
    Processes,
    end_processes,
    running_process,
    running_processes,
)
from tests.node.cli.test_fleet import make

WAITS = "import signal, sys; print('ready', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS


@contextmanager
def process(program: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("name", ["pid", "values.db.lock"])
def test_a_peer_is_found_by_whoever_wrote_its_process_id(tmp_path: Path, name: str) -> None:
    fleet = make(tmp_path / "state")
    configs = [str(fleet.folder(peer) / "config.json") for peer in fleet.file.peers]
    with process(WAITS, *configs) as running:
        for peer in fleet.file.peers:
            (fleet.folder(peer) / name).write_text(f"{running.pid}\n")
            assert running_process(fleet.folder(peer)) == running.pid
        assert running_processes(fleet) == [running.pid]
    assert running_processes(fleet) == []


def test_an_id_that_somebody_else_has_now_is_nobody(tmp_path: Path) -> None:
    fleet = make(tmp_path / "state")
    folder = fleet.folder(fleet.file.peers[0])
    with process(WAITS) as running:
        (folder / "pid").write_text(str(running.pid))
        assert running_process(folder) is None


def test_in_a_hurry_nobody_is_waited_for() -> None:
    async def end(pid: int) -> None:
        hurry = asyncio.Event()
        hurry.set()
        await end_processes([pid], patience=60.0, hurry=hurry)

    with process(STUBBORN) as running:
        asyncio.run(end(running.pid))
        assert running.wait() == -signal.SIGKILL


def test_a_log_that_has_grown_long_is_put_away(tmp_path: Path) -> None:
    fleet = make(tmp_path / "state")
    group = fleet.file.peers[:1]
    log = fleet.folder(group[0]) / "node.log"
    with log.open("wb") as file:
        file.truncate(LONGEST_LOG + 1)
    (fleet.folder(group[0]) / "config.json").write_text("{")  # it ends at once
    processes = Processes(fleet)
    processes.start(group)
    asyncio.run(processes.stop_all())
    assert log.with_name("node.log.1").stat().st_size == LONGEST_LOG + 1
    assert log.stat().st_size < LONGEST_LOG


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FleetError, match=r"file/state cannot be written \(not a directory\)"):
        FleetLock(tmp_path / "file" / "state").take()
