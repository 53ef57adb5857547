"""Run one simulation from the shell: `python -m chordial_node.simulation --seed 7 --peers 50`.

Prints a story that a person can follow, or the result as one JSON object. What happens in a run
is not decided here.
"""

import argparse
import sys
import time

import msgspec

from chordial_node.simulation.run import run
from chordial_node.simulation.scenarios import SCENARIOS
from chordial_node.simulation.story import story


def main() -> int:
    """Run what the arguments say; 0 only when every invariant held."""
    options = _options()
    started = time.process_time()
    is_terminal = sys.stderr.isatty()

    def tell(at: float, line: str) -> None:
        took = f"[{time.process_time() - started:6.1f} s] " if is_terminal else ""
        print(f"{took}{at:10.3f}  {line}", file=sys.stderr, flush=True)

    result = run(
        options.seed,
        peers=options.peers,
        minutes=options.minutes,
        scenario=options.scenario,
        tell=None if options.json else tell,
        trace=print if options.trace else None,
    )
    cpu_seconds = round(time.process_time() - started, 3)
    if options.json:
        told = {**msgspec.to_builtins(result), "cpu_seconds": cpu_seconds}
        print(msgspec.json.encode(told).decode())
    else:
        print(story(result, cpu_seconds))
    return 0 if result.is_good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chordial_node.simulation",
        description="Run the product's own core in virtual time, with seeded faults.",
        epilog="scenarios: "
        + "; ".join(f"{each.name}: {each.what}" for each in SCENARIOS.values()),
    )
    parser.add_argument("--seed", type=int, default=1, help="same seed, same run (default 1)")
    parser.add_argument("--peers", type=int, default=50, help="default 50")
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual time (default 10)")
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="churn")
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--trace", action="store_true", help="print every event that a core took")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
