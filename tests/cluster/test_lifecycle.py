"""What is deleted or edited by hand comes back; what is deleted for good goes away clean.

One fleet for all: seeds on volumes, relays without. Nothing here has a finalizer (fleet H3).
"""

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Json
from tests.cluster.lifecycle import Fleet, always, opened, overlay, relays, seeds, timed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

BACK_SECONDS = 10.0
"""Asserted; one or two are the goal, and printed."""
CHILDREN = (
    "configmap/voice-bundle",
    "configmap/edge-config",
    "service/voice-peers",
    "service/edge",
    "serviceaccount/voice-peer",
    "poddisruptionbudget/voice",
    "networkpolicy/voice-peers",
)
EDITS: dict[str, Json] = {
    "configmap/voice-bundle": {"data": {"roots.pem": "mine"}},
    "configmap/edge-config": {"data": {"peer.json": "{}"}},
    "service/edge": {"spec": {"selector": {"app": "mine"}}},
    "service/voice-peers": {"spec": {"publishNotReadyAddresses": False}},
    "serviceaccount/voice-peer": {"automountServiceAccountToken": True},
    "poddisruptionbudget/voice": {"spec": {"minAvailable": 0}},
    "networkpolicy/voice-peers": {"spec": {"ingress": []}},
    "statefulset/edge-1": {"metadata": {"ownerReferences": None, "labels": {"mine": "yes"}}},
}


@pytest.fixture(scope="module")
def fleet(cluster: Cluster) -> Iterator[Fleet]:
    """An operator, an Overlay, five seeds on volumes and two relays without."""
    with opened(cluster, "lifecycle") as made:
        on_volumes = {"type": "Volume"}
        passing = [
            seeds("gone", 1, storage={"type": "Volume", "reclaim": "Delete"}),
            seeds("kept", 1, storage={"type": "Volume", "reclaim": "Retain"}),
        ]
        made.apply(overlay("voice"), seeds("seed", storage=on_volumes), relays("edge"), *passing)
        with timed("overlay, nine peers"):
            made.wait_ready("overlay/voice")
            made.wait_ready("relayset/edge")
            made.wait_ready("bootstrapset/seed")
        yield made


def test_no_object_has_a_finalizer(fleet: Fleet) -> None:
    assert fleet.finalizers() == {}


def test_a_deleted_set_goes_with_its_peers(fleet: Fleet) -> None:
    fleet.kubectl("delete", "bootstrapset/gone", "bootstrapset/kept", "--wait=false")
    with timed("two sets deleted, their peers gone"):
        fleet.until("no pods", lambda: not _pods_of(fleet, "gone") + _pods_of(fleet, "kept"), 60)
    fleet.settled("bootstrapset/seed", 5)


def test_a_deleted_child_comes_back(fleet: Fleet) -> None:
    for child in CHILDREN:
        before = fleet.json("get", child)["metadata"]
        fleet.kubectl("delete", child, "--wait=false")
        with timed(f"{child} deleted, back"):
            fleet.until(f"{child} is back", partial(_is_new, fleet, child, before), BACK_SECONDS)


def test_an_edited_child_is_mended(fleet: Fleet) -> None:
    for child, edit in EDITS.items():
        before = fleet.json("get", child)
        fleet.patch(child, edit)
        with timed(f"{child} edited, mended"):
            fleet.until(f"{child} is mended", partial(_is_like, fleet, child, before), BACK_SECONDS)


def test_a_stateful_set_at_nought_is_raised(fleet: Fleet) -> None:
    fleet.kubectl("scale", "statefulset/edge-0", "--replicas=0")
    path = "jsonpath={.spec.replicas}"
    fleet.until(
        "it is one again", lambda: fleet.kubectl("get", "statefulset/edge-0", "-o", path) == "1"
    )
    fleet.settled("relayset/edge", 2)


def test_a_deleted_peer_is_replaced(fleet: Fleet) -> None:
    before = fleet.uids("statefulset", "chordial.dev/set=edge")
    fleet.kubectl("delete", "statefulset/edge-1", "--wait=false")
    with timed("StatefulSet deleted, another peer ready"):
        fleet.settled("relayset/edge", 2, seconds=90)
    after = fleet.uids("statefulset", "chordial.dev/set=edge")
    assert after["edge-0"] == before["edge-0"]
    assert before["edge-1"] not in after.values()


