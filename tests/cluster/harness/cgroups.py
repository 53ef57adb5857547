"""The cgroups of nodes: one in each hierarchy of cgroup v1, or one of cgroup v2.

A kubelet with `cgroupRoot` needs its cgroup to be there. What runs in one when a node is stopped
is killed here, by id.
"""

import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PATIENCE = 10.0


def hierarchies() -> list[Path]:
    """The roots under which a node's cgroup is made."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return sorted(p for p in ROOT.iterdir() if p.is_dir() and not p.is_symlink())


def create(name: str) -> None:
    """Make a cgroup in every hierarchy; one of cpuset needs its processors and memory named."""
    for root in hierarchies():
        folder = root / name
        folder.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (root / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((root / file).read_text())
        if (root / "cgroup.subtree_control").exists() and root == ROOT:
            controllers = (root / "cgroup.controllers").read_text().split()
            enabled = " ".join(f"+{controller}" for controller in controllers)
            (root / "cgroup.subtree_control").write_text(enabled)


def processes(name: str) -> list[int]:
    """The processes in a cgroup and all below it."""
    found: dict[int, None] = {}
    for folder in _folders(name):
        try:
            lines = (folder / "cgroup.procs").read_text().split()
        except OSError:
            continue  # it went while we looked
        found.update(dict.fromkeys(int(line) for line in lines))
    return list(found)


def _folders(name: str) -> list[Path]:
    """A node's cgroups and all below them; one that vanishes meanwhile is none."""
    found = []
    for root in hierarchies():
        found += [Path(path) for path, _, _ in os.walk(root / name)]
    return found


def remove(name: str) -> None:
    """Kill what runs in a cgroup and remove it."""
    limit = time.monotonic() + PATIENCE
    while (left := processes(name)) and time.monotonic() < limit:
        for pid in left:
            _kill(pid)
        time.sleep(0.02)
    for path in sorted(_folders(name), key=lambda path: len(path.parts), reverse=True):
        _remove_folder(path, limit)


def _remove_folder(path: Path, limit: float) -> None:
    """Remove one cgroup; the kernel may need a moment after its last process."""
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.02)
        else:
            return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
