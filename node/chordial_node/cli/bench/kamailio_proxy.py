"""Kamailio as the other side of `register` and `call`: one worker, memory alone, the same users.

Its allocator is set as it performs best (`-x tlsf`, much shared memory): Debian's default makes it
nearly three times slower than it is.
"""

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

from chordial_node.cli.bench.own_fleet import DOMAIN, HOST
from chordial_node.cli.bench.sip_load import (
    CALLEES,
    CALLERS,
    SipSystem,
    found,
    free_port,
    password_of,
    sip_system,
)
from chordial_node.cli.fleet import FleetError
from chordial_node.cli.processes import end_processes

INSTALL = "Kamailio is not here; install it with: apt-get install kamailio"
MEMORY = ("-x", "tlsf", "-X", "tlsf", "-m", "4096")
START_SECONDS = 20.0
END_SECONDS = 5.0
LOOK_SECONDS = 0.05


def is_installed() -> bool:
    """Tell whether Kamailio is here."""
    return found("kamailio") is not None


@asynccontextmanager
async def kamailio() -> AsyncIterator[SipSystem]:
    """Start Kamailio with the measured phones behind it, and end it afterwards."""
    path = found("kamailio")
    if path is None:
        raise FleetError(INSTALL)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="chordial-bench-") as name:
        folder = Path(name)
        (folder / "kamailio.cfg").write_text(_config(port))
        with (folder / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                path, "-f", "kamailio.cfg", "-DD", "-E", "-Y", name, "-w", name,
                "-P", str(folder / "pid"), *MEMORY,
                cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            await _until_listening(process, port, folder / "log")
            pids = [process.pid, *_children(process.pid)]
            edge = (HOST, port)
            async with sip_system("kamailio", 1, edge, edge, lambda: pids) as system:
                yield system
        finally:
            pids = [process.pid, *_children(process.pid)]
            await end_processes([process.pid], END_SECONDS)
            await end_processes(pids, 0.0)
            await process.wait()


def _config(port: int) -> str:
    text = (resources.files("chordial_node.cli.bench") / "scenarios" / "kamailio.cfg").read_text()
    users = "\n".join(f'\t$sht(ha1=>{user}) = "{_ha1(user)}";' for user in (*CALLERS, *CALLEES))
    return (
        text.replace("USERS", users).replace("ADDRESS", f"{HOST}:{port}").replace("DOMAIN", DOMAIN)
    )


def _ha1(user: str) -> str:
    return hashlib.md5(f"{user}:{DOMAIN}:{password_of(user)}".encode()).hexdigest()


async def _until_listening(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Return when somebody listens at the port; FleetError when Kamailio ended before."""
    until = time.monotonic() + START_SECONDS
    while not _has_listener(port):
        if process.returncode is not None or time.monotonic() > until:
            raise FleetError(f"Kamailio did not start: {_complaint(log)}")
        await asyncio.sleep(LOOK_SECONDS)


def _has_listener(port: int) -> bool:
    wanted = f":{port:04X} "
    return any(wanted in line for line in Path("/proc/net/udp").read_text().splitlines())


def _complaint(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() or ["it says nothing"]
    return next((line for line in lines if "CRITICAL" in line), lines[-1])


def _children(pid: int) -> list[int]:
    """Return all processes that a process has started, theirs included."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(each) for t in tasks for each in (t / "children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (child, *_children(child))]