def test_a_volume_in_use_is_protected(fleet: Fleet) -> None:
    claim, pod = "persistentvolumeclaim/seed-4", "pod/seed-4-0"
    before = fleet.json("get", claim)["metadata"]
    identity = _node_id(fleet, "seed-4")
    fleet.kubectl("delete", claim, "--wait=false")
    assert always(lambda: not fleet.is_gone(claim), 3)
    assert "seed-4-0" in fleet.peers("seed")
    fleet.kubectl("delete", pod, "--wait=false")
    with timed("claim and pod deleted, peer ready on a new volume"):
        fleet.until("a new claim", lambda: _is_new(fleet, claim, before), 90)
        fleet.settled("bootstrapset/seed", 5, seconds=120)
    assert _node_id(fleet, "seed-4") == identity


def test_another_leader_changes_nothing(fleet: Fleet) -> None:
    fleet.wait("--for=condition=Available", "deployment/chordial-operator")
    fleet.until("nothing changes", lambda: _is_quiet(fleet), 60)
    before, leader = fleet.versions(), fleet.leader()
    fleet.kubectl("delete", "pod", leader)
    with timed("leader deleted, another leads"):
        fleet.until("another leads", lambda: fleet.leader() not in ("", leader), 30)
    fleet.wait("--for=condition=Available", "deployment/chordial-operator")
    assert always(lambda: fleet.versions() == before, 8), _changed(before, fleet.versions())
    fleet.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=operator")
    fleet.wait("--for=condition=Available", "deployment/chordial-operator")
    assert always(lambda: fleet.versions() == before, 8), _changed(before, fleet.versions())
    child = "configmap/edge-config"
    seen = fleet.json("get", child)["metadata"]
    fleet.kubectl("delete", child, "--wait=false")
    fleet.until("the new leader works", lambda: _is_new(fleet, child, seen), 20)


def test_a_paused_overlay_is_left_alone(fleet: Fleet) -> None:
    child = "configmap/edge-config"
    fleet.patch("overlay/voice", {"spec": {"paused": True}})
    fleet.told("overlay/voice", "Paused")
    fleet.kubectl("delete", child)
    fleet.patch("relayset/edge", {"spec": {"replicas": 3}})
    assert always(lambda: fleet.is_gone(child) and len(fleet.peers("edge")) == 2, 4)
    fleet.patch("relayset/edge", {"spec": {"replicas": 2}})
    fleet.patch("overlay/voice", {"spec": {"paused": False}})
    fleet.until("it is back", lambda: not fleet.is_gone(child), BACK_SECONDS)
    fleet.told("overlay/voice", "Paused", "False")


def test_a_restart_goes_one_by_one(fleet: Fleet) -> None:
    before = fleet.uids("pod", "chordial.dev/set=edge")
    away = []

    def is_done() -> bool:
        ready = fleet.peers("edge")
        away.append(2 - len(ready))
        now = fleet.uids("pod", "chordial.dev/set=edge")
        return len(ready) == 2 and not set(now.values()) & set(before.values())

    fleet.kubectl("annotate", "relayset/edge", "chordial.dev/restartedAt=2026-01-01T00:00:00Z")
    with timed("two relays restarted"):
        fleet.until("both are new", is_done, 90)
    assert max(away) == 1


@pytest.mark.parametrize("moment", ["scale-out", "scale-in", "upgrade"])
def test_a_set_is_deleted_in_the_middle(fleet: Fleet, moment: str) -> None:
    fleet.apply(relays("passing", 1 if moment == "scale-out" else 2))
    fleet.until("a peer", lambda: fleet.uids("pod", "chordial.dev/set=passing"), 30)
    if moment == "scale-out":
        fleet.kubectl("scale", "relayset/passing", "--replicas=4")
        fleet.until("more", lambda: len(fleet.names("statefulset", "chordial.dev/set=passing")) > 1)
    else:
        fleet.settled("relayset/passing", 2)
    if moment == "scale-in":
        fleet.kubectl("scale", "relayset/passing", "--replicas=1")
        fleet.told("relayset/passing", "Draining")
    if moment == "upgrade":
        fleet.kubectl(
            "annotate", "relayset/passing", "chordial.dev/restartedAt=2026-02-02T00:00:00Z"
        )
        fleet.until("one restarts", lambda: len(fleet.peers("passing")) == 1, 30)
    with timed(f"set deleted in the middle of {moment}, gone"):
        fleet.kubectl("delete", "relayset/passing")
        fleet.until("nothing is left", lambda: not fleet.left_of("passing"), 90)
    fleet.settled("relayset/edge", 2)


