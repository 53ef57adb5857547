"""A peer ends with phones and calls on it: nobody is cut off (fleet.md 2.3, H1, H2, H19)."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.raw_phone import Heard, RawPhone
from tests.integration.rig import COMMAND, DOMAIN, Json, LocalFleet, wait_for
from tests.integration.test_dead_edge import Call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SHORT = 10
"""The longest registration, and so the shortest: a drain with phones takes two of them."""


class NattedPhone(RawPhone):
    """A phone that only the flow of its REGISTER reaches."""

    def contact(self) -> str:
        return f"Contact: <sip:{self.user}@192.168.9.9:5060>"


def restarted(fleet: LocalFleet, **overlay: object) -> LocalFleet:
    """Start a fleet again with short registrations, and what a test wants of its end.

    Not by `up`, which writes the configuration of every peer anew.
    """
    fleet.down()
    for path in sorted(fleet.state.glob("peers/*/config.json")):
        config: dict[str, Json] = json.loads(path.read_text())
        sip = {"max_expires_seconds": SHORT, "min_expires_seconds": SHORT}
        config["sip"].update({**sip, "keepalive_seconds": 300})
        config["overlay"].update({"drain_timeout_seconds": 30, **overlay})
        path.write_text(json.dumps(config))
        with (path.parent / "node.log").open("a") as log:
            command = [sys.executable, "-m", "chordial_node", str(path)]
            own = subprocess.Popen(command, stderr=log, start_new_session=True)
        threading.Thread(target=own.wait, daemon=True).start()  # nobody else would reap it
    wait_for(lambda: fleet.run("status").returncode == 0)
    return fleet


@contextmanager
def phones(fleet: LocalFleet, folder: Path) -> Iterator[tuple[RawPhone, RawPhone]]:
    """alice at the fourth peer; bob behind a NAT at the first, which is to end."""
    fleet.add_users(["alice", "bob"], folder)
    with RawPhone(fleet.sip(4), "alice") as alice, NattedPhone(fleet.sip(1), "bob") as bob:
        for phone in (alice, bob):
            assert phone.register(SHORT)[0].status == 200
        yield alice, bob


@contextmanager
def draining(fleet: LocalFleet, peer: str) -> Iterator["subprocess.Popen[str]"]:
    """Let a peer drain meanwhile; at the end the command has said that it has left."""
    arguments = [str(COMMAND), "drain", "--state", str(fleet.state), peer, "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as drain:
        try:
            yield drain
            told, _ = drain.communicate(timeout=60.0)
            assert drain.returncode == 0, told
            assert json.loads(told)["peer"] == peer
        finally:
            drain.kill()


def is_ready(fleet: LocalFleet, number: int) -> bool:
    folder = fleet.state / "peers" / f"peer-{number}"
    http = json.loads((folder / "config.json").read_text())["telemetry"]["http"]
    try:
        with urllib.request.urlopen(f"http://{http['host']}:{http['port']}/readyz", timeout=5):
            return True
    except urllib.error.URLError:
        return False


def pid_of(fleet: LocalFleet, number: int) -> int:
    pid = fleet.peer(number)["pid"]
    assert isinstance(pid, int)
    return pid


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists()


def ended(fleet: LocalFleet, number: int) -> Json:
    """Return how a peer's process said that it ended."""
    lines = [json.loads(line) for line in fleet.log(number).splitlines()]
    last: Json = [line for line in lines if line["message"] == "node stopped"][-1]
    return last


