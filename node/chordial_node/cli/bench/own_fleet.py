"""A fleet to measure: peer processes in a folder of its own, and an asking peer in this process."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from chordial_node import config
from chordial_node.cli import ports
from chordial_node.cli.asking import statuses
from chordial_node.cli.fleet import Fleet, FleetError, FleetFile
from chordial_node.cli.processes import Processes
from chordial_node.cli.status import is_ideal
from chordial_node.node import Node

START_SECONDS = 120.0
LOOK_SECONDS = 0.1
HOST = "127.0.0.1"
DOMAIN = "chordial.test"


class BenchFleet:
    """The measured system: all peers but the last are processes, the last one is here."""

    def __init__(self, fleet: Fleet, processes: Processes, asker: Node) -> None:
        self.fleet = fleet
        self.asker = asker
        self._processes = processes

    @property
    def pids(self) -> Sequence[int]:
        """The processes whose CPU counts, this one included."""
        running = [self._processes.running(group[0]) for group in self._processes.groups]
        return [os.getpid(), *(pid for pid in running if pid is not None)]


@asynccontextmanager
async def bench_fleet(peers: int, per_process: int) -> AsyncIterator[BenchFleet]:
    """Start so many peers, the asking one among them; end them all afterwards."""
    with tempfile.TemporaryDirectory(prefix="chordial-bench-") as folder:
        chosen = ports.choose(peers, HOST, HOST)
        whole = Fleet.make(Path(folder), DOMAIN, HOST, "", chosen)
        served = Fleet(whole.state, _without_last(whole))
        processes = Processes(served, per_process)
        text = (whole.folder(whole.file.peers[-1]) / "config.json").read_bytes()
        asker = Node(config.parse(text), sys.stderr)
        try:
            processes.start_all()
            await asker.start()
            await _until_ready(whole, processes)
            yield BenchFleet(whole, processes, asker)
        finally:
            asker.stop(leave=False)
            await asker.wait()
            await asker.close()
            await processes.stop_all()


def _without_last(fleet: Fleet) -> FleetFile:
    return msgspec.structs.replace(fleet.file, peers=fleet.file.peers[:-1])


async def _until_ready(fleet: Fleet, processes: Processes) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        answers = await statuses(fleet)
        ready = [each for each in answers if each is not None and each.state == "ready"]
        if len(ready) == len(answers) and is_ideal(ready):
            return
        ended = processes.exit_codes()
        if ended or time.monotonic() > until:
            raise FleetError(
                f"the fleet to measure did not come up: {len(ready)} of {len(answers)} peers are "
                f"ready{', ended: ' + ', '.join(ended) if ended else ''}"
            )
        await asyncio.sleep(LOOK_SECONDS)
