"""Who leaves, how, and what stays: seeds and relays that grow and shrink (fleet 2.3, H13)."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Json
from tests.cluster.lifecycle import Fleet, always, opened, overlay, relays, seeds, timed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

VOLUME = {"type": "Volume"}


@pytest.fixture(scope="module")
def fleet(cluster: Cluster) -> Iterator[Fleet]:
    """An overlay of five seeds on volumes."""
    with opened(cluster, "scaling") as made:
        made.apply(overlay("voice"), seeds("seed", storage=VOLUME))
        made.wait_ready("overlay/voice")
        made.settled("bootstrapset/seed", 5)
        yield made


def test_below_the_floor_nobody_leaves_until_it_is_forced(fleet: Fleet) -> None:
    fleet.kubectl("scale", "bootstrapset/seed", "--replicas=3")
    with timed("five seeds become four"):
        told = fleet.told("bootstrapset/seed", "ScalingLimited", seconds=60)
        fleet.until("four seeds", lambda: len(_peers(fleet, "seed")) == 4, 60)
    assert "need 4" in told
    assert fleet.condition("bootstrapset/seed", "Ready")["status"] == "True"
    assert always(lambda: len(_peers(fleet, "seed")) == 4, 5)
    generation = fleet.kubectl("get", "bootstrapset/seed", "-o", "jsonpath={.metadata.generation}")
    fleet.kubectl("annotate", "bootstrapset/seed", f"chordial.dev/force-scale-in={generation}")
    with timed("forced to three seeds"):
        fleet.settled("bootstrapset/seed", 3)
    fleet.kubectl("annotate", "bootstrapset/seed", "chordial.dev/force-scale-in-")
    fleet.kubectl("scale", "bootstrapset/seed", "--replicas=5")
    fleet.settled("bootstrapset/seed", 5)
    fleet.told("bootstrapset/seed", "ScalingLimited", "False")


def test_seeds_are_scaled_five_six_five(fleet: Fleet) -> None:
    fleet.kubectl("scale", "bootstrapset/seed", "--replicas=6")
    with timed("five seeds become six"):
        fleet.settled("bootstrapset/seed", 6)
    fleet.until("the budget follows", lambda: _budget(fleet) == 5, 30)
    fleet.kubectl("scale", "bootstrapset/seed", "--replicas=5")
    with timed("six seeds become five"):
        fleet.settled("bootstrapset/seed", 5)
    fleet.until("the budget follows", lambda: _budget(fleet) == 4, 30)
    claims = fleet.names("persistentvolumeclaim", "chordial.dev/set=seed")
    assert claims == _peers(fleet, "seed")
    fleet.told("overlay/voice", "Converged", seconds=60)


def test_relays_are_scaled_and_the_one_that_is_named_goes_first(fleet: Fleet) -> None:
    fleet.apply(relays("edge", 2, storage=VOLUME))
    fleet.settled("relayset/edge", 2)
    fleet.kubectl("scale", "relayset/edge", "--replicas=3")
    fleet.settled("relayset/edge", 3)
    fleet.until("the budget follows", lambda: _budget(fleet) == 7, 30)
    fleet.kubectl("annotate", "statefulset/edge-1", "chordial.dev/remove-first=true")
    fleet.kubectl("scale", "relayset/edge", "--replicas=2")
    seen: list[str] = []

    def is_over() -> bool:
        seen.append(_stage(fleet, "edge-1"))
        return seen[-1] == ""

    with timed("three relays become two"):
        fleet.until("edge-1 is gone", is_over, 90)
        fleet.settled("relayset/edge", 2)
    stages = [each for each, after in zip(seen, [*seen[1:], None], strict=True) if each != after]
    order = ["stays", "leaves", "serves, terminating", "is unready, terminating", "has ended", ""]
    assert stages == [each for each in order if each in stages], stages
    assert _peers(fleet, "edge") == ["edge-0", "edge-2"]
    assert fleet.names("persistentvolumeclaim", "chordial.dev/set=edge") == ["edge-0", "edge-2"]
    fleet.until("the budget follows", lambda: _budget(fleet) == 6, 30)
    assert [each for each in fleet.events("DrainStarted") if "edge-1" in each]
    assert [each for each in fleet.events("DrainCompleted") if "edge-1" in each]


def test_replicas_that_are_dropped_are_noticed_in_time(fleet: Fleet) -> None:
    slow = relays("edge", 4, storage=VOLUME, scaleIn={"stabilization": "60s"})
    _apply(fleet, "manifest", slow)
    fleet.settled("relayset/edge", 4)
    without = {key: value for key, value in _spec(slow).items() if key != "replicas"}
    _apply(fleet, "manifest", {**slow, "spec": without})
    fleet.until("it is announced", lambda: fleet.events("ScaleInPlanned"), 10)
    planned = [each for each in fleet.events("ScaleInPlanned") if "2 peers are to leave" in each]
    assert planned
    assert always(lambda: len(fleet.peers("edge")) == 4, 5)
    fleet.kubectl("scale", "relayset/edge", "--replicas=4")
    fleet.told("relayset/edge", "Progressing", "False")


def test_replicas_that_somebody_else_has_set_stay_when_they_are_dropped(fleet: Fleet) -> None:
    spec = relays("edge", 4, storage=VOLUME)
    without = {key: value for key, value in _spec(spec).items() if key != "replicas"}
    _apply(fleet, "manifest", {**spec, "spec": without})
    assert always(lambda: len(fleet.peers("edge")) == 4, 4)
    assert fleet.finalizers() == {}


def _spec(body: Json) -> Json:
    spec = body["spec"]
    assert isinstance(spec, dict)
    return spec


def _apply(fleet: Fleet, manager: str, body: Json) -> None:
    """Apply from the server's side, as GitOps tools do."""
    options = ("--server-side", "--force-conflicts", f"--field-manager={manager}")
    fleet.kubectl("apply", *options, "-f", "-", text=json.dumps(body))


def _peers(fleet: Fleet, name: str) -> list[str]:
    return fleet.names("statefulset", f"chordial.dev/set={name}")


def _budget(fleet: Fleet) -> int:
    path = "jsonpath={.spec.minAvailable}"
    return int(fleet.kubectl("get", "poddisruptionbudget/voice", "-o", path))


def _stage(fleet: Fleet, peer: str) -> str:
    """How far a peer is on its way out."""
    items = fleet.json("get", "statefulset,pod,persistentvolumeclaim", "-l",
                       f"chordial.dev/peer={peer}")["items"]  # fmt: skip
    assert isinstance(items, list)
    by_kind = {each["kind"]: each for each in items}
    if not by_kind:
        return ""
    pod = by_kind.get("Pod")
    if pod is None:
        return "has ended"
    if "deletionTimestamp" in pod["metadata"]:
        ready = {each["type"]: each["status"] for each in pod["status"]["conditions"]}["Ready"]
        return "serves, terminating" if ready == "True" else "is unready, terminating"
    annotations = by_kind["StatefulSet"]["metadata"]["annotations"]
    return "leaves" if "chordial.dev/leaving" in annotations else "stays"
