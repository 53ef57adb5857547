"""How `chordial up` brings a fleet to life: folder, leftovers, ports, processes, a whole ring.

What is shown of it stands in `up.py`. A port that somebody takes between the choice and the start
costs another try, not the ring.
"""

import argparse
import asyncio
import re
import time
from pathlib import Path

from chordial_node.boundary.control import StatusAnswer
from chordial_node.cli import ports
from chordial_node.cli.asking import statuses
from chordial_node.cli.fleet import MADE, Fleet, FleetError
from chordial_node.cli.options import UsageError, host_port
from chordial_node.cli.output import Output
from chordial_node.cli.processes import Processes, end_processes, running_processes
from chordial_node.cli.status import is_ideal

LOOPBACK = "127.0.0.1"
DOMAIN = "chordial.test"
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
MOST_PEERS = 100
READY_SECONDS = 60.0
LOOK_SECONDS = 0.1
LOG_LINES = 6
MOST_TRIES = 3
CANNOT_START = 2
"""The exit code of a peer that found a port taken, or its files unusable."""


class PeerEndedError(FleetError):
    """A peer's process ended before it was ready; the message holds its last words."""

    def __init__(self, name: str, code: int, told: str) -> None:
        super().__init__(f"{name} ended with exit code {code}:\n{told}")
        self.code = code


async def prepare(args: argparse.Namespace, output: Output) -> Fleet:
    """Return the fleet of the state folder, or a new one; leftovers of a killed `up` are ended."""
    host, base = host_port(args.advertise) if args.advertise else ("", ports.SIP)
    if not Fleet.exists(args.state):
        return _make(args, output, host, base)
    fleet = Fleet.load(args.state)
    if args.peers and args.peers != len(fleet.file.peers):
        raise FleetError(
            f"{args.state} holds a fleet of {len(fleet.file.peers)} peers, not {args.peers}: "
            "leave --peers out, or name another --state"
        )
    for option, wanted, held in (
        ("--domain", args.domain.lower(), fleet.file.domain),
        ("--advertise", host, fleet.file.advertise),
    ):
        if wanted and wanted != held:
            raise FleetError(
                f"{args.state} holds a fleet with {option} {held or '127.0.0.1'}, not {wanted}: "
                f"leave {option} out, or name another --state"
            )
    if left := running_processes(fleet):
        output.warn(f"ending {len(left)} processes that an earlier `up` left behind")
        await end_processes(left)
    return _move_from_taken(fleet, output, base) or fleet


async def bring_up(
    fleet: Fleet, per_process: int, output: Output, started: list[Processes]
) -> list[StatusAnswer | None]:
    """Start the peers and return their statuses once the ring is whole; FleetError says why not.

    What has been started is added to `started`, for whoever has to end it.
    """
    for _ in range(MOST_TRIES):
        processes = Processes(fleet, per_process)
        started.append(processes)
        processes.start_all()
        try:
            return await wait_ready(processes, output)
        except PeerEndedError as error:
            await processes.stop_all()
            moved = _move_from_taken(fleet, output) if error.code == CANNOT_START else None
            if moved is None:
                raise
            fleet = moved
    raise FleetError("somebody takes the ports as soon as they are chosen: see `chordial doctor`")


async def wait_ready(
    processes: Processes, output: Output, limit: float = READY_SECONDS
) -> list[StatusAnswer | None]:
    """Return the statuses once all are ready and agree; FleetError says who is not, and why."""
    fleet = processes.fleet
    count = len(fleet.file.peers)
    until = time.monotonic() + limit
    with output.progress(f"starting {count} peers") as shown:
        while True:
            answers = await statuses(fleet)
            ready = [each for each in answers if each is not None and each.state == "ready"]
            shown.update(f"starting {count} peers: {len(ready)} ready")
            if len(ready) == count and is_ideal(ready) and all(each.in_step for each in ready):
                return answers
            for name, code in processes.exit_codes().items():
                raise PeerEndedError(name, code, _log_end(fleet.folder(fleet.peer(name))))
            if time.monotonic() > until:
                states = ", ".join(
                    f"{peer.name} {answer.state if answer else 'silent'}"
                    for peer, answer in zip(fleet.file.peers, answers, strict=True)
                )
                raise FleetError(
                    f"the ring is not whole after {limit:.0f} s: {states}; logs are in "
                    f"{fleet.state / 'peers'}"
                )
            await asyncio.sleep(LOOK_SECONDS)


def _make(args: argparse.Namespace, output: Output, host: str, base: int) -> Fleet:
    count = 5 if args.peers is None else args.peers
    if not 1 <= count <= MOST_PEERS:
        raise UsageError(f"--peers is 1 to {MOST_PEERS}, not {count}")
    if count < 4:
        output.warn(
            f"{count} {'peer works' if count == 1 else 'peers work'}, with fewer copies: four are "
            "the least for a ring"
        )
    if host and not ports.is_own_address(host):
        raise UsageError(
            f"--advertise names {host}, which is no address of this machine: `ip address` shows "
            "those there are"
        )
    domain = args.domain.lower() or DOMAIN
    if not NAME.fullmatch(domain):
        raise UsageError(f"--domain is a name such as {DOMAIN}, not {args.domain!r}")
    chosen = ports.choose(count, LOOPBACK, host or LOOPBACK, base)
    moved = list(ports.unusual(chosen, base))
    if moved:
        pairs = ", ".join(f"{usual} → {port}" for usual, port in moved[:6])
        output.warn(f"some of the usual ports are taken: {pairs}{' …' if len(moved) > 6 else ''}")
    if not chosen[0].has_ipv6:
        output.warn("this machine has no IPv6 loopback: the ring speaks IPv4 only")
    return Fleet.make(args.state, domain, LOOPBACK, host, chosen)


def _move_from_taken(fleet: Fleet, output: Output, base: int = ports.SIP) -> Fleet | None:
    """Return the fleet at other ports where its own cannot be had, None where all are free."""
    peers, sip_host = fleet.file.peers, fleet.file.advertise or LOOPBACK
    taken = [port for peer in peers for port in ports.taken_ports(peer.ports, LOOPBACK, sip_host)]
    if not taken:
        return None
    if peers[0].ports.has_ipv6 and not ports.has_ipv6():
        output.warn("this machine has no IPv6 loopback any more: the ring speaks IPv4 only")
    else:
        output.warn(f"somebody else has the ports {', '.join(map(str, taken))}: taking others")
    return fleet.with_ports(ports.choose(len(peers), LOOPBACK, sip_host, base))


def check_folder(state: Path) -> None:
    """Refuse a folder of somebody else; a fleet whose making was cut short is made anew."""
    if Fleet.exists(state):
        return
    try:
        found = sorted(each.name for each in state.iterdir() if each.name not in MADE)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FleetError(
            f"{state} cannot be read: {error.strerror}; name another --state"
        ) from error
    if found:
        raise FleetError(
            f"{state} holds something else ({', '.join(found[:3])}) and no fleet.json: "
            "name an empty --state"
        )


def _log_end(folder: Path) -> str:
    try:
        lines = (folder / "node.log").read_text(errors="replace").splitlines()
    except OSError:
        return f"(no log in {folder})"
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])
