"""`chordial drain`: a peer leaves with acknowledged handover."""

import argparse

from chordial_node.boundary.control import Drain, DrainAnswer
from chordial_node.cli.asking import ask_known, find
from chordial_node.cli.options import add_verb
from chordial_node.cli.output import Output
from chordial_node.cli.sources import add_source_options, open_peers
from chordial_node.client import DRAIN_SECONDS


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "drain", "let a peer leave without losing anything", "chordial drain peer-3", run
    )
    verb.add_argument("peer", metavar="PEER", help="name, number or beginning of the Node-ID")
    verb.add_argument(
        "--restart", action="store_true", help="keep the range on the disk: the peer comes back"
    )
    add_source_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Drain; exit 0 when what the peer held is acknowledged by others, or kept."""
    async with open_peers(args) as peers:
        peer = find(peers, args.peer)
        what = "ends, and keeps its range" if args.restart else "hands over and leaves"
        with output.progress(f"{peer.name} moves its phones, {what}"):
            question = Drain(restart=args.restart)
            answer = await ask_known(peers, peer, question, DrainAnswer, DRAIN_SECONDS)
    output.result(
        {
            "peer": peer.name,
            "ranges_handed_over": answer.ranges_handed_over,
            "seconds": round(answer.seconds, 3),
        }
    )
    held = "its disk keeps what it held"
    if answer.ranges_handed_over:
        held = "the others hold what it held"
    output.say(f"{peer.name} has ended after {answer.seconds:.1f} s; {held}")
    return 0
