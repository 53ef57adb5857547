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
    add_source_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Drain; exit 0 when everything the peer held is acknowledged by others."""
    async with open_peers(args) as peers:
        peer = find(peers, args.peer)
        with output.progress(f"{peer.name} hands over and leaves"):
            answer = await ask_known(peers, peer, Drain(), DrainAnswer, DRAIN_SECONDS)
    output.result(
        {
            "peer": peer.name,
            "ranges_handed_over": answer.ranges_handed_over,
            "seconds": round(answer.seconds, 3),
        }
    )
    output.say(f"{peer.name} has left after {answer.seconds:.1f} s; the others hold what it held")
    return 0
