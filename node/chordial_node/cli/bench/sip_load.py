"""REGISTERs and calls as load: SIPp as phones, in front of edges of ours or of anybody else.

A registration is REGISTER, challenge, REGISTER with digest; a call is INVITE, challenge, INVITE
with digest, 180, 200, ACK and BYE. What SIPp itself costs is not counted, and what it had to send
again is a failure. It times in steps of the kernel's coarse clock, 4 ms on most machines.
"""

import asyncio
import csv
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

from chordial_node.adapters.identity_files import read_overlay_keys
from chordial_node.boundary.control import Done, SetUser
from chordial_node.boundary.events import Address
from chordial_node.cli.bench.figures import Round, cpu_seconds
from chordial_node.cli.bench.own_fleet import DOMAIN, HOST, BenchFleet
from chordial_node.cli.fleet import Fleet, FleetError
from chordial_node.cli.processes import end_processes
from chordial_node.client import PeerClient
from chordial_node.security.credentials import make_credentials, seal_credentials

INSTALL = "SIPp, which register and call need, is not here: apt-get install sip-tester"
MOST_IN_FLIGHT = 48
CALLERS = tuple(f"caller{number}" for number in range(200))
CALLEES = tuple(f"callee{number}" for number in range(100))
FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # Debian's users do not search them
END_SECONDS = 10.0
FIRST_SECONDS = 20.0
AT_ONCE = 16


def found(program_name: str) -> str | None:
    """Return the path of a program, administrators' folders included."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *FOLDERS])
    return shutil.which(program_name, path=places)


def is_installed() -> bool:
    """Tell whether SIPp is here."""
    return found("sipp") is not None


def password_of(user: str) -> str:
    """Return the password that a user has in every measured system."""
    return f"{user}pw"


def free_port() -> int:
    """Return a UDP port that nobody uses at present."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class SipSystem:
    """Edges under load, and the phones behind them."""

    def __init__(
        self,
        name: str,
        peers: int,
        callers_at: Address,
        callees_at: Address,
        pids: Callable[[], Sequence[int]],
        folder: Path,
    ) -> None:
        """Take where callers and callees have their edge; start nothing yet."""
        self.name = name
        self.peers = peers
        self._callers_at = callers_at
        self._callees_at = callees_at
        self._pids = pids
        self._folder = folder
        self._answering: asyncio.subprocess.Process | None = None
        self._answer_port = free_port()
        self._run = 0

    async def start(self) -> None:
        """Start the phones that answer."""
        self._answering = await self._sipp("answer", self._folder, self._answer_port)

    async def measure(self, what: str, in_flight: int, seconds: float) -> Round:
        """Keep so many registrations or calls going for a while."""
        if what == "register":
            rows = [(user, _answer_of(user), str(self._answer_port)) for user in CALLERS]
            return await self._load(what, self._callers_at, rows, in_flight, seconds)
        rows = [(user, _answer_of(user), str(self._answer_port)) for user in CALLEES]
        put_in = await self._load("register", self._callees_at, rows, AT_ONCE, 0.0)
        if put_in.ops != len(CALLEES):
            raise FleetError(f"{self.name}: only {put_in.ops} of {len(CALLEES)} phones registered")
        rows = [
            (user, _answer_of(user), CALLEES[number % len(CALLEES)])
            for number, user in enumerate(CALLERS)
        ]
        return await self._load(what, self._callers_at, rows, in_flight, seconds)

    async def end(self) -> None:
        """End the phones that answer."""
        if self._answering is not None:
            await end_processes([self._answering.pid], patience=0.1)
            await self._answering.wait()

    async def _load(
        self, what: str, edge: Address, rows: Sequence[Sequence[str]], in_flight: int,
        seconds: float,
    ) -> Round:  # fmt: skip
        """Run SIPp for a time, or once through all rows where there is none."""
        self._run += 1
        folder = self._folder / f"run-{self._run}"
        folder.mkdir()
        lines = "".join(";".join(row) + "\n" for row in rows)
        (folder / "users.csv").write_text(f"SEQUENTIAL\n{lines}")
        limit = () if seconds else ("-m", str(len(rows)))
        before = cpu_seconds(self._pids())
        process = await self._sipp(
            what, folder, free_port(), f"{edge[0]}:{edge[1]}", "-inf", "users.csv", "-users",
            str(in_flight), "-trace_rtt", "-rtt_freq", "1", "-timer_resol", "1", *limit,
        )  # fmt: skip
        await _ended(process, seconds)
        cpu = cpu_seconds(self._pids()) - before
        return _read(folder, cpu, f"{self.name}, {what}")

    async def _sipp(
        self, scenario: str, folder: Path, port: int, *options: str
    ) -> asyncio.subprocess.Process:
        path = found("sipp")
        if path is None:
            raise FleetError(INSTALL)
        scenarios = resources.files("chordial_node.cli.bench") / "scenarios"
        (folder / f"{scenario}.xml").write_bytes((scenarios / f"{scenario}.xml").read_bytes())
        with (folder / "errors").open("ab") as errors:
            return await asyncio.create_subprocess_exec(
                path, *options, "-sf", f"{scenario}.xml", "-i", HOST, "-p", str(port), "-nostdin",
                "-trace_stat", "-stf", "stats.csv", "-fd", "1",
                cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=errors, start_new_session=True,
            )  # fmt: skip


