"""`chordial bench`: measures a fleet on this machine, beside others in the same run.

Both systems live at the same time and are put under load in turns; what an operation costs is the
CPU of all processes of a system. Only options and their sense belong here.
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from chordial_node.cli.bench.figures import System
from chordial_node.cli.bench.kamailio_proxy import INSTALL as KAMAILIO_INSTALL
from chordial_node.cli.bench.kamailio_proxy import is_installed as has_kamailio
from chordial_node.cli.bench.kamailio_proxy import kamailio
from chordial_node.cli.bench.opendht_net import INSTALL as OPENDHT_INSTALL
from chordial_node.cli.bench.opendht_net import is_installed as has_opendht
from chordial_node.cli.bench.opendht_net import opendht_net
from chordial_node.cli.bench.own_fleet import overlay_fleet, sip_fleet
from chordial_node.cli.bench.sip_load import INSTALL as SIPP_INSTALL
from chordial_node.cli.bench.sip_load import MOST_IN_FLIGHT, own_edges
from chordial_node.cli.bench.sip_load import is_installed as has_sipp
from chordial_node.cli.bench.turns import Result, measure, show
from chordial_node.cli.options import UsageError, add_verb
from chordial_node.cli.output import Output

OVERLAY, SIP = ("lookup", "store"), ("register", "call")
RIVALS = {"lookup": "opendht", "store": "opendht", "register": "kamailio", "call": "kamailio"}
OVERLAY_PEERS, SIP_PEERS = 16, 5


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "bench", "measure a ring on this machine, beside OpenDHT and Kamailio",
        "chordial bench store --against opendht --peers 16 --in-flight 32", run,
    )  # fmt: skip
    verb.add_argument(
        "what", nargs="?", choices=(*OVERLAY, *SIP), metavar="WHAT",
        help="lookup, store, register or call; without it all four, beside whoever is installed",
    )  # fmt: skip
    verb.add_argument(
        "--against", choices=("opendht", "kamailio"),
        help="measure it in turns with us: OpenDHT for lookup and store, Kamailio for the others",
    )  # fmt: skip
    verb.add_argument(
        "--peers", type=int, default=0,
        help=f"peers of the ring (default: {OVERLAY_PEERS}, for register and call {SIP_PEERS})",
    )  # fmt: skip
    verb.add_argument("--in-flight", type=int, default=32, help="operations at one time")
    verb.add_argument("--seconds", type=float, default=3.0, help="of load a round")
    verb.add_argument("--rounds", type=int, default=2, help="turns of each system")
    verb.add_argument(
        "--per-process", type=int, default=1, help="peers, and nodes of OpenDHT, to a process"
    )


async def run(args: argparse.Namespace, output: Output) -> int:
    """Measure; exit 0 when no operation of ours failed."""
    _check(args)
    # SIGTERM is Ctrl-C here: everything that was started is ended on the way out
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, signal.raise_signal, signal.SIGINT
    )
    wanted = [args.what] if args.what else [*OVERLAY, *SIP]
    missing = _missing(wanted, rival=args.what is None or bool(args.against))
    if missing and args.what:
        raise UsageError(missing[0])
    for words in missing:
        output.warn(words)
    if not has_sipp():
        wanted = [what for what in wanted if what not in SIP]
    results = [
        *await _measured(args, output, [what for what in wanted if what in OVERLAY], _overlay),
        *await _measured(args, output, [what for what in wanted if what in SIP], _sip),
    ]
    values = [each.value() for each in results]
    output.result(values[0] if args.what else {"results": values, "missing": missing})
    show(output, results)
    return 0 if not any(each.ours.failed for each in results) else 1


def _check(args: argparse.Namespace) -> None:
    if args.against and args.what is None:
        raise UsageError("--against goes with one of lookup, store, register, call")
    if args.against and RIVALS[args.what] != args.against:
        raise UsageError(f"{args.what} is measured against {RIVALS[args.what]}")
    if min(args.in_flight, args.rounds, args.per_process) < 1 or args.seconds <= 0:
        raise UsageError("--in-flight, --rounds, --per-process and --seconds are more than nothing")
    if args.peers and args.peers < 2:
        raise UsageError("--peers is at least 2: one that asks, one that answers")
    if args.what not in OVERLAY and args.in_flight > MOST_IN_FLIGHT:
        raise UsageError(
            f"register and call take at most {MOST_IN_FLIGHT} in flight: a peer sends "
            "one address no more than 50 challenges that it has not answered yet"
        )


def _missing(wanted: Sequence[str], *, rival: bool) -> list[str]:
    """Say what is not installed, and how to install it."""
    words = []
    if any(what in SIP for what in wanted):
        if not has_sipp():
            words.append(SIPP_INSTALL)
        if rival and not has_kamailio():
            words.append(KAMAILIO_INSTALL)
    if rival and any(what in OVERLAY for what in wanted) and not has_opendht():
        words.append(OPENDHT_INSTALL)
    return words


Opened = AbstractAsyncContextManager[list[System]]


async def _measured(
    args: argparse.Namespace,
    output: Output,
    wanted: Sequence[str],
    open_systems: Callable[[int, int, bool], Opened],
) -> list[Result]:
    if not wanted:
        return []
    has_rival = bool(args.against) if args.what else not _missing(wanted, rival=True)
    with output.progress("starting what is measured") as shown:
        async with open_systems(args.peers, args.per_process, has_rival) as systems:
            return [
                await measure(
                    what, systems, args.in_flight, args.seconds, args.rounds, shown.update
                )
                for what in wanted
            ]


@asynccontextmanager
async def _overlay(peers: int, per_process: int, has_rival: bool) -> AsyncIterator[list[System]]:
    """Open our fleet and, where wanted, a net of OpenDHT of the same size."""
    async with overlay_fleet(peers or OVERLAY_PEERS, per_process) as ours:
        if not has_rival:
            yield [ours]
            return
        async with opendht_net(ours.peers, per_process) as other:
            yield [ours, other]


@asynccontextmanager
async def _sip(peers: int, per_process: int, has_rival: bool) -> AsyncIterator[list[System]]:
    """Open our fleet with its phones and, where wanted, a Kamailio with the same ones."""
    async with (
        sip_fleet(peers or SIP_PEERS, per_process) as fleet,
        own_edges(fleet) as ours,
    ):
        if not has_rival:
            yield [ours]
            return
        async with kamailio() as other:
            yield [ours, other]
