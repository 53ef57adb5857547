"""A real fleet for tests: the command itself, in a folder of its own, ended by process id."""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Json = dict[str, object]

COMMAND = Path(sys.executable).with_name("chordial")
SCENARIOS = Path(__file__).parent / "scenarios"
DOMAIN = "chordial.test"


class LocalFleet:
    """A ring of peer processes in one state folder."""

    def __init__(self, state: Path, peers: int = 5) -> None:
        self.state = state
        self.peers = peers

    def command(self, *arguments: str, timeout: float = 60.0, text: str | None = None) -> Json:
        """Run a verb with --json and return its object; AssertionError shows what it said."""
        done = self.run(*arguments, "--json", timeout=timeout, text=text)
        assert done.stdout.strip(), f"{arguments} said nothing: {done.stderr}"
        answer: Json = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == 0, f"{arguments} failed: {answer} {done.stderr}"
        return answer

    def run(
        self, *arguments: str, timeout: float = 60.0, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb and return what it said, whatever it was."""
        verb, *rest = arguments
        return subprocess.run(
            [COMMAND, verb, "--state", str(self.state), *rest],
            capture_output=True, text=True, timeout=timeout, input=text, check=False,
        )  # fmt: skip

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a verb that goes on until Ctrl-C, which it gets at the end."""
        verb, *rest = arguments
        with subprocess.Popen(
            [COMMAND, verb, "--state", str(self.state), *rest],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(60)

    def up(self, *options: str) -> None:
        """Start the ring and return when it is whole."""
        count = [] if (self.state / "fleet.json").exists() else ["--peers", str(self.peers)]
        self.command("up", "--detach", "--no-demo", *count, *options, timeout=120.0)

    def down(self) -> None:
        """End the ring."""
        if (self.state / "fleet.json").exists():
            self.run("down")

    def status(self) -> Json:
        """Return the status as the command tells it, healthy or not."""
        done = self.run("status", "--json")
        answer: Json = json.loads(done.stdout)
        return answer

    def peer(self, number: int) -> Json:
        """Return one peer of the status, by its number from 1."""
        peers = self.status()["peers"]
        assert isinstance(peers, list)
        return dict(peers[number - 1])

    def sip(self, number: int, transport: str = "udp") -> tuple[str, int]:
        """Return the SIP address of a peer."""
        places = self.peer(number)["sip"]
        assert isinstance(places, dict)
        host, _, port = str(places[transport]).rpartition(":")
        return host.strip("[]"), int(port)

    def pids(self) -> list[int]:
        """Return the process ids of all living peers."""
        peers = self.status()["peers"]
        assert isinstance(peers, list)
        return [each["pid"] for each in peers if each["pid"]]

    def kill(self, number: int) -> None:
        """Kill one peer's process without a word."""
        pid = self.peer(number)["pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)

    def add_users(self, names: Sequence[str], folder: Path) -> None:
        """Write users whose password is their name and `pw`."""
        path = folder / "users.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([name, f"{name}pw"] for name in names)
        self.command("users", "import", str(path), timeout=120.0)

    def log(self, number: int) -> str:
        """Return what a peer has logged."""
        return (self.state / "peers" / f"peer-{number}" / "node.log").read_text()

    def assert_no_fault(self) -> None:
        """No peer has logged a traceback, nor an error."""
        for number in range(1, self.peers + 1):
            text = self.log(number)
            assert "Traceback" not in text, text[text.index("Traceback") - 300 :][:3000]
            errors = [line for line in text.splitlines() if '"level":"error"' in line]
            assert not errors, errors


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a foreign program: asked first, killed when it does not heed that."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port that nobody uses on UDP and TCP, and that the system gives to nobody else."""
    for port in random.sample(range(20_000, 30_000), 200):
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise AssertionError("no free port between 20000 and 30000")


def wait_for(what: Callable[[], T | None], limit: float = 30.0, pause: float = 0.05) -> T:
    """Return what a condition gives once it gives something; AssertionError after the limit."""
    until = time.monotonic() + limit
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < until, f"not within {limit} s: {what}"
        time.sleep(pause)