@asynccontextmanager
async def sip_system(
    name: str,
    peers: int,
    callers_at: Address,
    callees_at: Address,
    pids: Callable[[], Sequence[int]],
) -> AsyncIterator[SipSystem]:
    """Put phones behind edges that run, and end them afterwards."""
    with tempfile.TemporaryDirectory(prefix="chordial-bench-") as folder:
        system = SipSystem(name, peers, callers_at, callees_at, pids, Path(folder))
        try:
            await system.start()
            yield system
        finally:
            await system.end()


@asynccontextmanager
async def own_edges(bench: BenchFleet) -> AsyncIterator[SipSystem]:
    """Put phones behind two peers of a fleet of ours."""
    fleet = bench.fleet
    await _add_users(fleet)
    first, second = fleet.file.peers[0], fleet.file.peers[len(fleet.file.peers) // 2]
    edges = [(HOST, each.ports.sip) for each in (first, second)]
    async with sip_system(bench.name, bench.peers, edges[0], edges[1], lambda: bench.pids) as ours:
        yield ours


async def _add_users(fleet: Fleet) -> None:
    keys = read_overlay_keys(str(fleet.overlay_keys), fleet.file.overlay_name)
    peer = fleet.file.peers[0]
    todo = iter((*CALLERS, *CALLEES))
    async with PeerClient(
        (fleet.file.host, peer.ports.overlay),
        trusted=fleet.trusted.read_bytes(),
        certificate=fleet.admin_certificate.read_bytes(),
        key=fleet.admin_key.read_bytes(),
        node=peer.id,
    ) as client:

        async def some() -> None:
            for user in todo:
                credentials = make_credentials(user, DOMAIN, password_of(user))
                sealed = seal_credentials(keys, credentials, os.urandom(12))
                answer = await client.ask(SetUser(user=user, domain=DOMAIN, sealed=sealed))
                if not isinstance(answer, Done):
                    raise FleetError(f"user {user} could not be written: {answer}")

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def _answer_of(user: str) -> str:
    return f"[authentication username={user} password={password_of(user)}]"


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Let SIPp run for a time, have it finish what is open, and end it if it does not."""
    try:
        if seconds:
            await asyncio.sleep(seconds)
            process.send_signal(signal.SIGUSR1)
        await asyncio.wait_for(process.wait(), END_SECONDS if seconds else FIRST_SECONDS)
    except ProcessLookupError:
        await process.wait()
    finally:
        if process.returncode is None:
            await end_processes([process.pid], patience=0.1)
            await process.wait()


def _read(folder: Path, cpu: float, whose: str) -> Round:
    """Return what SIPp counted and timed."""
    try:
        with (folder / "stats.csv").open() as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
    except (OSError, IndexError) as error:
        said = (folder / "errors").read_text(errors="replace").strip()
        raise FleetError(f"{whose}: SIPp counted nothing: {said[-300:]}") from error
    times = _times(folder)
    ends = [at for at, _ in times]
    begins = [at - took for at, took in times]
    seconds = max(ends) - min(begins) if times else 0.0
    ops, failed = int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"])
    failed += int(last["Retransmissions(C)"])
    return Round([took for _, took in times], ops, failed, seconds, cpu)


def _times(folder: Path) -> list[tuple[float, float]]:
    """Return when each timed operation ended and how long it took, in seconds."""
    found_times = []
    for path in folder.glob("*_rtt.csv"):
        with path.open() as file:
            for row in csv.reader(file, delimiter=";"):
                if row and row[0].replace(".", "").isdigit():
                    found_times.append((float(row[0]) / 1000, float(row[1]) / 1000))
    return found_times
