"""`chordial status`: who is in the ring, and how it is."""

import argparse
import asyncio
from collections.abc import Callable
from functools import partial

from chordial_node.boundary.control import StatusAnswer
from chordial_node.cli.asking import LocalPeers, Peers, statuses_of
from chordial_node.cli.fleet import Fleet, PeerPlace
from chordial_node.cli.options import add_verb
from chordial_node.cli.output import RING_HEIGHT, Output, Value
from chordial_node.cli.processes import running_process
from chordial_node.cli.sources import add_source_options, open_peers
from chordial_node.config import Endpoint, Transport
from chordial_node.ids import NodeId

WATCH_SECONDS = 1.0
COLUMNS = (
    "PEER", "NODE-ID", "STATE", "SIP", "GRPC", "PID", "SUCCESSORS", "KEYS", "PHONES", "CALLS",
)  # fmt: skip
SPARE_COLUMNS = ("GRPC", "NODE-ID", "SUCCESSORS", "CALLS")
"""What is left out first where the terminal is narrow."""
MOST_SUCCESSORS = 4
"""Successors that a line of the table shows; the JSON has all."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(verbs, "status", "who is in the ring and how it is", "chordial status", run)
    verb.add_argument("--watch", action="store_true", help="again each second, until Ctrl-C")
    verb.add_argument("--peer", default="", metavar="HOST:PORT", help="with --identity: its gRPC")
    add_source_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Show every peer's own view; exit 0 when all are ready and agree on the ring."""
    async with open_peers(args) as peers:
        while True:
            answers = await statuses_of(peers)
            overlay = overlay_value(answers)
            draw = _drawing(output, peers, answers)
            output.result({"peers": _values(peers, answers), "overlay": overlay})
            if not args.watch:
                draw(is_drawn_again=False)
                return 0 if overlay["health"] == "ok" else 1
            output.redraw(partial(draw, is_drawn_again=True))
            await asyncio.sleep(WATCH_SECONDS)


def _drawing(
    output: Output, peers: Peers, answers: list[StatusAnswer | None]
) -> Callable[..., None]:
    if isinstance(peers, LocalPeers):
        return partial(show, output, peers.fleet, answers)
    return partial(show_elsewhere, output, peers, answers)


def _values(peers: Peers, answers: list[StatusAnswer | None]) -> list[Value]:
    if isinstance(peers, LocalPeers):
        return peer_values(peers.fleet, answers)
    return [
        {
            "name": peer.name,
            "node_id": peer.node.hex() if peer.node else "",
            **told_value(answer, answer.state if answer else "down"),
        }
        for peer, answer in zip(peers.known(), answers, strict=True)
    ]


def show(
    output: Output,
    fleet: Fleet,
    answers: list[StatusAnswer | None],
    *,
    is_drawn_again: bool = False,
) -> None:
    """Draw the ring and the table of peers; without the ring where it would scroll each time."""
    states = peer_states(fleet, answers)
    peers = list(zip(fleet.file.peers, states, strict=True))
    if not is_drawn_again or len(peers) + RING_HEIGHT + 4 < output.height:
        output.ring([(peer.name, peer.node_id, state) for peer, state in peers])
    rows = [
        _row(fleet, peer, state, answer)
        for (peer, state), answer in zip(peers, answers, strict=True)
    ]
    output.table(COLUMNS, rows, spare=SPARE_COLUMNS)
    overlay = overlay_value(answers)
    count = "1 peer" if overlay["size"] == 1 else f"{overlay['size']} peers"
    output.say("")
    output.say(
        f"overlay {fleet.file.overlay_name}: {count}, {overlay['copies']} copies, "
        f"{overlay['health']}"
    )


def show_elsewhere(
    output: Output,
    peers: Peers,
    answers: list[StatusAnswer | None],
    *,
    is_drawn_again: bool = False,
) -> None:
    """Draw the ring and the table of peers that are no processes of this machine."""
    rows = []
    drawn = []
    for peer, answer in zip(peers.known(), answers, strict=True):
        name = answer.name if answer else peer.name
        node = (answer.node_id if answer else peer.node or b"").hex()
        state = answer.state if answer else "down"
        drawn.append((name, node, state))
        counts = (answer.keys, answer.registrations, answer.calls) if answer else "---"
        rows.append((name, f"{node[:8]}…", state, *map(str, counts)))
    if not is_drawn_again or len(rows) + RING_HEIGHT + 4 < output.height:
        output.ring(drawn)
    output.table(("PEER", "NODE-ID", "STATE", "KEYS", "PHONES", "CALLS"), rows)
    overlay = overlay_value(answers)
    output.say("")
    output.say(f"{overlay['size']} peers ready, {overlay['copies']} copies, {overlay['health']}")


