"""`chordial doctor`: what is wrong with the local fleet, and what to do about it."""

import argparse
import secrets
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from chordial_node.boundary.control import Get, Put, StatusAnswer, ValueAnswer
from chordial_node.cli import ports
from chordial_node.cli.asking import PeerSilentError, ask, statuses
from chordial_node.cli.fleet import Fleet, FleetError
from chordial_node.cli.options import add_verb
from chordial_node.cli.output import Output
from chordial_node.cli.processes import running_process
from chordial_node.cli.status import is_ideal, peer_states
from chordial_node.security.certificates import IdentityError, Trust

WEEK_SECONDS = 7 * 86_400.0
LEAST_FREE_BYTES = 200 * 1024 * 1024


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    fix: str = ""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    add_verb(verbs, "doctor", "find what is wrong and say what to do", "chordial doctor", run)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Look at everything; exit 0 when all of it is well."""
    checks = [_python(), _loopback()]
    try:
        fleet = Fleet.load(args.state)
    except FleetError as error:
        checks.append(Check("state folder", False, str(error), "chordial up"))
    else:
        checks += await _fleet_checks(fleet)
    checks.append(Check("emergency calls", True, "not routed: keep another phone for emergencies"))
    checks = [each if not each.ok else msgspec.structs.replace(each, fix="") for each in checks]
    output.result({"checks": [msgspec.to_builtins(check) for check in checks]})
    for check in checks:
        (output.done if check.ok else output.missed)(f"{check.name}: {check.message}")
        if check.fix:
            output.say(f"    do: {check.fix}")
    return 0 if all(check.ok for check in checks) else 1


async def _fleet_checks(fleet: Fleet) -> list[Check]:
    answers = await statuses(fleet)
    living = [answer for answer in answers if answer is not None]
    states = peer_states(fleet, answers)
    checks = [
        Check("state folder", True, str(fleet.state)),
        _disk(fleet.state),
        _certificates(fleet),
        _processes(fleet, states),
        _ports(fleet, answers),
        _ring(living, len(answers) - states.count("left")),
    ]
    later: list[Callable[[Fleet], Awaitable[Check]]] = [_store]
    return checks + [await check(fleet) for check in later if living]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), version, "install Python 3.11 or later")


def _loopback() -> Check:
    message = "IPv4 and IPv6" if ports.has_ipv6() else "IPv4 only: phones on IPv6 are not served"
    return Check("loopback", True, message)


def _disk(state: Path) -> Check:
    free = shutil.disk_usage(state).free
    message = f"{free / 2**30:.1f} GiB free"
    return Check("disk", free > LEAST_FREE_BYTES, message, f"make room where {state} lies")


def _certificates(fleet: Fleet) -> Check:
    trust = Trust(fleet.file.overlay_name, fleet.trusted.read_bytes())
    now = time.time()
    first = float("inf")
    for peer in fleet.file.peers:
        try:
            pem = (fleet.folder(peer) / "peer.pem").read_bytes()
            first = min(first, trust.identity_of(pem, now).not_after)
        except (OSError, IdentityError) as error:
            return Check(
                "certificates", False, f"{peer.name}: {error}",
                "move the state folder away and run `chordial up` again",
            )  # fmt: skip
    days = (first - now) / 86_400
    return Check(
        "certificates", first - now > WEEK_SECONDS, f"valid for {days:.0f} days more",
        "move the state folder away and run `chordial up` again",
    )  # fmt: skip


def _processes(fleet: Fleet, states: list[str]) -> Check:
    absent = [
        (peer.name, state)
        for peer, state in zip(fleet.file.peers, states, strict=True)
        if running_process(fleet.folder(peer)) is None
    ]
    missing = [name for name, state in absent if state != "left"]
    left = [name for name, state in absent if state == "left"]
    message = f"not running: {', '.join(missing)}" if missing else "all run"
    if left:
        message += f"; in good order left: {', '.join(left)}"
    return Check("processes", not missing, message, "chordial up")


def _ports(fleet: Fleet, answers: list[StatusAnswer | None]) -> Check:
    host, sip_host = fleet.file.host, fleet.file.advertise or fleet.file.host
    taken = [
        f"{port} of {peer.name}"
        for peer, answer in zip(fleet.file.peers, answers, strict=True)
        if answer is None and running_process(fleet.folder(peer)) is None
        for port in ports.taken_ports(peer.ports, host, sip_host)
    ]
    message = f"somebody else has {', '.join(taken)}" if taken else "ours, or free"
    return Check(
        "ports", not taken, message, "stop that program; `chordial up` takes others if not"
    )


def _ring(living: list[StatusAnswer], wanted: int) -> Check:
    ready = [answer for answer in living if answer.state == "ready"]
    fix = "wait a few seconds; if it stays, look at node.log in the peers' folders"
    if not ready:
        return Check("ring", False, "no peer is ready", "chordial up")
    if len(ready) < wanted:
        message = f"{len(ready)} of {wanted} peers are ready"
        if len(ready) * 2 <= wanted:
            message += "; a majority of the founders is needed to form the ring anew"
        return Check("ring", False, message, fix)
    if not is_ideal(ready):
        return Check("ring", False, "the peers do not agree on their neighbors", fix)
    if not all(answer.in_step for answer in ready):
        return Check("ring", False, "copies of some values are still missing", fix)
    return Check("ring", True, f"{wanted} peers agree, all copies in step")


async def _store(fleet: Fleet) -> Check:
    key = b"doctor/" + secrets.token_bytes(8)
    for peer in fleet.file.peers:
        try:
            put = Put(key=key, value=b"well", lifetime_seconds=60.0)
            stored = await ask(fleet, peer, put, ValueAnswer)
            got = await ask(fleet, peer, Get(key=key), ValueAnswer)
        except PeerSilentError:
            continue
        ok = got.found and got.value == b"well"
        return Check("store", ok, f"a value was stored in {stored.copies} copies and fetched again")
    return Check("store", False, "no peer takes a value", "look at node.log in the peers' folders")
