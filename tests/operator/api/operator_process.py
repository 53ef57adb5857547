"""The operator as a process of its own, against the API server of a test."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.cluster.harness.api_server import ApiServer, free_ports

T = TypeVar("T")
POLL_SECONDS = 0.05


class OperatorProcess:
    """One operator that watches one namespace and keeps its Secrets in another."""

    def __init__(
        self, server: ApiServer, namespace: str, folder: Path, *, name: str = "op-0", more: str = ""
    ) -> None:
        self.server = server
        self.namespace = namespace
        self.log = folder / f"{name}.log"
        self._name = name
        self._more = more.split()
        self._process: subprocess.Popen[bytes] | None = None
        self._enrollment, self._probes = free_ports(2)

    def start(self) -> None:
        """Start it and return when it holds its lease and serves."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "chordial_operator",
                    f"--namespace={self.namespace}",
                    f"--pod-name={self._name}",
                    f"--watch-namespaces={self.namespace}",
                    "--enrollment-host=chordial.test.svc",
                    f"--enrollment-port={self._enrollment}",
                    "--enrollment-listen=127.0.0.1",
                    f"--probe-port={self._probes}",
                    "--probe-listen=127.0.0.1",
                    f"--kubeconfig={self.server.kubeconfig}",
                    "--log-level=info",
                    *self._more,
                ],
                stdout=output,
                stderr=output,
                env={**os.environ},
            )  # fmt: skip
        until(lambda: self.get("/readyz") == "ready\n", 30.0, self._tail)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(timeout=30.0)

    def get(self, path: str) -> str:
        """Return a page of its probe port; empty when it does not answer."""
        try:
            url = f"http://127.0.0.1:{self._probes}{path}"
            with urllib.request.urlopen(url, timeout=2.0) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, OSError):
            return ""

    def metric(self, name: str) -> float:
        """Return a number of its metrics page."""
        for line in self.get("/metrics").splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}: {self._tail()}")

    def until_quiet(self, seconds: float = 1.5, within: float = 30.0) -> None:
        """Wait until it has sent no request for that long, but those that its lease needs."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            before = self.metric("chordial_operator_turns_total")
            time.sleep(seconds)  # that nothing happens can only be seen by waiting
            if self.metric("chordial_operator_turns_total") == before:
                return
        raise AssertionError(f"the operator does not come to rest: {self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-30:])


def until(holds: Callable[[], T], within: float = 15.0, tell: Callable[[], str] = lambda: "") -> T:
    """Return what a question answers once it is true."""
    deadline = time.monotonic() + within
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {within:g} s: {tell()}")
        time.sleep(POLL_SECONDS)
