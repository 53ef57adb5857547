"""`chordial register`: registers a user at a peer, and with --stay is a phone that answers."""

import argparse
import asyncio

from chordial_node.cli.options import add_phone_options, add_verb
from chordial_node.cli.output import Output
from chordial_node.cli.phones import phone_account, phone_edge
from chordial_node.cli.user_agent import UserAgent


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
            await _stay(phone, args.expires, output)
    finally:
        await phone.close()
    return 0


async def _stay(phone: UserAgent, expires: int, output: Output) -> None:
    output.say("answering calls and messages; Ctrl-C ends")
    try:
        while True:
            binding = await phone.register(expires)
            await asyncio.sleep(max(5.0, binding.expires * 0.5))
    finally:
        await phone.register(0)
