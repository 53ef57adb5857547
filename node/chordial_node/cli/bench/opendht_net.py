"""A net of OpenDHT nodes on the loopback, asked by a fresh process for each measurement.

Fresh, because an asker of thousands of puts becomes slow; kept until the end, because one that goes
away leaves a dead node in everybody's tables. Both would show OpenDHT worse than it is.
"""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

from chordial_node.cli.bench.asker_process import AskerProcess, Load, Measure
from chordial_node.cli.bench.figures import Round, cpu_seconds
from chordial_node.cli.bench.own_fleet import VALUE_BYTES, VALUES

PYTHON = "/usr/bin/python3"
SETTLE_SECONDS = 8.0
"""A net that has just started puts values where they are not found later."""
INSTALL = "OpenDHT is not here; install it with: apt-get install python3-opendht"


class OpenDhtSystem:
    """Nodes in processes, as many to each as ours have."""

    name = "opendht"

    def __init__(self, peers: int, folder: Path, script: Path) -> None:
        """Start nothing yet."""
        self.peers = peers
        self._folder = folder
        self._script = script
        self._processes: list[AskerProcess] = []
        self._first_port = 0
        self._round = 0

    async def start(self, per_process: int) -> None:
        """Start all nodes but the asking one, and store the values that will be looked up."""
        left = self.peers - 1
        while left:
            count = min(per_process, left)
            _, port = await self._started("host", str(count), str(self._first_port))
            self._first_port = self._first_port or port
            left -= count
        await asyncio.sleep(SETTLE_SECONDS)
        loader, _ = await self._started("ask", str(self._first_port))
        await loader.tell(Load(VALUES, VALUE_BYTES))

    async def measure(self, what: str, in_flight: int, seconds: float) -> Round:
        """Keep so many operations going for a while."""
        self._round += 1
        asker, _ = await self._started("ask", str(self._first_port))
        pids = [each.pid for each in self._processes]
        name = f"{what}-{self._round}"
        before = cpu_seconds(pids)
        done = await asker.tell(Measure(what, name, in_flight, seconds, VALUES, VALUE_BYTES))
        cpu = cpu_seconds(pids) - before
        latencies = [each / 1e6 for each in done.latencies_us]
        return Round(latencies, len(latencies), done.failed, done.seconds, cpu)

    async def end(self) -> None:
        """End every process."""
        await asyncio.gather(*(each.end() for each in self._processes))

    async def _started(self, *arguments: str) -> tuple[AskerProcess, int]:
        command = [PYTHON, str(self._script), *arguments]
        process = await AskerProcess.start(command, self._folder / "opendht.log")
        self._processes.append(process)
        return process, (await process.answer()).port


@asynccontextmanager
async def opendht_net(peers: int, per_process: int) -> AsyncIterator[OpenDhtSystem]:
    """Start a net of so many nodes and end it afterwards."""
    script = resources.files("chordial_node.cli.bench") / "opendht_node.py"
    with tempfile.TemporaryDirectory() as folder, resources.as_file(script) as path:
        system = OpenDhtSystem(peers, Path(folder), path)
        try:
            await system.start(per_process)
            yield system
        finally:
            await system.end()


def is_installed() -> bool:
    """Tell whether the system's Python has OpenDHT."""
    if not Path(PYTHON).exists():
        return False
    done = subprocess.run([PYTHON, "-c", "import opendht"], capture_output=True, check=False)
    return done.returncode == 0
