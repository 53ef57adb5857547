"""The command as its user runs it, against a real fleet."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.rig import COMMAND, LocalFleet, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_up_once_calls_and_writes_through_the_ring_and_leaves_no_process(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path / "state")
    shown = fleet.command("up", "--once", timeout=120.0)
    call, message = shown["call"], shown["message"]
    assert isinstance(call, dict)
    assert isinstance(message, dict)
    assert (call["status"], message["status"]) == (200, 200)
    assert len(call["path"]) <= 2
    assert fleet.pids() == []


def test_status_tells_five_ready_peers_and_where_they_listen(shared_fleet: LocalFleet) -> None:
    status = shared_fleet.command("status")
    peers, overlay = status["peers"], status["overlay"]
    assert isinstance(peers, list)
    assert overlay == {"size": 5, "copies": 3, "health": "ok"}
    assert {peer["state"] for peer in peers} == {"ready"}
    assert {len(peer["successors"]) for peer in peers} == {4}
    assert len({peer["grpc"] for peer in peers} | {peer["sip"]["udp"] for peer in peers}) == 10


def test_a_value_is_put_at_one_peer_got_at_another_and_removed_by_its_secret(
    shared_fleet: LocalFleet,
) -> None:
    stored = shared_fleet.command(
        "put", "greeting", "good day", "--secret", "hush", "--ttl", "5m", "--peer", "peer-1"
    )
    assert stored["copies"] in (2, 3)
    got = shared_fleet.command("get", "greeting", "--peer", "peer-4")
    assert (got["found"], got["value"]) == (True, "good day")
    assert shared_fleet.run("rm", "greeting", "--secret", "wrong").returncode == 1
    shared_fleet.command("rm", "greeting", "--secret", "hush", "--peer", "peer-5")
    gone = shared_fleet.run("get", "greeting", "--json")
    assert (gone.returncode, json.loads(gone.stdout)["found"]) == (1, False)


def test_a_value_of_64_kib_comes_back_whole(shared_fleet: LocalFleet, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_bytes(os.urandom(65536))
    shared_fleet.command("put", "big", "--file", str(path), "--peer", "peer-2")
    got = shared_fleet.command("get", "big", "--peer", "peer-3")
    assert got["encoding"] == "base64"
    path.write_bytes(path.read_bytes() + b"x")
    refused = shared_fleet.run("put", "big", "--file", str(path))
    assert refused.returncode == 1
    assert "at most 65536" in refused.stderr


def test_users_are_added_listed_and_removed(shared_fleet: LocalFleet) -> None:
    shared_fleet.command("users", "add", "carol", "--password-stdin", text="carol-password\n")
    listed = shared_fleet.command("users", "list")["users"]
    assert isinstance(listed, list)
    assert {"user": "carol", "domain": "chordial.test", "state": "absent"} in listed
    shared_fleet.command("users", "rm", "carol")
    listed = shared_fleet.command("users", "list")["users"]
    assert isinstance(listed, list)
    assert "carol" not in [each["user"] for each in listed]


def test_register_call_and_message_are_real_phones(shared_fleet: LocalFleet) -> None:
    for user in ("dave", "erin"):
        shared_fleet.command("users", "add", user, "--password-stdin", text=f"{user}-password\n")
    options = ("--peer", "peer-2", "--password-stdin", "--transport", "tcp")
    with shared_fleet.running("register", "erin", "--stay", *options) as erin:
        assert erin.stdin is not None
        assert erin.stdout is not None
        erin.stdin.write("erin-password\n")
        erin.stdin.flush()
        assert "is registered at peer-2" in erin.stdout.readline()
        called = shared_fleet.command(
            "call", "erin", "--from", "dave", "--talk", "0.1", "--peer", "peer-4",
            "--password-stdin", text="dave-password\n",
        )  # fmt: skip
        assert called["status"] == 200
        wrote = shared_fleet.command(
            "message", "erin", "lunch?", "--from", "dave", "--peer", "peer-5", "--password-stdin",
            text="dave-password\n",
        )  # fmt: skip
        assert wrote["status"] == 200
        traced = shared_fleet.command("trace", "sip:erin@chordial.test")
        contacts = traced["contacts"]
        assert isinstance(contacts, list)
        assert [each["peer"] for each in contacts] == ["peer-2"]
    assert shared_fleet.run("trace", "sip:erin@chordial.test").returncode == 1


def test_check_looks_up_stores_and_calls_and_leaves_nothing(
    shared_fleet: LocalFleet, tmp_path: Path
) -> None:
    users = []
    for user in ("frank", "grace"):
        shared_fleet.command("users", "add", user, "--password-stdin", text=f"{user}-password\n")
        (tmp_path / user).write_text(f"{user}-password\n")
        users += ["--user", f"{user}@chordial.test={tmp_path / user}"]
    peers = shared_fleet.command("status")["peers"]
    assert isinstance(peers, list)
    told = shared_fleet.command("check", "--sip", peers[1]["sip"]["udp"], *users, timeout=60.0)
    checks = told["checks"]
    assert isinstance(checks, list)
    assert [each["name"] for each in checks] == ["lookup", "put, get, remove", "register and call"]
    assert all(each["ok"] for each in checks)
    nowhere = shared_fleet.run("check", "--sip", "nowhere.invalid:5060", *users)
    assert "no phone is tried: nowhere.invalid:5060 names no address" in nowhere.stdout


def test_a_wrong_password_is_refused_and_said(shared_fleet: LocalFleet) -> None:
    shared_fleet.command("users", "add", "frank", "--password-stdin", text="frank-password\n")
    done = shared_fleet.run("register", "frank", "--password-stdin", text="wrong\n")
    assert done.returncode == 1
    assert "refused: 401" in done.stderr


def test_a_second_up_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path / "state")
    with fleet.running("up", "--no-demo") as first:
        assert first.stdout is not None
        wait_for(lambda: "in the ring" in (first.stdout.readline() if first.stdout else ""))
        second = fleet.run("up", "--once")
        assert second.returncode == 1
        assert "another `chordial up`" in second.stderr
    assert fleet.pids() == []


def test_a_killed_up_is_recovered_by_the_next(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path / "state")
    with fleet.running("up", "--no-demo") as first:
        assert first.stdout is not None
        wait_for(lambda: "The ring runs" in (first.stdout.readline() if first.stdout else ""))
        first.kill()
    left = fleet.pids()
    done = fleet.run("up", "--once", timeout=120.0)
    assert done.returncode == 0, done.stderr
    assert len(left) == 5
    assert "an earlier `up` left behind" in done.stderr
    assert fleet.pids() == []


def test_doctor_finds_nothing_wrong_and_says_that_no_emergency_call_is_routed(
    shared_fleet: LocalFleet,
) -> None:
    checks = shared_fleet.command("doctor")["checks"]
    assert isinstance(checks, list)
    assert all(check["ok"] for check in checks)
    assert "emergency calls" in [check["name"] for check in checks]


@pytest.mark.parametrize("verb", ["status", "trace sip:bob@chordial.test", "users list", "down"])
def test_without_a_fleet_every_verb_says_how_to_get_one(tmp_path: Path, verb: str) -> None:
    done = LocalFleet(tmp_path / "nothing").run(*verb.split())
    assert done.returncode == 1
    assert "chordial up" in done.stderr


def test_every_verb_has_an_example() -> None:
    verbs = "up down status users register call message trace put get rm drain simulate doctor"
    for verb in verbs.split():
        done = subprocess.run(
            [COMMAND, verb, "--help"], capture_output=True, text=True, check=True, timeout=30
        )
        assert "example:\n  chordial " + verb in done.stdout
