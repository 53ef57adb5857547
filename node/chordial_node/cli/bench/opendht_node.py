"""OpenDHT's side of `bench`: run by the system's Python, which alone has Debian's python3-opendht.

Two roles: `host COUNT [PORT]` holds nodes, `ask PORT` measures as an asker of its own. Spoken to by
lines of JSON as our own asker is. It needs the standard library and opendht, nothing of Chordial.
"""

import importlib
import json
import os
import sys
import threading
import time
from typing import Protocol, cast

NO_LIMIT = -1
WAIT_SECONDS = 20.0
LOADING_AT_ONCE = 16

Json = dict[str, object]


class Runner(Protocol):
    """What is used of opendht.DhtRunner."""

    def run(self, *, port: int, config: object) -> None:
        """Start the node."""
        ...

    def bootstrap(self, host: str, port: str) -> None:
        """Name a node that is there already."""
        ...

    def get(self, key: object, get_cb: object, done_cb: object) -> object:
        """Look up; each value is told, then the end."""
        ...

    def put(self, key: object, value: object, done_cb: object) -> object:
        """Store; the end is told."""
        ...


opendht = importlib.import_module("opendht")


def started(bootstrap: int) -> tuple[Runner, int]:
    """Start a node without its rate limit; return it and its port."""
    runner = opendht.DhtRunner()
    config = opendht.DhtConfig()
    config.setRateLimit(NO_LIMIT, NO_LIMIT)
    runner.run(port=0, config=config)
    if bootstrap:
        runner.bootstrap("127.0.0.1", str(bootstrap))
    return cast("Runner", runner), int(runner.getBound().getPort())


class Loop:
    """Keeps operations going from OpenDHT's own thread: the end of one begins the next."""

    def __init__(self, runner: Runner, size: int) -> None:
        """Take a node that runs."""
        self._runner = runner
        self._size = size
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._latencies: list[int] = []
        self._failed = 0
        self._begun = 0
        self._open = 0
        self._most = 0
        self._until = 0.0
        self._count = 0
        self._name = ""

    def run(self, name: str, count: int, in_flight: int, seconds: float, most: int) -> Json:
        """Look up `count` loaded values over and over, or store new ones; until time or number."""
        self._name, self._count, self._most = name, count, most
        began = time.perf_counter()
        self._until = began + seconds
        self._open = in_flight
        for _ in range(in_flight):
            self._next()
        self._finished.wait(seconds + WAIT_SECONDS)
        return {
            "latencies_us": self._latencies,
            "failed": self._failed + self._open,
            "seconds": time.perf_counter() - began,
        }

    def _next(self) -> None:
        now = time.perf_counter()
        with self._lock:
            number = self._begun
            if now >= self._until or (self._most and number >= self._most):
                self._open -= 1
                if not self._open:
                    self._finished.set()
                return
            self._begun += 1
        if self._name == "":
            self._get(number * 7919 % self._count, now)
        else:
            self._put(f"{self._name}-{number}", now)

    def _get(self, number: int, began: float) -> None:
        found: list[float] = []

        def on_value(_value: object) -> bool:
            found.append(time.perf_counter() - began)
            return False  # one value is what was asked for: the search need not go on

        def on_done(_ok: bool, _nodes: object) -> None:
            self._ended(bool(found), found[0] if found else 0.0)

        self._runner.get(opendht.InfoHash.get(f"get-{number}"), on_value, on_done)

    def _put(self, key: str, began: float) -> None:
        def on_done(is_stored: bool, _nodes: object) -> None:
            self._ended(is_stored, time.perf_counter() - began)

        value = opendht.Value(os.urandom(self._size))
        self._runner.put(opendht.InfoHash.get(key), value, on_done)

    def _ended(self, is_good: bool, latency: float) -> None:
        with self._lock:
            if is_good:
                self._latencies.append(int(latency * 1e6))
            else:
                self._failed += 1
        self._next()


def ask(runner: Runner, command: Json) -> Json:
    """Do what one line says."""
    size = int(str(command["value_bytes"]))
    count = int(str(command["count"]))
    if command["type"] == "load":
        done = Loop(runner, size).run("get", count, LOADING_AT_ONCE, 60.0, count)
        return done if not done["failed"] else {"problem": f"OpenDHT kept not all values: {done}"}
    name = "" if command["what"] == "lookup" else str(command["name"])
    in_flight, seconds = int(str(command["in_flight"])), float(str(command["seconds"]))
    return Loop(runner, size).run(name, count, in_flight, seconds, 0)


def until_found(runner: Runner) -> bool:
    """Return when the net answers this node at all."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        done = Loop(runner, 1).run("warm-" + os.urandom(8).hex(), 1, 1, 5.0, 1)
        if not done["failed"]:
            return True
    return False


def say(answer: Json) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Play the role that the command line names until the input ends."""
    role, number = sys.argv[1], int(sys.argv[2])
    if role == "host":
        first, port = started(int(sys.argv[3]))
        nodes = [first, *(started(port)[0] for _ in range(number - 1))]
        say({"port": port})
        sys.stdin.read()
        assert nodes
    else:
        runner, port = started(number)
        say({"port": port} if until_found(runner) else {"problem": "the OpenDHT net is silent"})
        for line in sys.stdin:
            say(ask(runner, json.loads(line)))
    os._exit(0)  # a shutdown in order would tell the others, and takes seconds


if __name__ == "__main__":
    main()
