"""`chordial message`: sends a text to somebody through the ring (RFC 3428)."""

import argparse

from chordial_node.cli.call import lookup_path
from chordial_node.cli.options import add_phone_options, add_verb, aor_of
from chordial_node.cli.output import Output
from chordial_node.cli.phones import phone_account, phone_edge
from chordial_node.cli.trace import hop_values
from chordial_node.cli.user_agent import UserAgent


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "message", "send a text to somebody through the ring",
        "chordial message bob 'lunch?' --from alice", run,
    )  # fmt: skip
    verb.add_argument("target", metavar="TARGET", help="bob, or sip:bob@domain")
    verb.add_argument("text", metavar="TEXT")
    verb.add_argument("--from", dest="user", default="alice", metavar="USER", help="who writes")
    add_phone_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Send the text; exit 0 when the other phone took it."""
    account = phone_account(args)
    target = aor_of(args.target, account.domain)
    edge = await phone_edge(args, account.domain)
    path = await lookup_path(args, edge, target)
    phone = UserAgent(account, edge.address, args.transport)
    await phone.open()
    try:
        status, reason, taken = await phone.message(target, args.text)
    finally:
        await phone.close()
    output.result(
        {
            "from": account.aor,
            "to": target,
            "status": status,
            "reason": reason,
            "set_up_ms": round(taken, 3),
            "path": hop_values(path),
            "trace_id": "",
        }
    )
    took = 200 <= status < 300
    output.say(
        f"{target} has it after {taken:.1f} ms" if took else f"not delivered: {status} {reason}"
    )
    return 0 if took else 1
