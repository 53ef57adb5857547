"""Proof 5: every process of the overlay is killed at once, then every pod is deleted at once.

The phones do nothing meanwhile: their registrations are for longer than the test lasts, and none
of them registers a second time before it is called. So bindings and users come from the volumes.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.cluster.fleet import PEERS, RELAYS, SEEDS, UDP, Fleet
from tests.cluster.harness import network
from tests.cluster.harness.cluster import NODES
from tests.cluster.harness.kubectl import Json
from tests.cluster.installation import field
from tests.cluster.phones import foreign
from tests.cluster.phones.foreign import Edge
from tests.integration import sipp

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

CALLER, CALLEE = 74, 75
CALLEES = [f"gina{number}" for number in range(10)]
CALLER_USER = "fred"
EVERYTHING = SEEDS + RELAYS


@pytest.fixture
def phones(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """The namespaces of caller and callee, through node 1 and node 2."""
    numbers = (CALLER, CALLEE)
    for number in numbers:
        network.remove_phone(number)
    first, second = (network.add_phone(number, NODES, gateway=number - 73) for number in numbers)
    yield first, second
    for number in numbers:
        network.remove_phone(number)


def test_after_all_processes_were_killed_and_all_pods_deleted_everybody_is_called(
    fleet: Fleet, phones: tuple[str, str], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    fleet.add_users(CALLER_USER, *CALLEES)
    edge = Edge(fleet.address, UDP)
    with foreign.answering(tmp_path, phones[1]):
        registered = foreign.register(tmp_path, phones[1], edge, CALLEES)
        assert registered == sipp.Counts(len(CALLEES), 0, 0)
        call_all(tmp_path / "before", phones[0], edge)

        restarts = restarts_of(fleet)
        began = time.monotonic()
        kill_all(fleet)
        fleet.installation.until(
            "every peer's process was started again and is ready",
            lambda: (
                all(count > restarts[uid] for uid, count in restarts_of(fleet).items())
                and are_all_ready(fleet)
            ),
        )
        fleet.wait_ready()
        tell(f"all {EVERYTHING} processes killed: ready {time.monotonic() - began:.1f} s later")
        call_all(tmp_path / "killed", phones[0], edge)

        before = set(restarts_of(fleet))
        began = time.monotonic()
        fleet.installation.kubectl("delete", "pods", "--all", "--wait=false")
        fleet.installation.until(
            "every pod is another one and ready",
            lambda: before.isdisjoint(restarts_of(fleet)) and are_all_ready(fleet),
        )
        fleet.wait_ready()
        tell(f"all pods deleted: ready {time.monotonic() - began:.1f} s later")
        call_all(tmp_path / "deleted", phones[0], edge)


def call_all(folder: Path, namespace: str, edge: Edge) -> None:
    folder.mkdir()
    calls = [(CALLER_USER, callee) for callee in CALLEES]
    called = foreign.call(folder, namespace, edge, calls, "-d", "200", "-r", "5")
    assert (called.successful, called.failed) == (len(CALLEES), 0), folder.name


def kill_all(fleet: Fleet) -> None:
    """Send SIGKILL to every process in the containers of the peers, all found before the first."""
    found = processes_of([uid for uid in restarts_of(fleet)])
    assert len(found) >= EVERYTHING, found
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def processes_of(uids: list[str]) -> list[int]:
    """The nodes' processes in the pods of these uids."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            groups = (folder / "cgroup").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if b"chordial_node" in command and any(uid in groups for uid in uids):
            found.append(int(folder.name))
    return found


def restarts_of(fleet: Fleet) -> dict[str, int]:
    """How often the container of each peer was started again, by the pod's uid."""
    return {
        field(pod, "metadata", "uid"): int(container_of(pod).get("restartCount", 0))
        for pod in fleet.peers(PEERS)
    }


def are_all_ready(fleet: Fleet) -> bool:
    pods = fleet.peers(PEERS)
    return len(pods) == EVERYTHING and all(container_of(pod).get("ready") for pod in pods)


def container_of(pod: Json) -> Mapping[str, int]:
    """What is known of the one container of a peer's pod; nothing before it was made."""
    status = pod["status"]
    assert isinstance(status, dict)
    found = status.get("containerStatuses") or [{}]
    assert isinstance(found[0], dict)
    return found[0]
