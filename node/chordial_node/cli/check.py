"""`chordial check`: does an overlay do what it is for? A lookup, a value, two phones and a call.

What `helm test` runs in the cluster. It leaves nothing behind: the value is removed, the phones
take their bindings back.
"""

import argparse
import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from chordial_node.boundary.control import (
    Done,
    Get,
    Lookup,
    LookupAnswer,
    Put,
    Remove,
    ValueAnswer,
)
from chordial_node.boundary.events import Address
from chordial_node.cli.asking import Peers, PeerSilentError, ask_any
from chordial_node.cli.options import UsageError, add_verb, host_port
from chordial_node.cli.output import Output, Value
from chordial_node.cli.sip_client import Account, SipError
from chordial_node.cli.sources import add_source_options, open_peers
from chordial_node.cli.user_agent import UserAgent
from chordial_node.ids import resource_id_of

LIFETIME_SECONDS = 120.0
TALK_SECONDS = 0.5
PAUSE_SECONDS = 1.0


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "check", "look up, put and get, register and call, and tell what works",
        "chordial check -n voice --overlay voice", run,
    )  # fmt: skip
    verb.add_argument("--peer", default="", metavar="PEER", help="peer, or HOST:PORT of its gRPC")
    verb.add_argument(
        "--sip", default="", metavar="HOST:PORT",
        help="where phones register; without it, or when the name is not known, no phone is tried",
    )  # fmt: skip
    verb.add_argument(
        "--user", action="append", default=[], metavar="AOR=FILE", dest="users",
        help="a user and the file with its password; twice, for a caller and a callee",
    )  # fmt: skip
    verb.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    verb.add_argument(
        "--within", type=float, default=60.0, metavar="SECONDS",
        help="try each step again for this long (default: 60)",
    )  # fmt: skip
    add_source_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Check; exit 0 when everything that was tried works."""
    accounts = [_account(text) for text in args.users]
    steps = _Steps(output, args.within)
    async with open_peers(args) as peers:
        await steps.take("lookup", lambda: _look_up(peers, args.peer))
        await steps.take("put, get, remove", lambda: _store(peers, args.peer))
    edge = await _resolved(args.sip) if args.sip else None
    if edge is None:
        output.say(
            f"no phone is tried: {args.sip or '--sip'} names no address: is there a RelaySet?"
        )
    elif len(accounts) != 2:
        raise UsageError(f"a call needs two users: --user twice, not {len(accounts)} times")
    else:
        await steps.take("register and call", lambda: _call(edge, accounts, args.transport))
    output.result({"checks": steps.told})
    return 0 if all(each["ok"] for each in steps.told) else 1


class _Steps:
    """Takes one step after the other, each again until it works or its time is over."""

    def __init__(self, output: Output, within: float) -> None:
        self._output = output
        self._within = within
        self.told: list[dict[str, Value]] = []

    async def take(self, name: str, step: Callable[[], Awaitable[str]]) -> None:
        """Take a step and tell how it went."""
        until = time.monotonic() + self._within
        while True:
            began = time.monotonic()
            try:
                message = await step()
            except (PeerSilentError, SipError, OSError) as error:
                if began < until:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                self._output.missed(f"{name}: {error}")
                self.told.append({"name": name, "ok": False, "message": str(error)})
                return
            taken = (time.monotonic() - began) * 1000
            self._output.done(f"{name}: {message} ({taken:.0f} ms)")
            self.told.append({"name": name, "ok": True, "message": message})
            return


async def _look_up(peers: Peers, peer: str) -> str:
    resource = resource_id_of(secrets.token_bytes(8))
    answer = await ask_any(peers, Lookup(resource_id=resource), LookupAnswer, peer)
    return f"{answer.responsible.hex()[:8]} is responsible, {answer.hops} hops away"


async def _store(peers: Peers, peer: str) -> str:
    key, value = b"check-" + secrets.token_hex(8).encode(), secrets.token_bytes(64)
    secret = secrets.token_bytes(16)
    put = Put(key=key, value=value, lifetime_seconds=LIFETIME_SECONDS, secret=secret)
    stored = await ask_any(peers, put, ValueAnswer, peer)
    got = await ask_any(peers, Get(key=key), ValueAnswer, peer)
    await ask_any(peers, Remove(key=key, secret=secret), Done, peer)
    if got.value != value:
        raise PeerSilentError("what came back is not what was stored")
    return f"{stored.copies} copies"


async def _call(edge: Address, accounts: list[Account], transport: str) -> str:
    caller, callee = accounts
    async with _phone(caller, edge, transport) as alice, _phone(callee, edge, transport) as bob:
        call = await alice.call(bob.account.aor, call_id=secrets.token_hex(12).encode())
        if not call.is_answered:
            raise SipError(f"{bob.account.aor} was not reached: {call.status} {call.reason}")
        await asyncio.sleep(TALK_SECONDS)
        await alice.hang_up(call)
        return f"{alice.account.aor} called {bob.account.aor} over {transport}"


@contextlib.asynccontextmanager
async def _phone(account: Account, edge: Address, transport: str) -> AsyncIterator[UserAgent]:
    phone = UserAgent(account, edge, transport)
    await phone.open()
    try:
        await phone.register(60)
        yield phone
        await phone.register(0)
    finally:
        await phone.close()


async def _resolved(text: str) -> Address | None:
    host, port = host_port(text)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror:
        return None
    return (str(found[0][4][0]), port)


def _account(text: str) -> Account:
    aor, equals, path = text.partition("=")
    user, at, domain = aor.removeprefix("sip:").partition("@")
    if not (equals and at and user and domain):
        raise UsageError(f"--user is AOR=FILE, such as alice@voice.example=FILE, not {text!r}")
    try:
        return Account(user, domain, Path(path).read_text().rstrip("\r\n"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