def _row(fleet: Fleet, peer: PeerPlace, state: str, answer: StatusAnswer | None) -> tuple[str, ...]:
    names = {each.id: each.name.removeprefix("peer-") for each in fleet.file.peers}
    known = [names.get(node, node.hex()[:8]) for node in answer.successors] if answer else []
    more = ["…"] if len(known) > MOST_SUCCESSORS else []
    return (
        peer.name,
        f"{peer.node_id[:8]}…",
        state,
        sip_text(fleet, peer),
        f"{fleet.file.host}:{peer.ports.overlay}",
        str(running_process(fleet.folder(peer)) or "-"),
        " ".join(known[:MOST_SUCCESSORS] + more),
        *((str(answer.keys), str(answer.registrations), str(answer.calls)) if answer else "---"),
    )


def peer_values(fleet: Fleet, answers: list[StatusAnswer | None]) -> list[Value]:
    """Return the peers as the JSON shows them."""
    states = peer_states(fleet, answers)
    return [
        _peer_value(fleet, *each) for each in zip(fleet.file.peers, states, answers, strict=True)
    ]


def _peer_value(fleet: Fleet, peer: PeerPlace, state: str, answer: StatusAnswer | None) -> Value:
    sip: dict[str, Value] = {"udp": "", "tcp": "", "tls": "", "ws": "", "peer": ""}
    for listener in fleet.node_config(peer).sip.listeners:
        name = listener.transport.value
        sip[name] = sip[name] or str(listener.advertised)
    return {
        "name": peer.name,
        "node_id": peer.node_id,
        "state": state,
        "sip": sip,
        "grpc": str(Endpoint(fleet.file.host, peer.ports.overlay)),
        "http": str(Endpoint(fleet.file.host, peer.ports.http)),
        "pid": running_process(fleet.folder(peer)),
        **told_value(answer, state),
    }


def told_value(answer: StatusAnswer | None, state: str) -> dict[str, Value]:
    """Return what a peer tells of itself as the JSON shows it."""
    return {
        "state": state,
        "incarnation": answer.incarnation if answer else 0,
        "predecessor": answer.predecessor.hex() if answer and answer.predecessor else "",
        "successors": [node.hex() for node in answer.successors] if answer else [],
        "keys": answer.keys if answer else 0,
        "owned_keys": answer.owned_keys if answer else 0,
        "registrations": answer.registrations if answer else 0,
        "calls": answer.calls if answer else 0,
        "links": answer.links if answer else 0,
        "in_step": bool(answer and answer.in_step),
        "counters": answer.counters if answer else {},
    }


def peer_states(fleet: Fleet, answers: list[StatusAnswer | None]) -> list[str]:
    """Return each peer's own state; a silent one has `left`, as the others saw it, or is `down`."""
    left = _left(answers)
    return [
        answer.state if answer else "left" if peer.id in left else "down"
        for peer, answer in zip(fleet.file.peers, answers, strict=True)
    ]


def overlay_value(answers: list[StatusAnswer | None]) -> dict[str, Value]:
    """Return size, copies and health of the overlay; who has left in good order is not missed."""
    living = [answer for answer in answers if answer is not None]
    ready = [answer for answer in living if answer.state == "ready"]
    wanted = len(answers) - len(_left(answers))
    if not ready:
        health = "down"
    elif len(ready) == wanted and is_ideal(ready) and all(each.in_step for each in ready):
        health = "ok"
    else:
        health = "degraded"
    return {
        "size": len(ready),
        "copies": ready[0].copies if ready else 0,
        "health": health,
    }


def _left(answers: list[StatusAnswer | None]) -> set[NodeId]:
    """Return who has left, as all of the living saw it."""
    living = [answer for answer in answers if answer is not None]
    seen = [
        {member.node_id for member in answer.members if member.state == "left"} for answer in living
    ]
    return set.intersection(*seen) - {each.node_id for each in living} if seen else set()


def is_ideal(answers: list[StatusAnswer]) -> bool:
    """Tell whether each peer's predecessor and successors are the sorted list of the living."""
    nodes = sorted(answer.node_id for answer in answers)
    for answer in answers:
        place = nodes.index(answer.node_id)
        expected = tuple(nodes[place + 1 :] + nodes[:place])
        if answer.successors != expected[: len(answer.successors)]:
            return False
        if expected and (not answer.successors or answer.predecessor != expected[-1]):
            return False
    return True


def sip_text(fleet: Fleet, peer: PeerPlace) -> str:
    """Return the address that a phone is pointed at."""
    listener = fleet.node_config(peer).sip.listeners[0]
    assert listener.transport is Transport.UDP
    return str(listener.advertised)
