"""`chordial users`: SIP users of the overlay; their credentials leave sealed only."""

import argparse
import csv
import getpass
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from chordial_node.adapters.identity_files import read_overlay_keys
from chordial_node.boundary.control import (
    Done,
    ListUsers,
    RemoveUser,
    SetUser,
    UsersAnswer,
    UserStatus,
)
from chordial_node.cli.asking import LocalPeers, PeerSilentError, ask, ask_any
from chordial_node.cli.fleet import Fleet
from chordial_node.cli.options import UsageError, add_common, add_verb
from chordial_node.cli.output import Output
from chordial_node.cli.phones import keep_demo_password
from chordial_node.security.credentials import make_credentials, seal_credentials

Act = Callable[[argparse.Namespace, Fleet, Output], Awaitable[int]]

EXAMPLES = {"add": "add carol", "list": "list", "rm": "rm carol", "import": "import users.csv"}
SHORT_PASSWORD = 12
MADE_PASSWORD_BYTES = 16


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "users", "add, list, rm or import SIP users",
        "chordial users add carol", run,
    )  # fmt: skip
    actions = verb.add_subparsers(title="actions", metavar="ACTION", required=True)
    adding = _action(actions, "add", "add a user, or change its password", _add)
    adding.add_argument("user", metavar="USER", help="carol, or carol@domain")
    adding.add_argument("--password-stdin", action="store_true", help="read it from standard input")
    adding.add_argument(
        "--generate",
        action="store_true",
        help="make a password and show it once (also without a terminal)",
    )
    _action(actions, "list", "list all users", _list)
    removing = _action(actions, "rm", "remove a user and its bindings", _remove)
    removing.add_argument("user", metavar="USER")
    importing = _action(actions, "import", "add users from lines of user,password", _import)
    importing.add_argument("file", type=Path, metavar="FILE.csv")


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    act: Act,
) -> argparse.ArgumentParser:
    """Add an action; what all verbs take may stand behind it, too."""
    action = actions.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  chordial users {EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    action.set_defaults(action=act)
    add_common(action, default=argparse.SUPPRESS)
    return action


async def run(args: argparse.Namespace, output: Output) -> int:
    """Do what the action says."""
    fleet = Fleet.load(args.state)
    result: int = await args.action(args, fleet, output)
    return result


async def set_user(fleet: Fleet, user: str, domain: str, password: str) -> None:
    """Write a user's sealed credentials into the overlay."""
    keys = read_overlay_keys(str(fleet.overlay_keys), fleet.file.overlay_name)
    credentials = make_credentials(user, domain, password)
    sealed = seal_credentials(keys, credentials, os.urandom(12))
    await ask_any(LocalPeers(fleet), SetUser(user=user, domain=domain, sealed=sealed), Done)
    keep_demo_password(fleet, user, password)


async def _add(args: argparse.Namespace, fleet: Fleet, output: Output) -> int:
    user, domain = _split(args.user, fleet.file.domain)
    made = args.generate or not (args.password_stdin or sys.stdin.isatty())
    if made:
        password = secrets.token_urlsafe(MADE_PASSWORD_BYTES)
    elif args.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass(f"password of {user}@{domain}: ")
        if getpass.getpass("the same again: ") != password:
            raise UsageError("the two passwords differ: nothing was written")
    _check_password(password, f"{user}@{domain}", output)
    known = any((each.user, each.domain) == (user, domain) for each in await _all_users(fleet))
    await set_user(fleet, user, domain, password)
    told = {"user": user, "domain": domain, "state": "written"}
    output.result({"users": [{**told, "password": password} if made else told]})
    now = "has a new password" if known else "can register"
    output.say(f"{user}@{domain} {now}" + (f": {password}" if made else ""))
    return 0


async def _list(_args: argparse.Namespace, fleet: Fleet, output: Output) -> int:
    users = await _all_users(fleet)
    shown = [
        {"user": u.user, "domain": u.domain, "state": "registered" if u.is_registered else "absent"}
        for u in users
    ]
    output.result({"users": shown})
    if shown:
        output.table(("USER", "DOMAIN", "STATE"), [tuple(each.values()) for each in shown])
    else:
        output.say("there is no user yet: chordial users add NAME")
    return 0


async def _remove(args: argparse.Namespace, fleet: Fleet, output: Output) -> int:
    user, domain = _split(args.user, fleet.file.domain)
    await ask_any(LocalPeers(fleet), RemoveUser(user=user, domain=domain), Done)
    output.result({"users": [{"user": user, "domain": domain, "state": "removed"}]})
    output.say(f"{user}@{domain} is removed, with all its bindings")
    return 0


async def _import(args: argparse.Namespace, fleet: Fleet, output: Output) -> int:
    users = _read_csv(args.file, fleet.file.domain)
    with output.progress(f"writing {len(users)} users"):
        for user, domain, password in users:
            await set_user(fleet, user, domain, password)
    output.result({"users": [{"user": u, "domain": d, "state": "written"} for u, d, _ in users]})
    output.say(f"{len(users)} users written")
    return 0


def _read_csv(path: Path, domain: str) -> list[tuple[str, str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV in UTF-8: {error}") from error
    bad = [str(number) for number, row in rows if len(row) != 2 or not all(row)]
    if bad:
        raise UsageError(
            f"{path}: lines {', '.join(bad[:10])} are not `user,password`; nothing was written"
        )
    return [(*_split(user, domain), password) for _, (user, password) in rows]


async def _all_users(fleet: Fleet) -> list[UserStatus]:
    """Join what each peer owns; a user whose owner is down is owned by somebody else by then."""
    found: dict[tuple[str, str], UserStatus] = {}
    silent = 0
    for peer in fleet.file.peers:
        try:
            answer = await ask(fleet, peer, ListUsers(), UsersAnswer)
        except PeerSilentError:
            silent += 1
            continue
        found.update({(each.domain, each.user): each for each in answer.users})
    if silent == len(fleet.file.peers):
        raise PeerSilentError("no peer of the fleet answers: start it with `chordial up`")
    return [found[place] for place in sorted(found)]


def _split(text: str, domain: str) -> tuple[str, str]:
    user, _, host = text.removeprefix("sip:").lower().partition("@")
    if not user or any(each in user for each in " <>\"'@:;\r\n"):
        raise UsageError(f"{text!r} is no user: say carol, or carol@{domain}")
    if host and host != domain:
        raise UsageError(
            f"this overlay serves {domain}, not {host}: say {user}, or {user}@{domain}"
        )
    return user, domain


def _check_password(password: str, who: str, output: Output) -> None:
    if not password:
        raise UsageError(f"the password of {who} is empty")
    if len(password) < SHORT_PASSWORD:
        output.warn(
            f"the password of {who} is short: who hears one REGISTER can guess it offline; "
            "--generate makes a good one"
        )
