"""What goes wrong on a real machine is said in a sentence, harms nobody, and leaves nothing."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration.rig import COMMAND, LocalFleet, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@contextmanager
def taken(*places: tuple[int, int]) -> Iterator[None]:
    """Hold ports as another program would, as (kind of socket, port)."""
    with ExitStack() as stack:
        for kind, port in places:
            held = stack.enter_context(socket.socket(socket.AF_INET, kind))
            held.bind(("127.0.0.1", port))
            if kind == socket.SOCK_STREAM:
                held.listen()
        yield


def processes_of(state: Path) -> list[int]:
    """Return the living processes that name a state folder in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            is_dead = b") Z " in (folder / "stat").read_bytes()
        except OSError:
            continue  # it has just ended
        if not is_dead and any(str(state).encode() in word for word in command):
            found.append(int(folder.name))
    return found


def refused(fleet: LocalFleet, *arguments: str) -> str:
    """Run a verb that must fail; returns what it said, which is no traceback."""
    done = fleet.run(*arguments)
    assert done.returncode in (1, 2), done
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) <= 3, done.stderr
    return done.stderr


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    """A state folder with nothing in it yet, and four peers if it is started."""
    fleet = LocalFleet(tmp_path / "state", peers=4)
    yield fleet
    fleet.down()
    assert processes_of(fleet.state) == []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LocalFleet:
    """A fleet that ran, took a value and was stopped; each test starts it again."""
    fleet = LocalFleet(tmp_path_factory.mktemp("made") / "state", peers=4)
    fleet.up()
    fleet.command("put", "kept", "yes", "--ttl", "1h")
    fleet.down()
    return fleet


@pytest.fixture
def stopped(made: LocalFleet) -> Iterator[LocalFleet]:
    """The fleet of the tests that need one, not running before nor after."""
    assert processes_of(made.state) == []
    yield made
    made.down()


# ports


def test_a_port_that_somebody_has_is_left_to_him_and_said(fleet: LocalFleet) -> None:
    with ExitStack() as stack:
        for place in ((socket.SOCK_DGRAM, 5060), (socket.SOCK_STREAM, 8080)):
            try:
                stack.enter_context(taken(place))
            except OSError:
                continue  # somebody has it already
        done = fleet.run("up", "--detach", "--no-demo", "--peers", "4", timeout=120.0)
        assert done.returncode == 0, done.stderr
        assert "some of the usual ports are taken: " in done.stderr
        assert "5060 → " in done.stderr
        assert fleet.sip(1)[1] != 5060
        assert fleet.command("status")["overlay"] == {"size": 4, "copies": 3, "health": "ok"}


def test_a_fleet_whose_port_is_gone_moves(stopped: LocalFleet) -> None:
    before = stopped.sip(2)[1]
    with taken((socket.SOCK_STREAM, before)):
        done = stopped.run("up", "--detach", "--no-demo", timeout=120.0)
        assert done.returncode == 0, done.stderr
        assert str(before) in done.stderr
        assert stopped.sip(2)[1] != before
        assert stopped.command("status")["overlay"] == {"size": 4, "copies": 3, "health": "ok"}


# state folders


def test_whoever_has_the_id_of_a_dead_peer_is_left_alone(stopped: LocalFleet) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        for folder in (stopped.state / "peers").iterdir():
            (folder / "pid").write_text(str(innocent.pid))
        assert stopped.pids() == []
        stopped.up()
        assert stopped.command("get", "kept")["value"] == "yes"
        stopped.down()
        assert innocent.poll() is None
        innocent.kill()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 1}', "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_broken_fleet_file_is_told_and_left_as_it_is(
    fleet: LocalFleet, text: str, said: str
) -> None:
    fleet.state.mkdir()
    path = fleet.state / "fleet.json"
    path.write_text(text)
    for verb in ("up --once", "status", "down"):
        told = refused(fleet, *verb.split())
        assert said in told
        assert "fleet.json" in told
        assert path.read_text() == text
    path.unlink()


def test_a_folder_of_another_version_is_told(stopped: LocalFleet) -> None:
    path = stopped.state / "fleet.json"
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), "format": 99}))
    assert "format 99" in refused(stopped, "up", "--once")
    path.write_text(whole)


def test_a_folder_that_holds_something_else_is_not_touched(fleet: LocalFleet) -> None:
    fleet.state.mkdir()
    (fleet.state / "thesis.txt").write_text("precious")
    assert "thesis.txt" in refused(fleet, "up", "--once")
    assert (fleet.state / "thesis.txt").read_text() == "precious"


def test_a_state_that_can_be_no_folder_is_told(tmp_path: Path) -> None:
    """Where not even root may write stands for where others may not."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "state", tmp_path / "file", Path("/proc/chordial")):
        told = refused(LocalFleet(place), "up", "--once")
        assert str(place.parent) in told


def test_a_peer_that_cannot_start_is_told_with_its_reason(stopped: LocalFleet) -> None:
    key = stopped.state / "peers" / "peer-2" / "peer.key"
    whole = key.read_bytes()
    key.write_bytes(b"no key\n")
    done = stopped.run("up", "--once", timeout=90.0)
    key.write_bytes(whole)
    assert done.returncode == 1
    assert "peer-2 ended" in done.stderr
    assert "peer.key" in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_of(stopped.state) == []


def test_a_disk_file_that_is_none_is_set_aside_and_the_copies_fill_it_again(
    stopped: LocalFleet,
) -> None:
    for leftover in (stopped.state / "peers" / "peer-3").glob("values.db*"):
        leftover.unlink()
    (stopped.state / "peers" / "peer-3" / "values.db").write_bytes(b"not a database " * 1000)
    stopped.up()
    assert "storage file set aside" in stopped.log(3)
    for peer in ("peer-1", "peer-3"):
        assert stopped.command("get", "kept", "--peer", peer)["value"] == "yes"


# how it is asked


@pytest.mark.parametrize(
    "asked",
    [
        "up --peers 0", "up --peers 101", "up --once --detach", "up --sampling 2",
        "up --advertise x", "get x --peer peer-9", "trace tel:112", "put a b --ttl never",
        "call bob --transport sctp",
    ],
)  # fmt: skip
def test_a_wrong_question_is_answered_with_what_is_right(
    shared_fleet: LocalFleet, tmp_path: Path, asked: str
) -> None:
    verb, *rest = asked.split()
    fleet = LocalFleet(tmp_path / "state") if verb == "up" else shared_fleet
    done = fleet.run(verb, *rest)
    assert done.returncode in (1, 2), done
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert not processes_of(tmp_path / "state")


# the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["starting", "serving"])
def test_a_signal_leaves_no_process_behind(
    fleet: LocalFleet, number: signal.Signals, moment: str
) -> None:
    with subprocess.Popen(
        [COMMAND, "up", "--state", str(fleet.state), "--no-demo", "--peers", "4"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as up:  # fmt: skip
        assert up.stdout is not None
        assert up.stderr is not None
        if moment == "starting":
            wait_for(lambda: len(processes_of(fleet.state)) > 1, pause=0.01)
        else:
            while "The ring runs" not in up.stdout.readline():
                assert up.poll() is None
        up.send_signal(number)
        _, errors = up.communicate(timeout=60)
        assert "Traceback" not in errors
        assert up.returncode == 0 or moment == "starting", errors
    assert processes_of(fleet.state) == []
    if moment == "starting":
        fleet.up()  # nothing that is left hinders the next
