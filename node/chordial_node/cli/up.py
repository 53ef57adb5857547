"""`chordial up`: a ring of real peer processes on this machine, and a call through it."""

import argparse
import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Coroutine

from chordial_node.cli import INTERRUPTED
from chordial_node.cli.demonstration import Demonstration
from chordial_node.cli.fleet import Fleet
from chordial_node.cli.options import UsageError, add_verb, environment_state
from chordial_node.cli.output import Output, Value
from chordial_node.cli.processes import FleetLock, Processes
from chordial_node.cli.start import DOMAIN, LOOK_SECONDS, bring_up, check_folder, prepare
from chordial_node.cli.status import overlay_value, peer_values, show
from chordial_node.config import Transport

CUT_SHORT_SECONDS = 2.0
"""How long what Ctrl-C cuts short may take to say goodbye."""
RESTART_SECONDS, LONGEST_RESTART_SECONDS = 1.0, 60.0
HEALTHY_SECONDS = 30.0
"""Who has run for so long is started again as if for the first time."""


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
    verb.add_argument("--domain", default="", help=f"SIP domain and realm (default: {DOMAIN})")
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
    if not 0.0 <= args.sampling <= 1.0:
        raise UsageError(f"--sampling is 0 to 1, not {args.sampling}")
    if args.per_process < 1:
        raise UsageError(f"--per-process is 1 or more, not {args.per_process}")
    check_folder(args.state)
    lock = FleetLock(args.state)
    lock.take()
    started: list[Processes] = []
    stopping, hurry = _stop_events()
    works: bool | None = None
    try:
        works = await _unless(stopping, _show_ring(args, output, started))
        if works and not (args.once or args.detach):
            await _watch(started[-1], output, stopping)
    finally:
        if started and not (args.detach and works):
            with output.progress("stopping"):
                await started[-1].stop_all(hurry)
            output.say(f"stopped; the data stay in {args.state}")
        lock.release()
    return INTERRUPTED if works is None else int(not works)


async def _unless(stopping: asyncio.Event, work: Coroutine[object, object, bool]) -> bool | None:
    """Return what the work returns, or None when it was cut short."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=CUT_SHORT_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()  # of no interest any more, but it has to be looked at
    return None


async def _show_ring(args: argparse.Namespace, output: Output, started: list[Processes]) -> bool:
    """Bring the ring up, place the call, show both; tell whether it worked."""
    fleet = (await prepare(args, output)).with_telemetry(args.otlp, args.sampling)
    begun = time.monotonic()
    answers = await bring_up(fleet, args.per_process, output, started)
    fleet = started[-1].fleet
    count = "1 peer is" if len(answers) == 1 else f"{len(answers)} peers are"
    output.say(f"{count} in the ring after {time.monotonic() - begun:.1f} s")
    show(output, fleet, answers)
    works = True
    shown: dict[str, Value] = {}
    if not args.no_demo:
        output.say("")
        works, shown = await Demonstration(fleet, output).run()
    result: dict[str, Value] = {
        "peers": peer_values(fleet, answers),
        "overlay": overlay_value(answers),
    }
    output.result(result | shown)
    if not args.once and works:
        _tell_next(output, fleet, detached=args.detach)
    return works


async def _watch(processes: Processes, output: Output, stopping: asyncio.Event) -> None:
    """Serve until Ctrl-C; a peer that ends by itself is started again, each time later."""
    pauses: dict[str, tuple[float, float]] = {}
    due: dict[str, float] = {}
    while not stopping.is_set():
        for name, code in processes.exit_codes().items():
            if code == 0:
                output.warn(f"{name} has left the ring: the next `chordial up` brings it back")
                continue
            pause = next_pause(*pauses.get(name, (0.0, 0.0)), time.monotonic())
            due[name] = time.monotonic() + pause
            pauses[name] = (pause, due[name])
            told = f"with exit code {code}" if code > 0 else f"by signal {-code}"
            output.warn(f"{name} ended {told}: starting it again in {pause:g} s")
        for name in [name for name, at in due.items() if at <= time.monotonic()]:
            del due[name]
            peer = processes.fleet.peer(name)
            processes.start(next(group for group in processes.groups if peer in group))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)


def next_pause(last: float, started: float, now: float) -> float:
    """Return how long a peer waits that has ended: longer each time, unless it had served well."""
    if not last or now - started > HEALTHY_SECONDS:
        return RESTART_SECONDS
    return min(2 * last, LONGEST_RESTART_SECONDS)


def _tell_next(output: Output, fleet: Fleet, *, detached: bool) -> None:
    listeners = fleet.node_config(fleet.file.peers[0]).sip.listeners
    address = listeners[0].advertised
    tls = next(each.advertised for each in listeners if each.transport is Transport.TLS)
    output.say("")
    output.head("The ring runs.")
    output.say("Point any SIP phone at it:")
    output.say(f"  server   {address} (UDP or TCP), or the SIP address of any other peer")
    output.say(f"           {tls} (TLS; its authority is {fleet.trusted})")
    output.say(f"  domain   {fleet.file.domain}")
    output.say("  user     one of `chordial users add NAME`")
    usual = fleet.state.resolve() == environment_state(os.environ).resolve()
    each = "" if usual else f", each with --state {fleet.state.resolve()}"
    output.say(f"try next, in another terminal{each}:")
    output.say("  chordial register bob --stay      a phone that answers; then, in a third one,")
    output.say("  chordial call bob --from alice")
    output.say("  chordial put greeting hello")
    output.say("Emergency calls are not routed.")
    output.say("`chordial down` stops it." if detached else "Ctrl-C stops it; the data stay.")


def _stop_events() -> tuple[asyncio.Event, asyncio.Event]:
    """Return what the first Ctrl-C or SIGTERM sets, and what a second one does."""
    stopping, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    return stopping, hurry
