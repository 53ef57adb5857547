"""Proof 8: a second pod with a stolen volume's identity is shut out, and its peer lives on.

The thief has all that a copy of the volume gives, and a pod in the overlay's own namespace. It
comes twice: once while nobody knows, when it ends the true peer for a moment as the later life of
the two, and once with the same copy when only the new key of the true peer counts.
"""

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.fleet import Fleet
from tests.cluster.harness.kubectl import Json, KubectlError
from tests.cluster.installation import field

pytestmark = [
    pytest.mark.cluster, pytest.mark.timeout(400), pytest.mark.usefixtures("quiet_phone"),
]  # fmt: skip

VICTIM = "seed-4"
POD = f"{VICTIM}-0"
THIEF = "thief"
KEPT_OF_A_POD = (
    "automountServiceAccountToken", "containers", "serviceAccountName", "securityContext",
    "volumes",
)  # fmt: skip
LINKS = "chordial_overlay_link_count "
SETTLED_SECONDS = 20.0
"""Longer than the grace in which a starting peer takes a later life for its own."""


@pytest.fixture
def stolen(fleet: Fleet, tmp_path: Path) -> Iterator[list[Path]]:
    """Two copies of a peer's volume, for two thieves; those are gone in the end."""
    copies = [tmp_path / "first", tmp_path / "second"]
    for each in copies:
        copy_volume(volume_of(fleet, VICTIM), each)
    yield copies
    fleet.installation.kubectl("delete", "pod", THIEF, "--ignore-not-found", "--grace-period=1")


def test_a_stolen_identity_is_shut_out_and_the_true_peer_lives_on_with_another_key(
    fleet: Fleet, stolen: list[Path], tell: Callable[[str], None]
) -> None:
    installation = fleet.installation
    before = sequence_of(fleet, VICTIM)
    first_key = key_of(fleet, VICTIM)
    fleet.wait_ready()
    began = time.monotonic()
    start_thief(fleet, stolen[0])
    installation.until(
        "the true peer knows of the thief",
        lambda: "superseded: a new key is asked for" in said_by(fleet, POD),
    )
    tell(f"impostor noticed after {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    installation.until(
        "the true peer is ready again, with another key",
        lambda: key_of(fleet, VICTIM) != first_key and is_ready(fleet, POD),
    )
    tell(f"true peer ready with another key {time.monotonic() - began:.1f} s later")
    installation.until("the thief is out", lambda: is_out(fleet))
    tell(f"impostor without a link {time.monotonic() - began:.1f} s later")
    assert restarts_of(fleet, POD) == 0
    names = [field(pod, "metadata", "labels", "chordial.dev/peer") for pod in fleet.peers()]
    installation.until(
        "every peer has the configuration in which one key counts",
        lambda: all(sequence_of(fleet, name) > before for name in names),
    )
    tell(f"every peer knows the key that counts {time.monotonic() - began:.1f} s later")
    fleet.wait_ready()

    installation.kubectl("delete", "pod", THIEF, "--grace-period=1", "--wait=true")
    count = said_by(fleet, POD).count("superseded: a new key is asked for")
    start_thief(fleet, stolen[1])
    installation.until(
        "the thief is refused because of its key",
        lambda: any("has another key by now" in said_by(fleet, f"{name}-0") for name in names),
    )
    time.sleep(SETTLED_SECONDS)  # that nothing happens needs its time
    assert is_out(fleet)
    assert is_ready(fleet, POD)
    assert said_by(fleet, POD).count("superseded: a new key is asked for") == count
    fleet.wait_ready()


def start_thief(fleet: Fleet, volume: Path) -> None:
    """Make a pod like the true one, that no set has made, with a copy of its volume."""
    true = fleet.installation.json("get", "pod", POD)["spec"]
    assert isinstance(true, dict)
    spec = {name: true[name] for name in KEPT_OF_A_POD if name in true}
    state = {"name": "state", "hostPath": {"path": str(volume), "type": "Directory"}}
    others = [each for each in true["volumes"] if each["name"] != "state"]
    spec |= {"volumes": [*others, state], "terminationGracePeriodSeconds": 1}
    thief: Json = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": THIEF}, "spec": spec,
    }  # fmt: skip
    fleet.installation.kubectl("create", "-f", "-", text=json.dumps(thief))


def volume_of(fleet: Fleet, peer: str) -> Path:
    """The folder in which a peer's volume lies on its node."""
    claim = fleet.installation.json("get", "persistentvolumeclaim", peer)
    name = field(claim, "spec", "volumeName")
    return Path(field(fleet.cluster.kubectl.json("get", "pv", name), "spec", "local", "path"))


def copy_volume(source: Path, target: Path) -> None:
    """Copy a volume with its owners; a file that goes while it is copied is not needed."""
    target.mkdir()
    for folder, _, files in os.walk(source):
        inner = target / Path(folder).relative_to(source)
        inner.mkdir(exist_ok=True)
        for name in files:
            shutil.copy2(Path(folder) / name, inner / name)
        for each in (inner, *inner.iterdir()):
            owner = (Path(folder) if each == inner else Path(folder) / each.name).stat()
            os.chown(each, owner.st_uid, owner.st_gid)
        inner.chmod(Path(folder).stat().st_mode)


def sequence_of(fleet: Fleet, peer: str) -> int:
    """The sequence of the signed configuration that a peer has on its volume."""
    signed = json.loads(next(volume_of(fleet, peer).rglob("configuration.json")).read_text())
    return int(json.loads(signed["document"])["sequence"])


def key_of(fleet: Fleet, peer: str) -> bytes:
    """The private key on a peer's volume."""
    return next(volume_of(fleet, peer).rglob("private.key")).read_bytes()


def is_ready(fleet: Fleet, pod: str) -> bool:
    conditions = fleet.installation.kubectl(
        "get", "pod", pod, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    )
    return conditions.strip() == "True"


def is_out(fleet: Fleet) -> bool:
    """Whether no peer holds a link with the thief: it may well think that it is ready."""
    address = field(fleet.installation.json("get", "pod", THIEF), "status", "podIP")
    try:
        with urllib.request.urlopen(f"http://{address}:8080/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return False
    links = [line.split()[1] for line in lines if line.startswith(LINKS)]
    return not links or float(links[0]) == 0


def restarts_of(fleet: Fleet, pod: str) -> int:
    return int(
        fleet.installation.kubectl(
            "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"
        )
    )


def said_by(fleet: Fleet, pod: str) -> str:
    """What a pod has logged."""
    try:
        return fleet.installation.kubectl("logs", pod)
    except KubectlError:  # it has not begun
        return ""
