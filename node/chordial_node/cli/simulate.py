"""`chordial simulate`: the product's own core in virtual time, with faults, by a seed."""

import argparse
import time

import msgspec

from chordial_node.cli.options import UsageError, add_verb
from chordial_node.cli.output import Output
from chordial_node.simulation.run import run as simulate
from chordial_node.simulation.scenarios import SCENARIOS
from chordial_node.simulation.story import story


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "simulate", "run whole overlays in virtual time",
        "chordial simulate --scenario churn --peers 50 --seed 7", run,
    )  # fmt: skip
    verb.add_argument("--peers", type=int, default=20, help="in the ring (default: 20)")
    verb.add_argument(
        "--seed", type=int, default=1, help="the same seed is the same run (default: 1)"
    )
    verb.add_argument("--minutes", type=float, default=5.0, help="of virtual time (default: 5)")
    verb.add_argument(
        "--scenario", default="churn", help=f"{', '.join(SCENARIOS)} (default: churn)"
    )


async def run(args: argparse.Namespace, output: Output) -> int:
    """Simulate; exit 0 when no invariant was violated."""
    if args.scenario not in SCENARIOS:
        raise UsageError(f"there is no scenario {args.scenario!r}: {', '.join(SCENARIOS)}")
    if args.peers < 1 or args.minutes <= 0:
        raise UsageError("--peers and --minutes are more than nothing")
    with output.progress(f"simulating {args.peers} peers for {args.minutes:g} virtual minutes"):
        started = time.process_time()
        result = simulate(args.seed, peers=args.peers, minutes=args.minutes, scenario=args.scenario)
        cpu_seconds = round(time.process_time() - started, 3)
    output.result({**msgspec.to_builtins(result), "cpu_seconds": cpu_seconds})
    output.say(story(result, cpu_seconds))
    return 0 if result.is_good else 1
