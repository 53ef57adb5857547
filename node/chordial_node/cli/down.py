"""`chordial down`: ends the processes of a fleet; its data stay in the state folder."""

import argparse

from chordial_node.cli.fleet import Fleet
from chordial_node.cli.options import add_verb
from chordial_node.cli.output import Output
from chordial_node.cli.processes import FleetLock, end_processes, running_processes


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    add_verb(verbs, "down", "stop a fleet that was started with --detach", "chordial down", run)


async def run(args: argparse.Namespace, output: Output) -> int:
    """End every process by its id, and say how many there were."""
    fleet = Fleet.load(args.state)
    lock = FleetLock(fleet.state)
    lock.take()
    running = running_processes(fleet)
    with output.progress(f"stopping {len(running)} processes"):
        await end_processes(running)
    lock.release()
    output.result({"stopped": len(running)})
    output.say(f"{len(running)} processes stopped; data stay in {fleet.state}")
    return 0
