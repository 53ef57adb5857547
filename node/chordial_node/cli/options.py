"""What the verbs' options have in common."""

import argparse
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from chordial_node.cli.output import Output

Run = Callable[[argparse.Namespace, Output], Awaitable[int]]


class UsageError(Exception):
    """The command line asks for something that cannot be; the message says what to do."""


def environment_state(environment: Mapping[str, str]) -> Path:
    """Return the state folder where nothing else is said: that of the XDG base directories."""
    if stated := environment.get("CHORDIAL_STATE"):
        return Path(stated)
    if base := environment.get("XDG_STATE_HOME"):
        return Path(base) / "chordial"
    return Path(environment.get("HOME") or "/") / ".local/state/chordial"


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    example: str,
    run: Run,
) -> argparse.ArgumentParser:
    """Add a verb with what all verbs take; every one has an example."""
    verb = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(run=run)
    add_common(verb)
    return verb


def add_common(verb: argparse.ArgumentParser, default: object = None) -> None:
    """Add what every verb takes."""
    verb.add_argument(
        "--json",
        action="store_true",
        default=default or False,
        help="one JSON object instead of text",
    )
    verb.add_argument(
        "--state", type=Path, default=default, metavar="DIR",
        help="state folder of the local fleet (default: $CHORDIAL_STATE, else "
        "~/.local/state/chordial)",
    )  # fmt: skip


def add_phone_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of verbs that are a phone."""
    verb.add_argument(
        "--peer", metavar="PEER", default="",
        help="peer of the fleet, or HOST:PORT of any SIP edge (default: the first living peer)",
    )  # fmt: skip
    verb.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    verb.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )


def host_port(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [HOST]:PORT; UsageError shows the form."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"an address is HOST:PORT, such as 127.0.0.1:5060, not {text!r}")
    return host.strip("[]"), int(port)


def aor_of(text: str, domain: str) -> str:
    """Return the SIP URI that a user typed: `bob`, `bob@domain` or `sip:bob@domain`."""
    bare = text.removeprefix("sip:")
    if text.startswith("sips:") or not bare or any(each in bare for each in ' <>"\r\n'):
        raise UsageError(f"{text!r} is no SIP address: say bob, or sip:bob@{domain}")
    return f"sip:{bare}" if "@" in bare else f"sip:{bare}@{domain}"
