"""Proof 2: phones of others on different relays call each other through one Service.

Each phone is in a network namespace of its own and reaches the Service through another node; the
Service keeps to that node, so they are at different relays, which is asserted.
"""

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fleet import DOMAIN, TCP, TLS, UDP, Fleet
from tests.cluster.harness import network
from tests.cluster.harness.cluster import NODES
from tests.cluster.harness.parts import installed
from tests.cluster.phones import foreign
from tests.cluster.phones.foreign import Account, Edge, Pair
from tests.integration import sipp
from tests.integration.rig import wait_for

pytestmark = [
    pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.usefixtures("quiet_phone"),
]  # fmt: skip

CALLER, CALLEE = 70, 71
"""Phones' namespaces; each goes through the node of its place in this list of two."""
PORTS = {"udp": UDP, "tcp": TCP, "tls": TLS}
CALLS = 5
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def phones(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """The namespaces of caller and callee, through node 1 and node 2."""
    numbers = (CALLER, CALLEE)
    for number in numbers:
        network.remove_phone(number)
    first, second = (network.add_phone(number, NODES, gateway=number - 69) for number in numbers)
    yield first, second
    for number in numbers:
        network.remove_phone(number)


def edge(fleet: Fleet, folder: Path, transport: str) -> Edge:
    authority = fleet.roots(folder) if transport == "tls" else None
    return Edge(fleet.address, PORTS[transport], transport, authority, DOMAIN)


def registrations(fleet: Fleet, node: int) -> float:
    return fleet.metric(node, "chordial_sip_registration_count")


@pytest.fixture
def pair(
    fleet: Fleet, phones: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Pair]:
    """Two baresips that are registered at different relays, over a transport."""
    transport = getattr(request, "param", "udp")
    users = f"anna{next(NUMBERS)}", f"ben{next(NUMBERS)}"  # a phone that was switched off stays
    fleet.add_users(*users)
    before = [registrations(fleet, node) for node in (1, 2)]
    there = edge(fleet, tmp_path, transport)
    made = [(Account(user), phone, there) for user, phone in zip(users, phones, strict=True)]
    with foreign.pair(tmp_path, made[0], made[1]) as both:
        assert [registrations(fleet, node) for node in (1, 2)] == [count + 1 for count in before]
        yield both


@pytest.mark.parametrize("pair", ["udp", "tcp", "tls"], indirect=True)
def test_two_baresips_at_two_relays_hear_each_other_and_either_hangs_up(pair: Pair) -> None:
    pair.call()
    pair.hang_up()
    pair.call()
    pair.hang_up(by_callee=True)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_sipp_calls_sipp_at_another_relay(
    fleet: Fleet, phones: tuple[str, str], tmp_path: Path, transport: str
) -> None:
    caller, callee = f"carla{transport}", f"dora{transport}"
    fleet.add_users(caller, callee)
    with foreign.answering(tmp_path, phones[1]) as (_, stats):
        udp = edge(fleet, tmp_path, "udp")
        assert foreign.register(tmp_path, phones[1], udp, [callee]) == sipp.Counts(1, 0, 0)
        options = ["-t", "t1"] if transport == "tcp" else []
        called = foreign.call(
            tmp_path, phones[0], edge(fleet, tmp_path, transport), [(caller, callee)] * CALLS,
            "-d", "200", "-r", "5", *options,
        )  # fmt: skip
        assert (called.successful, called.failed) == (CALLS, 0)
        wait_for(lambda: sipp.read_counts(stats).successful == CALLS)


def test_what_tls_phones_are_shown_is_of_the_overlay_and_names_its_domain(
    fleet: Fleet, phones: tuple[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *network.inside_of(phones[0]), installed("openssl"), "s_client",
            "-connect", f"{fleet.address}:{TLS}", "-CAfile", str(fleet.roots(tmp_path)),
            "-verify_return_error", "-verify_hostname", "chordial.test",
        ],
        input="", capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("by_callee", [False, True])
def test_the_flow_of_a_phone_moves_to_another_pod_in_a_call_and_bye_still_works(
    fleet: Fleet, pair: Pair, *, by_callee: bool
) -> None:
    phone = CALLEE if by_callee else CALLER
    node = phone - 69
    pair.call()
    fleet.go_through(phone, 3)
    try:
        fleet.forget_flow(phone, node)
        pair.hang_up(by_callee=by_callee)
    finally:
        fleet.go_through(phone, node)
