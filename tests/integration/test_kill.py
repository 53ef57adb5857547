"""Peers killed under load: what was acknowledged is found, calls between living peers go on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration import sipp
from tests.integration.rig import LocalFleet, wait_for
from tests.programs import ProgramFinder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@contextmanager
def putting(fleet: LocalFleet, peer: str) -> Iterator[list[str]]:
    """Put values one after the other at a peer; gives the keys that were acknowledged."""
    acknowledged: list[str] = []
    ended = threading.Event()

    def put() -> None:
        number = 0
        while not ended.is_set():
            key = f"key-{peer}-{number}"
            done = fleet.run("put", key, key, "--ttl", "10m", "--peer", peer)
            if done.returncode == 0:
                acknowledged.append(key)
            number += 1

    thread = threading.Thread(target=put)
    thread.start()
    try:
        yield acknowledged
    finally:
        ended.set()
        thread.join()


def assert_all_found(fleet: LocalFleet, keys: list[str], peer: str) -> None:
    """Every acknowledged value is found from a peer."""
    for key in keys:
        got = fleet.command("get", key, "--peer", peer)
        assert got["value"] == key


@pytest.mark.foreign
def test_one_of_five_killed_under_load_loses_no_registration_and_no_call_of_the_living(
    own_fleet: LocalFleet, require_program: ProgramFinder, tmp_path: Path
) -> None:
    program = require_program("sipp", "sip-tester")
    users = [f"user{number}" for number in range(60)]
    own_fleet.add_users(users, tmp_path)
    at_one, at_two, at_four = own_fleet.sip(1), own_fleet.sip(2), own_fleet.sip(4)
    with sipp.answering(program, tmp_path) as (port, _):
        rows = [(user, sipp.authentication(user), str(port)) for user in users]
        registering = sipp.write_csv(tmp_path / "users.csv", rows)
        counts = sipp.run(
            program, "register", at_one, tmp_path, "-inf", str(registering), "-m", "60", "-r", "60"
        )
        assert counts == sipp.Counts(60, 0, 0)
        rows = [(user, sipp.authentication(user), users[-1 - n]) for n, user in enumerate(users)]
        calling = sipp.write_csv(tmp_path / "calls.csv", rows)
        with putting(own_fleet, "peer-2") as acknowledged:
            killer = threading.Timer(1.0, own_fleet.kill, (5,))
            killer.start()
            counts = sipp.run(
                program, "call", at_two, tmp_path,
                "-inf", str(calling), "-m", "60", "-r", "15", "-d", "1500",
            )  # fmt: skip
            killer.join()
        assert counts.failed == 0
        assert counts.successful == 60
        assert_all_found(own_fleet, acknowledged, "peer-3")
        own_fleet.kill(1)  # where all of them have registered: their phones are reached directly
        wait_for(lambda: own_fleet.peer(4)["in_step"])
        again = sipp.run(
            program, "call", at_four, tmp_path,
            "-inf", str(calling), "-m", "60", "-r", "30", "-d", "50",
        )  # fmt: skip
        assert (again.successful, again.failed) == (60, 0)


def test_all_killed_and_started_again_lose_nothing_acknowledged(own_fleet: LocalFleet) -> None:
    own_fleet.command("users", "add", "grace", "--password-stdin", text="grace-password\n")
    with putting(own_fleet, "peer-1") as acknowledged:
        wait_for(lambda: len(acknowledged) >= 5)
        for number in range(1, 6):
            own_fleet.kill(number)
    assert own_fleet.pids() == []
    own_fleet.up()
    assert len(acknowledged) >= 5
    for peer in ("peer-2", "peer-5"):
        assert_all_found(own_fleet, acknowledged, peer)
    registered = own_fleet.command(
        "register", "grace", "--password-stdin", "--peer", "peer-4", text="grace-password\n"
    )
    assert registered["peer"] == "peer-4"


def test_stopped_and_started_again_it_is_the_same_ring(own_fleet: LocalFleet) -> None:
    own_fleet.command("put", "kept", "still here", "--ttl", "10m")
    own_fleet.down()
    assert own_fleet.pids() == []
    own_fleet.up()
    assert own_fleet.command("get", "kept")["value"] == "still here"
    assert own_fleet.command("status")["overlay"] == {"size": 5, "copies": 3, "health": "ok"}


def test_a_drained_peer_leaves_and_its_values_stay(own_fleet: LocalFleet) -> None:
    keys = [f"value-{number}" for number in range(12)]
    for key in keys:
        own_fleet.command("put", key, key, "--ttl", "10m")
    drained = own_fleet.command("drain", "peer-3")
    assert drained["peer"] == "peer-3"
    wait_for(lambda: len(own_fleet.pids()) == 4)
    assert_all_found(own_fleet, keys, "peer-2")
    assert_all_found(own_fleet, keys, "peer-4")
