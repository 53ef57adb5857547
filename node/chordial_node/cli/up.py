"""`chordial up`: a ring of real peer processes on this machine, and a call through it."""

import argparse
import asyncio
import signal
import time
from pathlib import Path

from chordial_node.boundary.control import StatusAnswer
from chordial_node.cli import ports
from chordial_node.cli.asking import statuses
from chordial_node.cli.demonstration import Demonstration
from chordial_node.cli.fleet import Fleet, FleetError
from chordial_node.cli.options import UsageError, add_verb, host_port
from chordial_node.cli.output import Output, Value
from chordial_node.cli.processes import FleetLock, Processes, end_processes, running_process
from chordial_node.cli.status import is_ideal, overlay_value, peer_value, show

LOOPBACK = "127.0.0.1"
MOST_PEERS = 100
READY_SECONDS = 60.0
LOOK_SECONDS = 0.1
RESTART_SECONDS = 1.0
LOG_LINES = 6


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "up", "start a ring on this machine and place a call through it",
        "chordial up --once", run,
    )  # fmt: skip
    verb.add_argument("--peers", type=int, default=None, metavar="N", help="how many (default: 5)")
    verb.add_argument("--once", action="store_true", help="end after the demonstration")
    verb.add_argument(
        "--detach", action="store_true", help="return; `chordial down` stops the ring"
    )
    verb.add_argument(
        "--advertise", metavar="HOST:PORT", default="",
        help="address of this machine that phones elsewhere reach; ten ports more per peer",
    )  # fmt: skip
    verb.add_argument("--domain", default="chordial.test", help="SIP domain and realm")
    verb.add_argument(
        "--per-process", type=int, default=1, metavar="N", help="peers in one process (default: 1)"
    )
    verb.add_argument(
        "--otlp", metavar="URL", default="", help="send traces there, such as http://127.0.0.1:4317"
    )
    verb.add_argument(
        "--sampling", type=float, default=0.01, metavar="RATIO",
        help="part of the calls that is traced; those of the command always are",
    )  # fmt: skip
    verb.add_argument("--no-demo", action="store_true", help="no demonstration, only the ring")


async def run(args: argparse.Namespace, output: Output) -> int:
    """Start, demonstrate, serve; exit 0 when the call and the message went through."""
    if args.once and args.detach:
        raise UsageError("--once ends the ring and --detach leaves it running: choose one")
    lock = FleetLock(args.state)
    lock.take()
    processes: Processes | None = None
    stopping = _stop_event()
    try:
        if not 0.0 <= args.sampling <= 1.0:
            raise UsageError(f"--sampling is 0 to 1, not {args.sampling}")
        fleet = (await prepare(args, output)).with_telemetry(args.otlp, args.sampling)
        processes = Processes(fleet, args.per_process)
        works = await _serve(args, output, processes, stopping)
    finally:
        if processes is not None and not (args.detach and not stopping.is_set()):
            with output.progress("stopping"):
                await processes.stop_all()
        lock.release()
    return 0 if works else 1


async def prepare(args: argparse.Namespace, output: Output) -> Fleet:
    """Return the fleet of the state folder, or a new one; leftovers of a killed `up` are ended."""
    host, base = host_port(args.advertise) if args.advertise else ("", ports.SIP)
    sip_host = host or LOOPBACK
    if not Fleet.exists(args.state):
        count = args.peers or 5
        if not 1 <= count <= MOST_PEERS:
            raise UsageError(f"--peers is 1 to {MOST_PEERS}, not {count}")
        if count < 4:
            output.warn(f"{count} peers work, with fewer copies: four are the least for a ring")
        _check_free_folder(args.state)
        chosen = ports.choose(count, LOOPBACK, sip_host, base)
        _tell_ports(output, chosen, base)
        return Fleet.make(args.state, args.domain, LOOPBACK, host, chosen)
    fleet = Fleet.load(args.state)
    if args.peers and args.peers != len(fleet.file.peers):
        raise FleetError(
            f"{args.state} holds a fleet of {len(fleet.file.peers)} peers, not {args.peers}: "
            "leave --peers out, or name another --state"
        )
    left = [
        pid for peer in fleet.file.peers if (pid := running_process(fleet.folder(peer))) is not None
    ]
    if left:
        output.warn(f"ending {len(left)} processes that an earlier `up` left behind")
        await end_processes(left)
    taken = [
        port
        for peer in fleet.file.peers
        for port in ports.taken_ports(peer.ports, LOOPBACK, fleet.file.advertise or LOOPBACK)
    ]
    if taken:
        output.warn(f"somebody else has the ports {', '.join(map(str, taken))}: taking others")
        fleet = fleet.with_ports(ports.choose(len(fleet.file.peers), LOOPBACK, sip_host, base))
    return fleet