def test_an_overlay_is_deleted_while_it_is_founded(fleet: Fleet) -> None:
    young = overlay("young", deletionPolicy="Delete")
    fleet.apply(young, seeds("first", 4, overlay="young", storage={"type": "Volume"}))
    fleet.until("it has begun", lambda: fleet.names("statefulset", "chordial.dev/set=first"), 30)
    assert not fleet.is_gone("secret/ca-lifecycle-young")
    fleet.kubectl("delete", "overlay/young", "bootstrapset/first")
    with timed("overlay deleted while it is founded, gone"):
        fleet.until("nothing is left", lambda: not _of_overlay(fleet, "young"), 90)
        fleet.until("its authority is gone", lambda: fleet.is_gone("secret/ca-lifecycle-young"), 20)


def test_volumes_of_a_deleted_set_are_reclaimed_if_it_said_so(fleet: Fleet) -> None:
    with timed("volume reclaimed"):
        fleet.until("one volume is gone", lambda: not fleet.left_of("gone"), 120)
    assert fleet.left_of("kept") == ["persistentvolumeclaim/kept-0"]
    fleet.kubectl("delete", "persistentvolumeclaim/kept-0")


def test_an_overlay_that_is_made_again_is_the_same(fleet: Fleet) -> None:
    fleet.until("nothing changes", lambda: _is_quiet(fleet), 60)
    identity = fleet.kubectl("get", "overlay/voice", "-o", "jsonpath={.status.instanceID}")
    pods = fleet.uids("pod", "chordial.dev/overlay=voice")
    fleet.kubectl("delete", "overlay/voice")
    owned = [child for child in CHILDREN if "voice" in child]
    fleet.until("its children are gone", lambda: fleet.is_gone(*owned), 20)
    fleet.told("relayset/edge", "OverlayNotFound")
    assert not fleet.is_gone("secret/ca-lifecycle-voice")
    fleet.apply(overlay("voice"))
    with timed("overlay made again, ready"):
        fleet.wait_ready("overlay/voice", 60)
    assert fleet.kubectl("get", "overlay/voice", "-o", "jsonpath={.status.instanceID}") == identity
    assert fleet.uids("pod", "chordial.dev/overlay=voice") == pods


def test_a_namespace_goes_away_with_all_that_is_in_it(fleet: Fleet) -> None:
    assert fleet.finalizers() == {}
    with timed("namespace deleted"):
        fleet.remove()


def _is_new(fleet: Fleet, name: str, before: object) -> bool:
    now = fleet.json("get", name)["metadata"]
    assert isinstance(now, dict)
    assert isinstance(before, dict)
    return bool(now["uid"] != before["uid"])


def _is_like(fleet: Fleet, name: str, before: Json) -> bool:
    return _content(fleet.json("get", name)) == _content(before)


def _content(body: Json) -> str:
    """What an object says, without what the API server adds at each write."""
    meta = body["metadata"]
    assert isinstance(meta, dict)
    kept = {key: meta.get(key) for key in ("name", "uid", "ownerReferences")}
    wanted = {key: body.get(key) for key in ("spec", "data", "automountServiceAccountToken")}
    return json.dumps({**wanted, "metadata": kept}, sort_keys=True)


def _node_id(fleet: Fleet, peer: str) -> str:
    meta = fleet.json("get", f"statefulset/{peer}")["metadata"]
    assert isinstance(meta, dict)
    return str(meta["annotations"]["chordial.dev/node-id"])


def _pods_of(fleet: Fleet, name: str) -> list[str]:
    return fleet.names("pod", f"chordial.dev/set={name}")


def _of_overlay(fleet: Fleet, name: str) -> list[str]:
    kinds = "statefulset,pod,service,configmap,poddisruptionbudget,persistentvolumeclaim,secret"
    kinds += ",networkpolicy,serviceaccount"
    return fleet.kubectl("get", kinds, "-l", f"chordial.dev/overlay={name}", "-o", "name").split()


def _is_quiet(fleet: Fleet) -> bool:
    before = fleet.versions()
    return always(lambda: fleet.versions() == before, 4)


def _changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    names = sorted({*before, *after})
    return [name for name in names if before.get(name) != after.get(name)]
