"""`chordial call`: calls somebody through the ring, shows the way, hangs up."""

import argparse
import asyncio
import secrets

from chordial_node.boundary.control import AskTrace, ForcedTrace, ForceTrace, TraceAnswer
from chordial_node.cli.asking import PeerSilentError, ask
from chordial_node.cli.fleet import Fleet
from chordial_node.cli.options import add_phone_options, add_verb, aor_of
from chordial_node.cli.output import Output
from chordial_node.cli.phones import Edge, phone_account, phone_edge
from chordial_node.cli.trace import hop_values, show_path
from chordial_node.cli.user_agent import UserAgent


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "call", "call somebody through the ring", "chordial call bob --from alice", run
    )
    verb.add_argument("target", metavar="TARGET", help="bob, or sip:bob@domain")
    verb.add_argument("--from", dest="user", default="alice", metavar="USER", help="who calls")
    verb.add_argument("--talk", type=float, default=1.0, help="seconds to talk (default: 1)")
    verb.add_argument(
        "--ring", type=float, default=60.0, help="seconds to let it ring (default: 60)"
    )
    add_phone_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Call, talk, hang up; exit 0 when it was answered."""
    account = phone_account(args)
    target = aor_of(args.target, account.domain)
    edge = await phone_edge(args, account.domain)
    call_id = secrets.token_hex(12).encode()
    trace_id = await force_trace(args, edge, call_id)
    path = await lookup_path(args, edge, target)
    phone = UserAgent(account, edge.address, args.transport)
    await phone.open()
    try:
        with output.progress(f"calling {target}"):
            call = await phone.call(target, call_id=call_id, ring_limit_seconds=args.ring)
        if call.is_answered:
            try:
                await asyncio.sleep(args.talk)
            finally:  # Ctrl-C ends the call, too
                await phone.hang_up(call)
    finally:
        await phone.close()
    output.result(
        {
            "from": account.aor,
            "to": target,
            "status": call.status,
            "reason": call.reason,
            "set_up_ms": round(call.set_up_ms, 3),
            "path": hop_values(path),
            "trace_id": trace_id,
        }
    )
    if call.is_answered:
        output.say(f"{target} answered after {call.set_up_ms:.1f} ms (at {edge.name})")
        if path is not None:
            show_path(output, path)
    else:
        output.say(f"{target} did not take the call: {call.status} {call.reason}")
    return 0 if call.is_answered else 1


async def force_trace(args: argparse.Namespace, edge: Edge, call_id: bytes) -> str:
    """Have the edge sample the trace of a call to come; empty outside of the local fleet."""
    if edge.place is None:
        return ""
    try:
        fleet = Fleet.load(args.state)
        answer = await ask(fleet, edge.place, ForceTrace(call_id=call_id), ForcedTrace)
    except PeerSilentError:
        return ""
    return answer.trace_id.hex()


async def lookup_path(args: argparse.Namespace, edge: Edge, target: str) -> TraceAnswer | None:
    """Ask the edge for the way to the callee's registrations; None outside of the local fleet."""
    if edge.place is None:
        return None
    try:
        return await ask(Fleet.load(args.state), edge.place, AskTrace(target=target), TraceAnswer)
    except PeerSilentError:
        return None
