"""The processes of a local fleet: started, watched, ended by id, found again after a kill.

A process counts as ours only if its command line names the peer's configuration file: an id alone
may have been given to somebody else since.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from chordial_node.cli.fleet import Fleet, FleetError, PeerPlace, make_folder, write_whole, writing

MALLOC = {
    # a third of the cost of mutual TLS: its reads stay below the threshold of mmap
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
    "MALLOC_TOP_PAD_": "1048576",
    "MALLOC_ARENA_MAX": "1",  # gRPC's threads do not need one each: 1.5 MiB
}
GRPC = {
    # a fifth to a half of a lookup's CPU: fewer hands between a socket and the event loop
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
}
STOP_SECONDS = 15.0
LONGEST_LOG = 16 << 20
"""Bytes; a longer log becomes `node.log.1` when its peer is started."""
PID_FILES = ("pid", "values.db.lock")
"""Where a peer's process is named: by whoever started it, and by itself where it locks its disk."""


class FleetLock:
    """One `up` at a time in a state folder."""

    def __init__(self, state: Path) -> None:
        self._path = state / "lock"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the lock, or raise FleetError with the process that has it."""
        make_folder(self._path.parent)
        with writing(self._path):
            file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise FleetError(
                f"another `chordial up` (process {holder}) runs in {self._path.parent}: "
                "stop it with Ctrl-C where it runs, or name another --state"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Processes:
    """The peer processes of one fleet."""

    def __init__(self, fleet: Fleet, per_process: int = 1) -> None:
        self.fleet = fleet
        peers = fleet.file.peers
        self.groups = [
            peers[start : start + per_process] for start in range(0, len(peers), per_process)
        ]
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start_all(self) -> None:
        """Start every process that does not run."""
        for group in self.groups:
            if self.running(group[0]) is None:
                self.start(group)

    def start(self, group: Sequence[PeerPlace]) -> int:
        """Start one process for a group of peers and return its id."""
        configs = [str(self.fleet.folder(peer) / "config.json") for peer in group]
        folder = self.fleet.folder(group[0])
        _put_away_long(folder / "node.log")
        with writing(folder), (folder / "node.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "chordial_node", *configs],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**GRPC, **os.environ, **MALLOC},
                start_new_session=True,  # Ctrl-C is for us: we end them in order
            )
        self._children[group[0].name] = child
        write_whole(folder / "pid", b"%d" % child.pid)
        return child.pid

    def running(self, peer: PeerPlace) -> int | None:
        """Return the id of the process that runs a peer, or None."""
        group = next(group for group in self.groups if peer in group)
        first = group[0]
        child = self._children.get(first.name)
        if child is not None:
            return child.pid if child.poll() is None else None
        return running_process(self.fleet.folder(first))

    def exit_codes(self) -> dict[str, int]:
        """Return the exit codes of our own children that have ended, by peer, once."""
        ended = {}
        for name, child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                ended[name] = code
                del self._children[name]
        return ended

    async def stop_all(self, hurry: asyncio.Event | None = None) -> None:
        """End every process of the fleet: SIGTERM, then SIGKILL for who does not heed it."""
        ids = [pid for group in self.groups if (pid := self.running(group[0])) is not None]
        await end_processes(ids, hurry=hurry)
        for child in self._children.values():
            child.wait()
        self._children.clear()


async def end_processes(
    ids: Sequence[int], patience: float = STOP_SECONDS, hurry: asyncio.Event | None = None
) -> None:
    """End processes by id and return when they are gone; in a hurry at once."""
    for pid in ids:
        _signal(pid, signal.SIGTERM)
    limit = time.monotonic() + patience
    while any(_is_alive(pid) for pid in ids):
        if time.monotonic() > limit or (hurry is not None and hurry.is_set()):
            for pid in ids:
                _signal(pid, signal.SIGKILL)
        await asyncio.sleep(0.02)


def running_process(folder: Path) -> int | None:
    """Return the id of the living process whose command line names this peer's configuration."""
    for name in PID_FILES:
        try:
            pid = int((folder / name).read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if str(folder / "config.json").encode() in command and _is_alive(pid):
            return pid
    return None


def running_processes(fleet: Fleet) -> list[int]:
    """Return the ids of all living processes of a fleet, whoever started them, each once."""
    found = (running_process(fleet.folder(peer)) for peer in fleet.file.peers)
    return list(dict.fromkeys(pid for pid in found if pid is not None))


def _put_away_long(log: Path) -> None:
    if log.exists() and log.stat().st_size > LONGEST_LOG:
        log.replace(log.with_name(log.name + ".1"))


def _is_alive(pid: int) -> bool:
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