async def wait_ready(
    processes: Processes, output: Output, stopping: asyncio.Event, limit: float = READY_SECONDS
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
                told = _log_end(fleet.folder(fleet.peer(name)))
                raise FleetError(f"{name} ended with exit code {code}:\n{told}")
            if stopping.is_set() or time.monotonic() > until:
                states = ", ".join(
                    f"{peer.name} {answer.state if answer else 'silent'}"
                    for peer, answer in zip(fleet.file.peers, answers, strict=True)
                )
                raise FleetError(
                    f"the ring is not whole after {limit:.0f} s: {states}; logs are in "
                    f"{fleet.state / 'peers'}"
                )
            await asyncio.sleep(LOOK_SECONDS)


async def _serve(
    args: argparse.Namespace, output: Output, processes: Processes, stopping: asyncio.Event
) -> bool:
    started = time.monotonic()
    processes.start_all()
    answers = await wait_ready(processes, output, stopping)
    fleet = processes.fleet
    output.say(f"{len(answers)} peers are in the ring after {time.monotonic() - started:.1f} s")
    show(output, fleet, answers)
    works = True
    shown: dict[str, Value] = {}
    if not args.no_demo:
        works, shown = await Demonstration(fleet, output).run()
    peers = [peer_value(fleet, *each) for each in zip(fleet.file.peers, answers, strict=True)]
    output.result({"peers": peers, "overlay": overlay_value(answers), **shown})
    if not args.once and works:
        _tell_next(output, fleet, detached=args.detach)
    if not args.once and not args.detach and works:
        await _watch(processes, output, stopping)
    return works


async def _watch(processes: Processes, output: Output, stopping: asyncio.Event) -> None:
    """Serve until Ctrl-C; a peer that ends by itself is started again."""
    while not stopping.is_set():
        for name, code in processes.exit_codes().items():
            if code == 0:
                output.warn(f"{name} has left the ring")
                continue
            output.warn(f"{name} ended with exit code {code}: starting it again")
            peer = processes.fleet.peer(name)
            processes.start(next(group for group in processes.groups if peer in group))
        try:
            await asyncio.wait_for(stopping.wait(), RESTART_SECONDS)
        except TimeoutError:
            continue


def _tell_next(output: Output, fleet: Fleet, *, detached: bool) -> None:
    address = fleet.node_config(fleet.file.peers[0]).sip.listeners[0].advertised
    output.say("")
    output.rich("[bold]The ring runs.[/] Point any SIP phone at it:")
    output.say(f"  server   {address} (UDP or TCP), or any other address of the table")
    output.say(f"  domain   {fleet.file.domain}")
    output.say("  user     one of `chordial users add NAME`")
    output.say("try next:  chordial call bob --from alice · chordial trace sip:bob@"
               f"{fleet.file.domain} · chordial put greeting hello")  # fmt: skip
    output.say("Emergency calls are not routed.")
    output.say("`chordial down` stops it." if detached else "Ctrl-C stops it; the data stay.")


def _tell_ports(output: Output, chosen: list[ports.PeerPorts], base: int) -> None:
    moved = list(ports.unusual(chosen, base))
    if moved:
        pairs = ", ".join(f"{usual} → {port}" for usual, port in moved[:6])
        output.warn(f"some of the usual ports are taken: {pairs}{' …' if len(moved) > 6 else ''}")
    if not chosen[0].has_ipv6:
        output.warn("this machine has no IPv6 loopback: the ring speaks IPv4 only")


def _check_free_folder(state: Path) -> None:
    strangers = (
        [each.name for each in state.iterdir() if each.name != "lock"] if state.exists() else []
    )
    if strangers:
        raise FleetError(
            f"{state} holds something else ({', '.join(sorted(strangers)[:3])}) and no fleet.json: "
            "name an empty --state"
        )


def _log_end(folder: Path) -> str:
    try:
        lines = (folder / "node.log").read_text(errors="replace").splitlines()
    except OSError:
        return f"(no log in {folder})"
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])


def _stop_event() -> asyncio.Event:
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, event.set)
    return event
