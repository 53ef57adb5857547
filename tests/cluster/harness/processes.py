"""The processes of a harness: started in a network namespace or not, recorded, ended by id.

An id alone may have been given to somebody else since, so the time at which the process started
is recorded with it. A record outlives who wrote it: what a crash left is found and ended.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.harness.parts import installed

LINES_OF_A_LOG = 15
PATIENCE = 10.0
POLL = 0.05


class ProcessError(Exception):
    """A process ended or did not become ready; the message has the end of its log."""


class Processes:
    """The processes recorded in one folder, each with a log."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / "processes.json"
        self._logs = folder / "logs"

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        namespace: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start a process, in a network namespace if one is named, and record it."""
        self._logs.mkdir(parents=True, exist_ok=True)
        inside = [] if namespace is None else [installed("nsenter"), f"--net={netns(namespace)}"]
        arguments = [str(word) for word in (*inside, *command)]
        writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            arguments[0],
            arguments,
            {**os.environ, **(environment or {})},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log(name)), writing, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,  # it outlives us, and Ctrl-C is for us
        )
        record = self.record()
        record[name] = (pid, started(pid) or 0)
        self._write(record)
        return pid

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self._logs / f"{name}.log"

    def record(self) -> dict[str, tuple[int, int]]:
        """Every process that was started and not ended by us: its id and when it started."""
        if not self._record.exists():
            return {}
        content: dict[str, list[int]] = json.loads(self._record.read_text())
        return {name: (pid, at) for name, (pid, at) in content.items()}

    def running(self, name: str) -> int | None:
        """The id of a recorded process that still runs."""
        pid, at = self.record().get(name, (0, 0))
        if not at:
            return None
        _bury(pid)
        return pid if started(pid) == at else None

    def wait(self, name: str, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until something of a process is so; ProcessError with its log if it ends first."""
        limit = time.monotonic() + seconds
        while not ready():
            if self.running(name) is None:
                raise ProcessError(f"{name} ended before {what}:\n{self.tail(name)}")
            if time.monotonic() > limit:
                raise ProcessError(f"{name}: no {what} in {seconds:.0f} s:\n{self.tail(name)}")
            time.sleep(POLL)

    def tail(self, name: str) -> str:
        """The end of a process's log."""
        log = self.log(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-LINES_OF_A_LOG:])

    def end(self, names: Sequence[str] | None = None, patience: float = PATIENCE) -> None:
        """End processes (all that are recorded, latest first): SIGTERM, after a time SIGKILL."""
        record = self.record()
        chosen = list(reversed(record)) if names is None else [n for n in names if n in record]
        if not chosen:
            return
        alive = {name: pid for name in chosen if (pid := self.running(name)) is not None}
        for pid in alive.values():
            _signal(pid, signal.SIGTERM)
        limit = time.monotonic() + patience
        while any(self.running(name) for name in alive):
            if time.monotonic() > limit:
                for name, pid in alive.items():
                    if self.running(name):
                        _signal(pid, signal.SIGKILL)
            time.sleep(POLL)
        self._write({name: entry for name, entry in record.items() if name not in chosen})

    def _write(self, record: Mapping[str, tuple[int, int]]) -> None:
        new = self._record.with_suffix(".new")
        new.write_text(json.dumps(record, indent=1))
        new.replace(self._record)


def started(pid: int) -> int | None:
    """When a living process started, in the kernel's ticks; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def _bury(pid: int) -> None:
    """Take the exit code of a child that has ended; others' children are none of our business."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def netns(namespace: str) -> str:
    """The file of a named network namespace."""
    return f"/run/netns/{namespace}"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
