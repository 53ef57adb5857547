"""Phones that others made, in namespaces of their own: SIPp as load, baresip to hear each other.

They end when their `with` ends, each by its own process id. Sound is not the overlay's business:
a phone behind a NAT gets its sound by a route into the network behind it (`let_sound_in`), while
its signalling has only what the NAT lets through. What a proof concludes must never be put here.
"""

import ipaddress
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.cluster.harness import network
from tests.cluster.harness.processes import netns
from tests.integration import sipp
from tests.integration.baresip import Baresip, Place, Ports, baresip
from tests.integration.rig import DOMAIN, wait_for

BEHIND_NAT = "10.77.0.2"
NETWORK_BEHIND_NAT = "10.77.0.0/24"
PORTS = Ports(sip=15_060, control=15_061, rtp=16_000)
"""Each phone has a namespace for itself, so that all can have the same."""
SIPP_ANSWERS, SIPP_REGISTERS, SIPP_CALLS = 15_070, 15_071, 15_072
CALLER_TONE, CALLEE_TONE = 440, 1000
REGISTER_SECONDS, HEAR_SECONDS, END_SECONDS = 40.0, 30.0, 10.0


class Edge(msgspec.Struct, frozen=True):
    """Where phones register: an address of a Service, of a node, of a peer."""

    address: str
    port: int
    transport: str = "udp"
    authority: Path | None = None
    """With TLS: who may sign its certificate."""
    name: str = ""
    """The name that its certificate must have; empty: its address."""

    @property
    def place(self) -> tuple[str, int]:
        """Address and port."""
        return self.address, self.port


class Account(msgspec.Struct, frozen=True):
    """Whose phone it is; the password is the user and `pw` unless told otherwise."""

    user: str
    domain: str = DOMAIN
    password: str = ""


class Pair(msgspec.Struct):
    """Two baresips that are registered."""

    caller: Baresip
    callee: Baresip
    callee_uri: str

    def call(self) -> None:
        """Let the first call the second; AssertionError unless each hears the other's tone."""
        self.caller.ask("dial", self.callee_uri)
        wait_for(self._hear_each_other, HEAR_SECONDS, pause=0.5)

    def hang_up(self, *, by_callee: bool = False) -> None:
        """End the call from one side; AssertionError unless both sides are idle."""
        (self.callee if by_callee else self.caller).order("hangup")
        wait_for(lambda: self.caller.is_idle() and self.callee.is_idle(), END_SECONDS)

    def _hear_each_other(self) -> bool:
        heard = self.callee.heard(), self.caller.heard()
        return all(
            abs(frequency - tone) <= tone // 20
            for frequency, tone in zip(heard, (CALLER_TONE, CALLEE_TONE), strict=True)
        )


def place_in(namespace: str) -> Place:
    """The place of a phone in one of the network's namespaces."""
    found = network.ip("-4", "-o", "addr", "show", "dev", "eth0", namespace=namespace)
    return Place(found.split()[3].partition("/")[0], netns(namespace))


def let_sound_in(namespace: str, nat: str) -> None:
    """Route what a phone sends to one behind a NAT, whose outer address is given, into there."""
    network.route(namespace, NETWORK_BEHIND_NAT, str(ipaddress.ip_address(nat)))


@contextmanager
def pair(
    folder: Path, caller: tuple[Account, str, Edge], callee: tuple[Account, str, Edge]
) -> Iterator[Pair]:
    """Run two baresips, each an account in a namespace at an edge, until both are registered."""
    for _, namespace, edge in (caller, callee):
        if edge.authority is not None:
            require_certificate(namespace, edge)
    with (
        _phone(folder, *callee, CALLEE_TONE, "auto") as second,
        _phone(folder, *caller, CALLER_TONE, "manual") as first,
    ):
        for each in (first, second):
            try:
                wait_for(each.is_registered, REGISTER_SECONDS)
            except AssertionError as error:
                raise AssertionError(f"not registered: {each.log()[-2000:]}") from error
        yield Pair(first, second, f"sip:{callee[0].user}@{callee[0].domain}")


def require_certificate(namespace: str, edge: Edge) -> None:
    """AssertionError unless the edge proves itself by its authority: baresip 1.0 does not look."""
    wanted = ["-verify_hostname", edge.name] if edge.name else ["-verify_ip", edge.address]
    done = subprocess.run(
        [
            *network.inside_of(namespace), program("openssl"), "s_client", "-verify_return_error",
            "-connect", f"{edge.address}:{edge.port}", "-CAfile", str(edge.authority), *wanted,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{edge}: {done.stdout[-500:]} {done.stderr[-500:]}"


@contextmanager
def answering(folder: Path, namespace: str) -> Iterator[tuple[Place, Path]]:
    """Run a SIPp that answers calls in a namespace; gives its place and its statistics."""
    place = place_in(namespace)
    with sipp.answering(
        program("sipp"), folder, address=place.address, inside=place.inside, port=SIPP_ANSWERS
    ) as (_, stats):
        yield place, stats


def register(
    folder: Path, namespace: str, edge: Edge, users: Sequence[str], *options: str,
    domain: str = DOMAIN,
) -> sipp.Counts:  # fmt: skip
    """Register users whose contact is the answering SIPp of that namespace (not behind NAT)."""
    rows = [(user, sipp.authentication(user), str(SIPP_ANSWERS)) for user in users]
    listed = sipp.write_csv(folder / "registering.csv", rows)
    return _run(
        "register", folder, namespace, edge, SIPP_REGISTERS, domain,
        "-inf", str(listed), "-m", str(len(users)), *options,
    )  # fmt: skip


def call(
    folder: Path, namespace: str, edge: Edge, calls: Sequence[tuple[str, str]], *options: str,
    domain: str = DOMAIN,
) -> sipp.Counts:  # fmt: skip
    """Place calls, each from one user to another, all from one socket: to one pod of a Service."""
    rows = [(caller, sipp.authentication(caller), callee) for caller, callee in calls]
    listed = sipp.write_csv(folder / "calling.csv", rows)
    return _run(
        "call", folder, namespace, edge, SIPP_CALLS, domain,
        "-inf", str(listed), "-m", str(len(calls)), *options,
    )  # fmt: skip


def program(name: str) -> Path:
    """Where a foreign program lies."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"{name} is not here: apt-get install sip-tester baresip-core openssl"
        )
    return Path(found)


@contextmanager
def _phone(
    folder: Path, account: Account, namespace: str, edge: Edge, tone: int, answer: str
) -> Iterator[Baresip]:
    with baresip(
        program("baresip"), folder, account.user, PORTS, tone, edge.place, edge.transport, answer,
        place=place_in(namespace), domain=account.domain, password=account.password,
        authority=edge.authority,
    ) as phone:  # fmt: skip
        yield phone


def _run(
    scenario: str, folder: Path, namespace: str, edge: Edge, port: int, domain: str, *options: str
) -> sipp.Counts:
    place = place_in(namespace)
    try:
        return sipp.run(
            program("sipp"), scenario, edge.place, folder, *options,
            address=place.address, inside=place.inside, domain=domain, port=port,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"SIPp did not end {scenario}: {error}") from error
