"""A process that measures on command: one line of JSON each way, ended by closing its input.

Who asks is measured like who answers, in a process of its own with the event loop and the malloc
settings of a peer. It ends by itself when whoever started it is gone.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from chordial_node.cli.fleet import FleetError
from chordial_node.cli.processes import GRPC, MALLOC, end_processes

LONGEST_LINE = 1 << 26
END_SECONDS = 10.0

S = TypeVar("S", bound=msgspec.Struct)


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Store so many values of so many bytes, which the measurements will look up."""

    count: int
    value_bytes: int


class Measure(msgspec.Struct, frozen=True, tag="measure"):
    """Keep so many operations going for a while."""

    what: str
    name: str
    """No other measurement has it: keys of new values begin with it."""
    in_flight: int
    seconds: float
    count: int
    value_bytes: int


Command = Load | Measure


class Done(msgspec.Struct, frozen=True):
    """What an asker answers to each command, and once at its start."""

    latencies_us: list[int] = []
    failed: int = 0
    seconds: float = 0.0
    problem: str = ""
    port: int = 0


class AskerProcess:
    """One such process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """Wrap a process that was started."""
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, command: Sequence[str], log: Path) -> "AskerProcess":
        """Start a program; what it complains of goes to a file."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**GRPC, **os.environ, **MALLOC},
                limit=LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for us: we end it in order
            )
        return cls(process, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def tell(self, command: Command) -> Done:
        """Have a command done; FleetError when it could not be."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(command) + b"\n")
        return await self.answer()

    async def answer(self) -> Done:
        """Return its next line; the first one comes unasked, when it is ready."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            words = self._log.read_text(errors="replace").strip().splitlines()
            raise FleetError(f"an asking process ended: {words[-1] if words else 'no reason told'}")
        done = msgspec.json.decode(line, type=Done)
        if done.problem:
            raise FleetError(done.problem)
        return done

    async def end(self) -> None:
        """Close its input, and end it by its id if that does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            await end_processes([self._process.pid], patience=1.0)
            await self._process.wait()