def came(phone: RawPhone, method: str, within: float = 25.0) -> Heard:
    """Return the next request of a method."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        heard = phone.hear(until - time.monotonic())
        if heard is not None and heard.first.startswith(method):
            return heard
    raise AssertionError(f"no {method} came in {within} s")


def invited(caller: RawPhone, callee: RawPhone, cseq: int) -> bytes:
    """Call, prove who calls; return the INVITE, whose answer is still to come."""
    uri, to = f"sip:{callee.user}@{DOMAIN}", f"<sip:{callee.user}@{DOMAIN}>"
    caller.call_id = f"held-{cseq}"
    lines = [caller.contact()]
    caller.send(caller.request("INVITE", uri, cseq, to=to, lines=lines))
    lines.append(caller.answer(caller.final(), "INVITE", uri))
    invite = caller.request("INVITE", uri, cseq + 1, to=to, lines=lines)
    caller.send(invite)
    return invite


def test_a_call_runs_to_its_end_and_the_phone_is_reached_during_and_after_a_drain(
    own_fleet: LocalFleet, tmp_path: Path
) -> None:
    fleet = restarted(own_fleet)
    with phones(fleet, tmp_path) as (alice, bob), draining(fleet, "peer-1"):
        wait_for(lambda: fleet.peer(1)["state"] == "draining" or None)
        call = Call(alice, bob)
        assert is_ready(fleet, 1)
        bob.call_id = "bob-again"
        assert bob.register(SHORT)[0].status == 200
        call.ends(bob, call.of_callee("BYE", 1), alice, fleet.sip(4))
        wait_for(lambda: not is_ready(fleet, 1))
        invited(alice, bob, 10)
        assert bob.hear(2.0) is None, "the call was not held"
        bob.server = fleet.sip(2)
        assert bob.register(SHORT, cseq=5)[0].status == 200
        invite = came(bob, "INVITE", 5.0)
        bob.reply(invite, "200 OK", bob.contact())
        assert alice.final().status == 200
    wait_for(lambda: len(fleet.pids()) == fleet.peers - 1)
    assert ended(fleet, 1)["reason"] == "left"
    fleet.assert_no_fault()


def test_a_sigterm_that_means_restart_waits_for_the_call_and_keeps_the_range(
    own_fleet: LocalFleet, tmp_path: Path
) -> None:
    fleet = restarted(own_fleet, stops_as="restart")
    with phones(fleet, tmp_path) as (alice, bob):
        call = Call(alice, bob)
        pid = pid_of(fleet, 1)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: fleet.peer(1)["state"] == "draining" or None)
        assert alice.hear(3.0) is None
        assert is_running(pid)
        call.ends(alice, call.of_caller("BYE", 3), bob, fleet.sip(1))
        wait_for(lambda: not is_running(pid))
    assert ended(fleet, 1)["reason"] == "restart: the range is kept"
    assert ended(fleet, 1)["failed"] is False


def test_a_sigterm_that_means_leave_hands_over(own_fleet: LocalFleet) -> None:
    fleet = restarted(own_fleet, stops_as="leave")
    for number in range(8):
        fleet.command("put", f"key-{number}", str(number), "--ttl", "10m")
    pid = pid_of(fleet, 3)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_running(pid))
    assert ended(fleet, 3)["reason"] == "left"
    for number in range(8):
        assert fleet.command("get", f"key-{number}")["value"] == str(number)
    assert fleet.command("drain", "peer-4", "--restart")["ranges_handed_over"] == 0
    wait_for(lambda: len(fleet.pids()) == fleet.peers - 2)
    assert ended(fleet, 4)["reason"] == "restart: the range is kept"


def test_a_second_sigterm_ends_the_process_at_once(own_fleet: LocalFleet, tmp_path: Path) -> None:
    fleet = restarted(own_fleet, stops_as="restart")
    with phones(fleet, tmp_path) as (alice, bob):
        Call(alice, bob)
        pid = pid_of(fleet, 1)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: fleet.peer(1)["state"] == "draining" or None)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_running(pid), 3.0)


@pytest.mark.parametrize("stops_as", ["restart", "leave"])
def test_when_all_stop_nobody_waits_for_anything(
    own_fleet: LocalFleet, tmp_path: Path, stops_as: str
) -> None:
    fleet = restarted(own_fleet, stops_as=stops_as)
    with phones(fleet, tmp_path) as (alice, bob):
        Call(alice, bob)
        started = time.monotonic()
        fleet.down()
        assert time.monotonic() - started < 6.0
    reasons = [ended(fleet, number)["reason"] for number in range(1, fleet.peers + 1)]
    assert "nobody is left to take over: the disk is kept" in reasons
    fleet.up()
    assert fleet.command("status")["overlay"] == {"size": 5, "copies": 3, "health": "ok"}
