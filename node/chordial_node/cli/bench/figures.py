"""What a measurement gives: throughput, percentiles, and CPU of all processes per operation.

Only ratios of figures taken in the same run are to be trusted on a shared machine. How an
operation is done, and by whom, is not known here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec


class Round(msgspec.Struct, frozen=True):
    """What one stretch of load gave."""

    latencies: Sequence[float]
    """Seconds, of each operation that succeeded and was timed."""
    ops: int
    failed: int
    seconds: float
    cpu_seconds: float
    """Of all processes of the system under test."""


class System(Protocol):
    """Something that can be put under load."""

    name: str
    peers: int

    async def measure(self, what: str, in_flight: int, seconds: float) -> Round:
        """Keep so many operations going for a while."""
        ...


class Figures(msgspec.Struct, frozen=True):
    """One measurement of one system, all its rounds together."""

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


def figures(what: str, system: str, peers: int, in_flight: int, rounds: Sequence[Round]) -> Figures:
    """Return the figures of rounds taken together."""
    ops = sum(each.ops for each in rounds)
    seconds = sum(each.seconds for each in rounds)
    cpu = sum(each.cpu_seconds for each in rounds)
    ordered = sorted(latency for each in rounds for latency in each.latencies)
    return Figures(
        what=what,
        system=system,
        peers=peers,
        in_flight=in_flight,
        ops=ops,
        failed=sum(each.failed for each in rounds),
        seconds=round(seconds, 3),
        ops_per_second=round(_part(ops, seconds), 1),
        p50_ms=round(percentile(ordered, 0.5) * 1000, 3),
        p99_ms=round(percentile(ordered, 0.99) * 1000, 3),
        cpu_us_per_op=round(_part(cpu * 1e6, ops), 1),
    )


def ratio_of(ours: Figures, other: Figures) -> Ratio:
    """Return how ours compares; 0 where the other measured nothing."""
    return Ratio(
        round(_part(ours.ops_per_second, other.ops_per_second), 3),
        round(_part(ours.cpu_us_per_op, other.cpu_us_per_op), 3),
    )


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the value that so large a part lies below, of values in order; 0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time of all threads of these processes so far."""
    return sum(_thread_nanoseconds(pid) for pid in pids) / 1e9


def _thread_nanoseconds(pid: int) -> int:
    total = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    except (OSError, IndexError):
        return total  # it has just ended
    return total


def _part(dividend: float, divisor: float) -> float:
    return dividend / divisor if divisor else 0.0
