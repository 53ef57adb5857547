"""A peer that asks: run by `bench` as a process, told by lines of JSON what to measure.

A program of its own, so that asking costs what it costs a peer: uvloop, and malloc set alike.
Standard output carries the answers and nothing else.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from chordial_node import config
from chordial_node.boundary.control import Get, Put, ValueAnswer
from chordial_node.cli.bench.asker_process import Command, Done, Load, Measure
from chordial_node.node import Node, StartError

Operation = Callable[[int], Awaitable[bool]]
"""Does one operation by its number; True when it succeeded."""

LIFETIME_SECONDS = 3600.0
LOADING_AT_ONCE = 32


async def closed_loop(operation: Operation, in_flight: int, seconds: float, most: int = 0) -> Done:
    """Keep so many operations going for a time, or until so many were begun."""
    latencies: list[int] = []
    failed = 0
    started = time.perf_counter()
    until = started + seconds
    numbers = iter(range(most or 1 << 62))

    async def worker() -> None:
        nonlocal failed
        while (began := time.perf_counter()) < until:
            number = next(numbers, None)
            if number is None:
                return
            if await operation(number):
                latencies.append(int((time.perf_counter() - began) * 1e6))
            else:
                failed += 1

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return Done(latencies, failed, time.perf_counter() - started)


class Asker:
    """Gets and puts through one node of this process."""

    def __init__(self, node: Node) -> None:
        """Take a node that has started."""
        self._node = node

    async def do(self, command: Command) -> Done:
        """Do what the line says."""
        match command:
            case Load(count, size):
                loaded = await closed_loop(
                    lambda number: self._put(b"get-%d" % number, size), LOADING_AT_ONCE, 60.0, count
                )
                kept = len(loaded.latencies_us)
                return Done(problem="" if kept == count else f"{kept} of {count} values were kept")
            case Measure("lookup", _, in_flight, seconds, count, _):
                return await closed_loop(
                    lambda number: self._get(b"get-%d" % (number * 7919 % count)),
                    in_flight, seconds,
                )  # fmt: skip
            case Measure(_, name, in_flight, seconds, _, size):
                begin = name.encode()
                return await closed_loop(
                    lambda number: self._put(begin + b"-%d" % number, size), in_flight, seconds
                )

    async def _get(self, key: bytes) -> bool:
        answer = await self._node.ask(Get(key=key))
        return isinstance(answer, ValueAnswer) and answer.found

    async def _put(self, key: bytes, size: int) -> bool:
        question = Put(key=key, value=os.urandom(size), lifetime_seconds=LIFETIME_SECONDS)
        return isinstance(await self._node.ask(question), ValueAnswer)


async def _run(configuration: bytes) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    node = Node(config.parse(configuration), sys.stderr)
    try:
        await node.start()
    except StartError as error:
        _say(Done(problem=str(error)))
        return
    try:
        _say(Done())
        asker = Asker(node)
        while line := await lines.readline():
            _say(await asker.do(msgspec.json.decode(line, type=Command)))
    finally:
        node.stop(leave=False)
        await node.wait()
        await node.close()


def _say(done: Done) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
    sys.stdout.buffer.flush()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(Path(sys.argv[1]).read_bytes()))
