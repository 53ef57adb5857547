"""A swarm's process from the side of a test: started in a namespace, asked, ended by its id.

Several swarms (some behind NAT) are one for a proof: their reports are added up here, and a call
that failed is looked for on the callee's side in every one of them.
"""

import json
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.cluster.harness import network
from tests.cluster.phones.ledger import Failure

Json = dict[str, object]
ROOT = Path(__file__).parents[3]


class SwarmError(Exception):
    """A swarm did not answer, or refused."""


class Report(msgspec.Struct):
    """What one swarm or several have counted."""

    phones: int = 0
    registered: int = 0
    running: int = 0
    totals: dict[str, int] = {}
    failures: list[Failure] = []
    unheard: list[str] = []
    """Who was called and did not hear it, by the swarm's own phones alone."""
    protocol_errors: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    longest_gap: float = 0.0
    set_up: dict[str, float] = {}
    seconds: dict[str, dict[str, int]] = {}
    cores: float = 0.0

    def count(self, name: str) -> int:
        """One of the totals."""
        return self.totals.get(name, 0)

    def causes(self) -> dict[str, int]:
        """How often each failure came about: what, phase and cause."""
        return dict(Counter(f"{f.what} {f.phase}: {f.cause}" for f in self.failures))

    def told(self) -> str:
        """The report in some lines, for people."""
        totals = ", ".join(f"{name} {much}" for name, much in sorted(self.totals.items()))
        slow = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in self.set_up.items())
        return (
            f"{self.registered} of {self.phones} phones registered, {self.running} calls running; "
            f"{totals}; set up {slow}; longest gap {self.longest_gap:.2f} s; "
            f"{self.cores:.2f} cores; failures {self.causes()}; "
            f"protocol errors {self.protocol_errors}"
        )


class Swarm:
    """A swarm that runs."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log
        self._answers: dict[int, queue.Queue[Json]] = {}
        self._last = 0
        self._is_over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def send(self, do: str, **more: object) -> int:
        """Give an order and return the token of its answer."""
        self._last += 1
        self._answers[self._last] = queue.Queue()
        assert self._process.stdin is not None
        line = json.dumps({"do": do, "token": self._last, **more})
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise SwarmError(f"the swarm has ended: {self._said()}") from error
        return self._last

    def answer(self, token: int, timeout: float = 60.0) -> Json:
        """The answer to an order."""
        try:
            said = self._answers[token].get(timeout=0.01 if self._is_over else timeout)
        except queue.Empty as error:
            raise SwarmError(f"no answer in {timeout} s: {self._said()}") from error
        del self._answers[token]
        if "error" in said:
            raise SwarmError(f"{said['error']} {self._said()}")
        return said

    def ask(self, do: str, timeout: float = 60.0, **more: object) -> Json:
        """Give an order and wait for its answer."""
        return self.answer(self.send(do, **more), timeout)

    def report(self, since: float = 0.0) -> Report:
        """What it has counted since a moment of this machine's clock."""
        return msgspec.convert(self.ask("report", since=since), Report)

    def end(self, *, unregister: bool = False) -> None:
        """Switch the phones off and end the process."""
        if self._process.poll() is None:
            try:
                self.ask("quit", timeout=60.0, unregister=unregister)
            except SwarmError:
                self._process.kill()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: Json = json.loads(line)
            waiting = self._answers.get(int(str(said.pop("token"))))
            if waiting is not None:
                waiting.put(said)
        self._is_over = True
        for waiting in list(self._answers.values()):
            waiting.put({"error": "the swarm ended"})

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


@contextmanager
def swarm(
    targets: Sequence[tuple[str, int]], folder: Path, *options: str, namespace: str = "",
    name: str = "swarm",
) -> Iterator[Swarm]:  # fmt: skip
    """Run a swarm, in a network namespace if one is named; options as `swarm.py` has them."""
    inside = network.inside_of(namespace) if namespace else []
    places = [word for host, port in targets for word in ("--target", f"{host}:{port}")]
    log = folder / f"{name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*inside, sys.executable, "-m", "tests.cluster.phones.swarm", *places, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT,
        )  # fmt: skip
    running = Swarm(process, log)
    try:
        yield running
    finally:
        running.end()


def everybody(
    swarms: Sequence[Swarm], do: str, timeout: float = 60.0, **more: object
) -> list[Json]:
    """Give all swarms an order at once and wait for all answers."""
    tokens = [each.send(do, **more) for each in swarms]
    return [each.answer(token, timeout) for each, token in zip(swarms, tokens, strict=True)]


def added(swarms: Sequence[Swarm], since: float = 0.0) -> Report:
    """The reports of several swarms as one; who did not hear a call is asked of all of them."""
    reports = [each.report(since) for each in swarms]
    whole = Report(
        phones=sum(each.phones for each in reports),
        registered=sum(each.registered for each in reports),
        running=sum(each.running for each in reports),
        failures=sorted((f for each in reports for f in each.failures), key=lambda f: f.at),
        totals=_sum([each.totals for each in reports]),
        protocol_errors=_sum([each.protocol_errors for each in reports]),
        examples={kind: texts for each in reports for kind, texts in each.examples.items()},
        longest_gap=max(each.longest_gap for each in reports),
        set_up={p: max(r.set_up.get(p, 0.0) for r in reports) for p in reports[0].set_up},
        seconds={
            at: _sum([each.seconds.get(at, {}) for each in reports])
            for at in sorted({at for each in reports for at in each.seconds}, key=int)
        },
        cores=sum(each.cores for each in reports),
    )  # fmt: skip
    refused = [f for f in whole.failures if f.what == "call" and f.phase == "set-up"]
    heard = heard_of(swarms, [f.call_id for f in refused])
    whole.unheard = sorted({f.other for f in refused if f.call_id not in heard})
    return whole


def heard_of(swarms: Sequence[Swarm], call_ids: Sequence[str]) -> dict[str, str]:
    """Who heard which of these calls."""
    answers = everybody(swarms, "heard", call_ids=list(call_ids))
    return {
        call_id: user
        for each in answers
        for call_id, user in msgspec.convert(each["heard"], dict[str, str]).items()
    }


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    whole: Counter[str] = Counter()
    for each in counts:
        whole.update(each)
    return dict(whole)
