"""A fleet of ours to measure: peer processes in a folder of its own, ended whatever happens.

The folder lies where files outlive a restart (/var/tmp), never in memory: an acknowledged Store has
been flushed to a disk, here too.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from chordial_node.cli import ports
from chordial_node.cli.asking import statuses
from chordial_node.cli.bench.asker_process import AskerProcess, Load, Measure
from chordial_node.cli.bench.figures import Round, cpu_seconds
from chordial_node.cli.fleet import Fleet, FleetError
from chordial_node.cli.ports import PeerPorts
from chordial_node.cli.processes import Processes
from chordial_node.cli.status import is_ideal

START_SECONDS = 120.0
LOOK_SECONDS = 0.3
HOST = "127.0.0.1"
DOMAIN = "chordial.test"
VALUES = 500
VALUE_BYTES = 300
SCRATCH = "/var/tmp"
PORTS = (10_000, 30_000)
PORTS_OF_A_PEER = 5
TRIES = 50


class BenchFleet:
    """Peers in processes, so many to each."""

    name = "chordial"

    def __init__(self, fleet: Fleet, processes: Processes) -> None:
        """Hold what was started."""
        self.fleet = fleet
        self.peers = len(fleet.file.peers)
        self._processes = processes

    @property
    def pids(self) -> Sequence[int]:
        """The processes whose CPU counts."""
        running = [self._processes.running(group[0]) for group in self._processes.groups]
        return [pid for pid in running if pid is not None]


class OverlaySystem(BenchFleet):
    """A fleet whose last peer does the asking: `lookup` is a get, `store` a put of a new key."""

    def __init__(self, fleet: Fleet, processes: Processes, asker: AskerProcess) -> None:
        """Hold what was started."""
        super().__init__(fleet, processes)
        self._asker = asker
        self._round = 0

    async def prepare(self) -> None:
        """Store the values that will be looked up."""
        await self._asker.tell(Load(VALUES, VALUE_BYTES))

    async def measure(self, what: str, in_flight: int, seconds: float) -> Round:
        """Keep so many operations going for a while."""
        self._round += 1
        pids = [*self.pids, self._asker.pid]
        name = f"{what}-{self._round}"
        before = cpu_seconds(pids)
        done = await self._asker.tell(Measure(what, name, in_flight, seconds, VALUES, VALUE_BYTES))
        cpu = cpu_seconds(pids) - before
        latencies = [each / 1e6 for each in done.latencies_us]
        return Round(latencies, len(latencies), done.failed, done.seconds, cpu)


@asynccontextmanager
async def sip_fleet(peers: int, per_process: int) -> AsyncIterator[BenchFleet]:
    """Start so many peers, all alike, and end them afterwards."""
    with tempfile.TemporaryDirectory(prefix="chordial-bench-", dir=SCRATCH) as folder:
        whole = _made(Path(folder), peers)
        processes = Processes(_interleaved(whole, peers, per_process), per_process)
        try:
            processes.start_all()
            await _until_ready(whole, processes)
            yield BenchFleet(whole, processes)
        finally:
            await processes.stop_all()


@asynccontextmanager
async def overlay_fleet(peers: int, per_process: int) -> AsyncIterator[OverlaySystem]:
    """Start so many peers, the last one as asking process, and end them afterwards."""
    with tempfile.TemporaryDirectory(prefix="chordial-bench-", dir=SCRATCH) as folder:
        whole = _made(Path(folder), peers)
        processes = Processes(_interleaved(whole, peers - 1, per_process), per_process)
        place = whole.folder(whole.file.peers[-1])
        command = [
            sys.executable, "-m", "chordial_node.cli.bench.asker", str(place / "config.json"),
        ]  # fmt: skip
        asker: AskerProcess | None = None
        try:
            processes.start_all()
            asker = await AskerProcess.start(command, place / "node.log")
            await asker.answer()
            await _until_ready(whole, processes)
            system = OverlaySystem(whole, processes, asker)
            await system.prepare()
            yield system
        finally:
            if asker is not None:
                await asker.end()
            await processes.stop_all()


def _made(state: Path, peers: int) -> Fleet:
    return Fleet.make(state, DOMAIN, HOST, "", _ports(peers))


def _ports(peers: int) -> list[PeerPorts]:
    """Choose ports side by side, far from the usual ones and from those of outgoing connections."""
    for _ in range(TRIES):
        first = random.randrange(*PORTS)
        chosen = [
            PeerPorts(number, number + 1, number + 2, number + 3, number + 4, has_ipv6=False)
            for number in range(first, first + peers * PORTS_OF_A_PEER, PORTS_OF_A_PEER)
        ]
        if not any(ports.taken_ports(each, HOST, HOST) for each in chosen):
            return chosen
    raise FleetError(f"no {peers * PORTS_OF_A_PEER} ports in a row are free: stop what uses them")


def _interleaved(fleet: Fleet, count: int, per_process: int) -> Fleet:
    """Order the first peers so that ring neighbors, which hold each other's copies, are apart."""
    chosen = fleet.file.peers[:count]
    groups = -(-count // per_process)
    mixed = tuple(peer for first in range(groups) for peer in chosen[first::groups])
    return Fleet(fleet.state, msgspec.structs.replace(fleet.file, peers=mixed))


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
