"""What a measurement gives: throughput, percentiles, and CPU of all processes per operation.

Only ratios of figures taken in the same run are to be trusted on a shared machine.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

Operation = Callable[[int], Awaitable[bool]]
"""Does one operation by its number; True when it succeeded."""


class Figures(msgspec.Struct, frozen=True):
    """One measurement."""

    what: str
    system: str
    peers: int
    in_flight: int
    ops: int
    failed: int
    seconds: float
    ops_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_op: float


class Ratio(msgspec.Struct, frozen=True):
    """Ours divided by the other's."""

    ops_per_second: float
    cpu: float


def ratio_of(ours: Figures, other: Figures) -> Ratio:
    """Return how ours compares; 0 where the other measured nothing."""
    return Ratio(
        round(_part(ours.ops_per_second, other.ops_per_second), 3),
        round(_part(ours.cpu_us_per_op, other.cpu_us_per_op), 3),
    )


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time of all threads of these processes so far."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((thread / "schedstat").read_text().split()[0])
            except (OSError, IndexError):
                continue  # the thread has just ended
    return total / 1e9


def figures(
    what: str,
    system: str,
    peers: int,
    in_flight: int,
    latencies: Sequence[float],
    failed: int,
    seconds: float,
    cpu: float,
) -> Figures:
    """Return the figures of operations that took these seconds each."""
    ops = len(latencies)
    ordered = sorted(latencies)
    return Figures(
        what=what,
        system=system,
        peers=peers,
        in_flight=in_flight,
        ops=ops,
        failed=failed,
        seconds=round(seconds, 3),
        ops_per_second=round(_part(ops, seconds), 1),
        p50_ms=round(_percentile(ordered, 0.5) * 1000, 3),
        p99_ms=round(_percentile(ordered, 0.99) * 1000, 3),
        cpu_us_per_op=round(_part(cpu * 1e6, ops), 1),
    )


async def closed_loop(
    operation: Operation, in_flight: int, seconds: float
) -> tuple[list[float], int, float]:
    """Keep so many operations going for a time; return latencies, failures and seconds."""
    latencies: list[float] = []
    failed = 0
    started = time.perf_counter()
    until = started + seconds
    numbers = iter(range(10**9))

    async def worker() -> None:
        nonlocal failed
        while (began := time.perf_counter()) < until:
            if await operation(next(numbers)):
                latencies.append(time.perf_counter() - began)
            else:
                failed += 1

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return latencies, failed, time.perf_counter() - started


def _percentile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def _part(dividend: float, divisor: float) -> float:
    return dividend / divisor if divisor else 0.0
