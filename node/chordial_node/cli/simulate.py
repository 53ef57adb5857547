"""`chordial simulate`: the product's own core in virtual time, with faults, by a seed."""

import argparse

from chordial_node.cli.options import UsageError, add_verb
from chordial_node.cli.output import Output


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "simulate", "run whole overlays in virtual time",
        "chordial simulate --scenario churn --peers 50 --seed 7", run,
    )  # fmt: skip
    verb.add_argument("--peers", type=int, default=20)
    verb.add_argument("--seed", type=int, default=1)
    verb.add_argument("--minutes", type=float, default=5.0, help="of virtual time")
    verb.add_argument("--scenario", default="churn", help="calm, churn, crash-quarter, restart-all")


async def run(args: argparse.Namespace, output: Output) -> int:
    """Simulate; exit 0 when no invariant was violated."""
    from chordial_node.simulation import scenarios  # heavy, and only here

    if args.scenario not in scenarios.SCENARIOS:
        raise UsageError(
            f"there is no scenario {args.scenario!r}: {', '.join(scenarios.SCENARIOS)}"
        )
    with output.progress(f"simulating {args.peers} peers for {args.minutes:g} virtual minutes"):
        result = scenarios.run(
            args.scenario, seed=args.seed, peers=args.peers, minutes=args.minutes
        )
    output.result(result.value())
    for line in result.story():
        output.say(line)
    return 1 if result.violations else 0
