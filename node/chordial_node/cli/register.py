"""`chordial register`: registers a user at a peer, and with --stay is a phone that answers."""

import argparse
import asyncio
import contextlib
import signal

from chordial_node.cli.options import UsageError, add_phone_options, add_verb
from chordial_node.cli.output import Output
from chordial_node.cli.phones import phone_account, phone_edge
from chordial_node.cli.sip_client import SipError
from chordial_node.cli.user_agent import UserAgent

REFRESHED_AT = 0.5
"""Part of what was granted after which a phone registers again."""
RETRY_SECONDS = 5.0
LEAST_PAUSE_SECONDS = 1.0


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "register", "register a user as a phone does", "chordial register alice --stay", run
    )
    verb.add_argument("user", metavar="USER", help="alice, or alice@domain")
    verb.add_argument("--expires", type=int, default=300, help="seconds asked (default: 300)")
    verb.add_argument(
        "--stay",
        action="store_true",
        help="answer calls and messages until Ctrl-C, then unregister",
    )
    add_phone_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Register; with --stay be a phone that answers."""
    if args.expires < 1:
        raise UsageError(f"--expires is at least 1 second, not {args.expires}")
    account = phone_account(args)
    edge = await phone_edge(args, account.domain)
    phone = UserAgent(
        account,
        edge.address,
        args.transport,
        on_text=lambda sender, text: output.say(f"{sender}: {text}"),
    )
    await phone.open()
    try:
        binding = await phone.register(args.expires)
        output.result(
            {
                "aor": account.aor,
                "contact": binding.contact,
                "peer": edge.name,
                "expires": binding.expires,
            }
        )
        output.say(
            f"{account.aor} is registered at {edge.name} as {binding.contact} for "
            f"{binding.expires} s"
        )
        if args.stay:
            await _stay(phone, binding.expires, args.expires, output)
    finally:
        await phone.close()
    return 0


async def _stay(phone: UserAgent, granted: int, expires: int, output: Output) -> None:
    """Refresh until Ctrl-C or SIGTERM, then unregister."""
    output.say("answering calls and messages; Ctrl-C ends")
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    pause = granted * REFRESHED_AT
    while not await _is_set_within(stopping, pause):
        try:
            pause = (await phone.register(expires)).expires * REFRESHED_AT
        except SipError as error:
            output.warn(f"{error}: trying again in {RETRY_SECONDS:g} s")
            pause = RETRY_SECONDS
    await phone.register(0)
    output.say(f"{phone.account.aor} is no longer registered")


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(LEAST_PAUSE_SECONDS, seconds))
    return event.is_set()
