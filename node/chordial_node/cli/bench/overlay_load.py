"""Gets and puts through a fleet of ours, asked by a peer in this process."""

import os
import time

from chordial_node.boundary.control import Get, Put, ValueAnswer
from chordial_node.cli.bench.figures import Figures, closed_loop, cpu_seconds, figures
from chordial_node.cli.bench.own_fleet import BenchFleet

SYSTEM = "chordial"
VALUE_BYTES = 300
LIFETIME_SECONDS = 3600.0
LOADING = 32


class OverlayLoad:
    """Measures `lookup` (get of a value that is there) and `store` (put of a new one)."""

    def __init__(self, fleet: BenchFleet, keys: int) -> None:
        self._fleet = fleet
        self._keys = keys
        self._round = 0

    async def prepare(self) -> None:
        """Store the values that are to be got."""
        todo = iter(range(self._keys))

        async def put(_number: int) -> bool:
            number = next(todo, None)
            return number is None or await self._put(b"get-%d" % number)

        started = time.monotonic()
        while (left := self._keys) and time.monotonic() - started < 60.0:
            _, failed, _ = await closed_loop(put, LOADING, 0.5)
            if failed:
                raise RuntimeError(f"{failed} of {left} values could not be stored")
            if next(todo, None) is None:
                return

    async def measure(self, what: str, in_flight: int, seconds: float) -> Figures:
        """Measure one of the two in a closed loop."""
        self._round += 1
        operation = self._get if what == "lookup" else self._store
        before = cpu_seconds(self._fleet.pids)
        latencies, failed, took = await closed_loop(operation, in_flight, seconds)
        cpu = cpu_seconds(self._fleet.pids) - before
        peers = len(self._fleet.fleet.file.peers)
        return figures(what, SYSTEM, peers, in_flight, latencies, failed, took, cpu)

    async def _get(self, number: int) -> bool:
        answer = await self._fleet.asker.ask(Get(key=b"get-%d" % (number % self._keys)))
        return isinstance(answer, ValueAnswer) and answer.found

    async def _store(self, number: int) -> bool:
        return await self._put(b"put-%d-%d" % (self._round, number))

    async def _put(self, key: bytes) -> bool:
        question = Put(key=key, value=os.urandom(VALUE_BYTES), lifetime_seconds=LIFETIME_SECONDS)
        return isinstance(await self._fleet.asker.ask(question), ValueAnswer)
