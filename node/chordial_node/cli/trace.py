"""`chordial trace`: the way of a lookup as the peers themselves report it (RFC 7851)."""

import argparse
from collections.abc import Sequence

from chordial_node.boundary.control import AskTrace, Hop, TraceAnswer
from chordial_node.cli.asking import ask_any
from chordial_node.cli.options import UsageError, add_verb, aor_of
from chordial_node.cli.output import Output, Value
from chordial_node.cli.sources import add_source_options, open_peers

PREFIXES = ("sip:", "key:", "resource:", "node:")


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "trace", "draw the way of a lookup", "chordial trace sip:bob@chordial.test", run
    )
    verb.add_argument(
        "target", metavar="TARGET",
        help="bob, sip:USER@DOMAIN, key:TEXT, resource:HEX or node:HEX",
    )  # fmt: skip
    verb.add_argument(
        "--peer", default="", metavar="PEER", help="where it starts: peer, or HOST:PORT of its gRPC"
    )
    add_source_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Trace; exit 0 when something was found."""
    target = args.target
    if ":" in target and not target.startswith(PREFIXES):
        raise UsageError(
            f"{target!r}: say one of bob, sip:USER@DOMAIN, key:TEXT, resource:HEX, node:HEX"
        )
    async with open_peers(args) as peers:
        if ":" not in target or target.startswith("sip:"):
            target = aor_of(target, peers.domain)
        answer = await ask_any(peers, AskTrace(target=target), TraceAnswer, args.peer)
    output.result(
        {
            "target": target,
            "resource_id": answer.resource_id.hex(),
            "hops": hop_values(answer),
            "found": answer.found,
            "contacts": [
                {
                    "contact": contact.contact,
                    "peer": contact.edge_name,
                    "node_id": contact.edge.hex(),
                    "expires_in": round(contact.expires_in, 1),
                    "reach": contact.reach,
                }
                for contact in answer.contacts
            ],
        }
    )
    show_path(output, answer)
    return 0 if answer.found else 1


def hop_values(answer: TraceAnswer | None) -> list[Value]:
    """Return the hops as the JSON shows them."""
    return [] if answer is None else [_hop_value(hop) for hop in answer.hops]


def show_path(output: Output, answer: TraceAnswer) -> None:
    """Draw the way from peer to peer, and what stood at its end."""
    output.say(f"lookup of {answer.resource_id.hex()}")
    for line in path_lines(answer.hops):
        output.say("  " + line)
    if not answer.found:
        output.say("  nothing is found there: no phone is registered, no value stored")
    elif not answer.contacts:
        output.say("  a value is found there; `chordial get KEY` shows one of the open service")
    for contact in answer.contacts:
        output.say(
            f"  → {contact.contact} at {contact.edge_name} ({contact.reach}, "
            f"{contact.expires_in:.0f} s left)"
        )


def path_lines(hops: Sequence[Hop]) -> list[str]:
    """Return a hop a line: who, by which rule, how long it took; the first asked the others."""
    lines = []
    for number, hop in enumerate(hops):
        name = hop.peer or hop.node_id.hex()[:8]
        if number == 0:
            lines.append(name if len(hops) > 1 else f"{name}, which is responsible itself")
        else:
            indent = "   " * (number - 1)
            lines.append(f"{indent}└─ {name}  by {hop.rule}, {hop.round_trip_ms:.2f} ms")
    return lines


def _hop_value(hop: Hop) -> Value:
    return {
        "peer": hop.peer,
        "node_id": hop.node_id.hex(),
        "rule": hop.rule,
        "queued_ms": round(hop.queued_ms, 3),
        "rtt_ms": round(hop.round_trip_ms, 3),
    }
