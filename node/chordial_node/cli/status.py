"""`chordial status`: who is in the ring, and how it is."""

import argparse
import asyncio
from pathlib import Path

from chordial_node.boundary.control import StatusAnswer
from chordial_node.cli.asking import statuses
from chordial_node.cli.fleet import Fleet, PeerPlace
from chordial_node.cli.options import add_verb
from chordial_node.cli.output import Output, Value
from chordial_node.cli.processes import running_process
from chordial_node.config import Endpoint, Transport

WATCH_SECONDS = 1.0
COLUMNS = (
    "PEER",
    "NODE-ID",
    "STATE",
    "SIP",
    "GRPC",
    "PID",
    "SUCCESSORS",
    "KEYS",
    "PHONES",
    "CALLS",
)


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(verbs, "status", "who is in the ring and how it is", "chordial status", run)
    verb.add_argument("--watch", action="store_true", help="again each second, until Ctrl-C")


async def run(args: argparse.Namespace, output: Output) -> int:
    """Show every peer's own view; exit 0 when all are ready and agree on the ring."""
    fleet = Fleet.load(args.state)
    while True:
        answers = await statuses(fleet)
        peers = [peer_value(fleet, *each) for each in zip(fleet.file.peers, answers, strict=True)]
        overlay = overlay_value(answers)
        output.result({"peers": peers, "overlay": overlay})
        show(output, fleet, answers)
        if not args.watch:
            return 0 if overlay["health"] == "ok" else 1
        await asyncio.sleep(WATCH_SECONDS)


def show(output: Output, fleet: Fleet, answers: list[StatusAnswer | None]) -> None:
    """Draw the ring and the table of peers."""
    names = {peer.id: peer.name for peer in fleet.file.peers}
    pairs = list(zip(fleet.file.peers, answers, strict=True))
    output.ring([(p.name, p.node_id, answer.state if answer else "down") for p, answer in pairs])
    rows = []
    for peer, answer in pairs:
        pid = pid_of(fleet, peer)
        place = (f"{peer.node_id[:8]}…", answer.state if answer else "down", sip_text(fleet, peer))
        known = answer.successors if answer else ()
        rows.append(
            (
                peer.name,
                *place,
                f"{fleet.file.host}:{peer.ports.overlay}",
                str(pid or "-"),
                " ".join(names.get(node, node.hex()[:8]).removeprefix("peer-") for node in known),
                str(answer.keys) if answer else "-",
                str(answer.registrations) if answer else "-",
                str(answer.calls) if answer else "-",
            )
        )
    output.table(COLUMNS, rows)
    overlay = overlay_value(answers)
    output.say("")
    output.say(
        f"overlay {fleet.file.overlay_name}: {overlay['size']} peers, {overlay['copies']} copies, "
        f"{overlay['health']}"
    )


def peer_value(fleet: Fleet, peer: PeerPlace, answer: StatusAnswer | None) -> dict[str, Value]:
    """Return one peer as the JSON shows it."""
    sip: dict[str, Value] = {"udp": "", "tcp": "", "tls": "", "ws": "", "peer": ""}
    for listener in fleet.node_config(peer).sip.listeners:
        name = listener.transport.value
        sip[name] = sip[name] or str(listener.advertised)
    return {
        "name": peer.name,
        "node_id": peer.node_id,
        "state": answer.state if answer else "down",
        "sip": sip,
        "grpc": str(Endpoint(fleet.file.host, peer.ports.overlay)),
        "http": str(Endpoint(fleet.file.host, peer.ports.http)),
        "pid": pid_of(fleet, peer),
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


def overlay_value(answers: list[StatusAnswer | None]) -> dict[str, Value]:
    """Return size, copies and health of the overlay as its living peers report them."""
    living = [answer for answer in answers if answer is not None]
    ready = [answer for answer in living if answer.state == "ready"]
    if not ready:
        health = "down"
    elif len(ready) == len(answers) and is_ideal(ready) and all(each.in_step for each in ready):
        health = "ok"
    else:
        health = "degraded"
    return {
        "size": len(ready),
        "copies": ready[0].copies if ready else 0,
        "health": health,
    }


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


def pid_of(fleet: Fleet, peer: PeerPlace) -> int | None:
    """Return the process that runs a peer, by the files of the state folder."""
    for folder in sorted((fleet.state / "peers").iterdir()):
        pid = running_process(folder)
        if pid is not None and _runs(pid, fleet.folder(peer)):
            return pid
    return None


def sip_text(fleet: Fleet, peer: PeerPlace) -> str:
    """Return the address that a phone is pointed at."""
    listener = fleet.node_config(peer).sip.listeners[0]
    assert listener.transport is Transport.UDP
    return str(listener.advertised)


def _runs(pid: int, folder: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return str(folder / "config.json").encode() in command
