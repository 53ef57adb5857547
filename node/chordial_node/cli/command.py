"""The verbs of the `chordial` command: one a module, `--json` for each, 0 only when it holds."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path

from chordial_node import __version__
from chordial_node.cli import (
    bench,
    call,
    check,
    doctor,
    down,
    drain,
    message,
    register,
    report,
    simulate,
    status,
    trace,
    up,
    users,
    values,
)
from chordial_node.cli.asking import PeerSilentError
from chordial_node.cli.fleet import FleetError
from chordial_node.cli.options import UsageError, environment_state
from chordial_node.cli.output import Output
from chordial_node.cli.sip_client import SipError
from chordial_node.config import ConfigError

EXPECTED = (UsageError, FleetError, PeerSilentError, SipError, ConfigError)
"""What went wrong outside of us: one sentence, exit code 1."""

VERBS = (
    up, down, status, users, register, call, message, trace, values, drain, check, simulate, bench,
    doctor, report,
)  # fmt: skip

DESCRIPTION = "SIP calling without a server: a ring of peers that together are registrar and proxy."
EPILOG = """\
start here:
  chordial up                 a ring of five peers on this machine, and a call through it
  chordial users add carol    a user for your own phone
  chordial status             who is in the ring

Chordial routes no emergency calls.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    top = argparse.ArgumentParser(
        prog="chordial",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"chordial {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add(verbs)
    return top


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = parser().parse_args(given or ["--help"])
    home = {"HOME": str(Path("~").expanduser()), **os.environ}  # of the user, where none is set
    args.state = (args.state or environment_state(home)).resolve()  # processes are told by its name
    output = Output(as_json=args.json)
    try:
        return asyncio.run(_ended_by_signal(args.run(args, output)))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    except EXPECTED as error:
        output.failed(str(error))
        return 1
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


async def _ended_by_signal(verb: Awaitable[int]) -> int:
    """Let SIGTERM end a verb as Ctrl-C does: a call is cancelled, a phone unregistered."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await verb
