"""Puts systems that live at the same time under load in turns, and says how they compare.

The first system is ours. Who they are and how they are started is not known here.
"""

from collections.abc import Callable, Sequence

import msgspec

from chordial_node.cli.bench.figures import Figures, Ratio, Round, System, figures, ratio_of
from chordial_node.cli.output import Output, Value

COLUMNS = (
    "WHAT", "SYSTEM", "PEERS", "IN FLIGHT", "OPS", "FAILED", "OPS/S", "P50 MS", "P99 MS",
    "CPU µs/OP",
)  # fmt: skip


class Result(msgspec.Struct, frozen=True):
    """One kind of operation, ours and perhaps another's."""

    ours: Figures
    other: Figures | None
    ratio: Ratio | None

    def value(self) -> dict[str, Value]:
        """Return it as the JSON shows it."""
        value: dict[str, Value] = msgspec.to_builtins(self.ours)
        if self.other is not None:
            value["against"] = msgspec.to_builtins(self.other)
            value["ratio"] = msgspec.to_builtins(self.ratio)
        return value


async def measure(
    what: str,
    systems: Sequence[System],
    in_flight: int,
    seconds: float,
    rounds: int,
    progress: Callable[[str], None],
) -> Result:
    """Give each system so many rounds, one after the other's."""
    done: list[list[Round]] = [[] for _ in systems]
    for number in range(rounds):
        for place, system in enumerate(systems):
            progress(f"{what}: {system.name}, round {number + 1} of {rounds}")
            done[place].append(await system.measure(what, in_flight, seconds))
    found = [
        figures(what, system.name, system.peers, in_flight, its)
        for system, its in zip(systems, done, strict=True)
    ]
    ours, other = found[0], found[1] if len(found) > 1 else None
    return Result(ours, other, ratio_of(ours, other) if other else None)


def show(output: Output, results: Sequence[Result]) -> None:
    """Print the table, and below it how we compare."""
    rows = [
        _row(each) for result in results for each in (result.ours, result.other) if each is not None
    ]
    output.say("")
    output.table(COLUMNS, rows)
    output.say("")
    for result in results:
        if result.other is not None and result.ratio is not None:
            output.say(
                f"{result.ours.what}: {result.ratio.ops_per_second:.2f}x the operations a second "
                f"of {result.other.system}, {result.ratio.cpu:.2f}x its CPU for each"
            )


def _row(each: Figures) -> tuple[str, ...]:
    return (
        each.what,
        each.system,
        str(each.peers),
        str(each.in_flight),
        str(each.ops),
        str(each.failed),
        f"{each.ops_per_second:,.0f}",
        f"{each.p50_ms:.2f}",
        f"{each.p99_ms:.2f}",
        f"{each.cpu_us_per_op:,.0f}",
    )
