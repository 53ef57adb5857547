"""A user agent that others wrote in Python: aiovoip keeps no route set and reads no second Via.

It runs as a process of its own (`aiovoip_phone.py`): its faults and warnings are not ours.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.integration.rig import DOMAIN, Json, LocalFleet, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Foreign:
    """The process: commands go in, what happened comes out."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._told: Queue[Json] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.put(json.loads(line))

    def say(self, command: str) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def next(self, limit: float = 10.0) -> Json:
        """Return what happens next."""
        try:
            return self._told.get(timeout=limit)
        except Empty:
            raise AssertionError("aiovoip told nothing") from None

    def until(self, wanted: Json) -> None:
        """Wait for something, whatever else happens before it."""
        while self.next() != wanted:
            pass


@contextmanager
def aiovoip(fleet: LocalFleet, number: int, user: str, folder: Path) -> Iterator[Foreign]:
    """Run the phone at a peer."""
    host, port = fleet.sip(number)
    script = Path(__file__).with_name("aiovoip_phone.py")
    with (folder / "aiovoip.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(script), host, str(port), user],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield Foreign(process)
    finally:
        process.kill()
        process.communicate()


def contacts(fleet: LocalFleet, user: str) -> list[str]:
    """Where the ring says that a user is."""
    found = json.loads(fleet.run("trace", f"sip:{user}@{DOMAIN}", "--json").stdout)["contacts"]
    return [each["peer"] for each in found]


def test_it_registers_takes_a_message_and_a_call_and_leaves(
    shared_fleet: LocalFleet, tmp_path: Path
) -> None:
    shared_fleet.add_users(["amy", "zoe"], tmp_path)
    caller = ("--from", "zoe", "--peer", "peer-4", "--password-stdin")
    with aiovoip(shared_fleet, 2, "amy", tmp_path) as amy:
        amy.say("register")
        assert amy.next() == {"status": 200}
        assert contacts(shared_fleet, "amy") == ["peer-2"]
        wrote = shared_fleet.command("message", "amy", "lunch?", *caller, text="zoepw\n")
        assert wrote["status"] == 200
        assert amy.next() == {"happened": "MESSAGE", "text": "lunch?"}
        called = shared_fleet.command("call", "amy", "--talk", "0.2", *caller, text="zoepw\n")
        assert called["status"] == 200
        for happened in ("INVITE", "ACK", "BYE"):
            assert amy.next() == {"happened": happened}
        amy.say("unregister")
        assert amy.next() == {"status": 200}
        assert contacts(shared_fleet, "amy") == []


def test_it_calls_as_a_stranger_and_hangs_up_without_a_route(
    shared_fleet: LocalFleet, tmp_path: Path
) -> None:
    """RFC 3261 §12.2.1.1 asks for a route set; the caller's edge knows the call without one."""
    shared_fleet.add_users(["yan"], tmp_path)
    stay = ("register", "yan", "--stay", "--peer", "peer-5", "--password-stdin")
    with shared_fleet.running(*stay) as yan:
        assert yan.stdin is not None
        assert yan.stdout is not None
        yan.stdin.write("yanpw\n")
        yan.stdin.flush()
        assert "is registered at peer-5" in yan.stdout.readline()
        with aiovoip(shared_fleet, 1, "guest", tmp_path) as guest:
            guest.say("invite yan")
            guest.until({"status": 200})
            wait_for(lambda: shared_fleet.peer(1)["calls"] == 1)
            guest.say("bye")
            guest.until({"happened": "ended"})
            wait_for(lambda: shared_fleet.peer(1)["calls"] == 0)
