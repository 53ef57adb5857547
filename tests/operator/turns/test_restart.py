"""Upgrades and restarts as turns carry them out: one peer at a time, broken ones at once."""

import asyncio

import msgspec

from chordial_node.ids import NodeId
from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.rotation import MOST_REVOKED
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import parse_overlay
from tests.operator.specs import NAMESPACE, overlay_body, relays_body, seeds_body
from tests.operator.turns.rig import Rig

OVERLAY = ("Overlay", "voice")
SEED = ("BootstrapSet", "seed")
EDGE = ("RelaySet", "edge")
ALL = (OVERLAY, SEED, EDGE)


def running() -> Rig:
    rig = Rig(overlay_body(upgrade={"stabilization": "10s"}), seeds_body(), relays_body())
    rig.settle(*ALL, rounds=3)
    rig.run_pods()
    rig.settle(*ALL, rounds=3)
    return rig


def images(rig: Rig, kind: str) -> dict[str, str]:
    found = {}
    for body in rig.cluster.of_kind(kind):
        spec = body["spec"]["template"]["spec"] if kind == "StatefulSet" else body["spec"]
        found[body["metadata"]["name"]] = spec["containers"][0]["image"]
    return found


def wait(rig: Rig, seconds: float) -> None:
    rig.now += seconds
    rig.talk()
    rig.settle(*ALL, rounds=2)


def test_a_new_image_reaches_one_peer_after_the_other_relays_first() -> None:
    rig = running()
    rig.change("Overlay", "voice", {"image": {"tag": "2.0"}})
    order = []
    for _ in range(20):
        before = {*rig.cluster.names("Pod")}
        wait(rig, 11.0)
        gone = before - {*rig.cluster.names("Pod")}
        assert len(gone) <= 1
        order += sorted(gone)
        rig.run_pods()
    assert len(order) == 7
    assert [name.split("-")[0] for name in order] == ["edge"] * 2 + ["seed"] * 5
    assert {*images(rig, "Pod").values()} == {"registry.example/chordial/node:2.0"}
    assert rig.condition("Overlay", "voice", "Upgrading")["status"] == "False"


def test_a_template_is_kept_until_the_upgrade_comes_to_its_peer() -> None:
    rig = running()
    rig.change("Overlay", "voice", {"image": {"tag": "2.0"}})
    rig.settle(*ALL, rounds=2)
    assert {*images(rig, "StatefulSet").values()} == {"registry.example/chordial/node:1.0"}


def test_nobody_is_restarted_while_the_overlay_is_not_whole() -> None:
    rig = running()
    rig.change("Overlay", "voice", {"image": {"tag": "2.0"}})
    for _ in range(3):
        rig.now += 11.0
        rig.talk()
        rig.report("seed-1", copies_missing=5)
        rig.settle(*ALL, rounds=2)
    assert len(rig.cluster.names("Pod")) == 7
    assert not [each for each in rig.cluster.asked if each.startswith(("evict", "delete Pod"))]


def test_a_broken_peer_of_an_old_revision_is_replaced_at_once() -> None:
    rig = running()
    pod = rig.cluster.objects[Ref("Pod", NAMESPACE, "edge-0-0")]
    pod["status"]["conditions"][0]["status"] = "False"
    rig.change("Overlay", "voice", {"image": {"tag": "2.0"}})
    rig.settle(*ALL, rounds=1)
    assert "delete Pod edge-0-0" in rig.cluster.asked
    assert "PeerRestarted" in rig.told()


def test_a_restart_is_asked_for_by_annotation() -> None:
    rig = running()
    rig.change("RelaySet", "edge", {}, **{"chordial.dev/restartedAt": "2026-06-01T00:00:00Z"})
    wait(rig, 1.0)
    wait(rig, 11.0)
    evicted = [each for each in rig.cluster.asked if each.startswith("evict Pod")]
    assert evicted == ["evict Pod edge-0-0"]


def test_a_disruption_budget_that_says_no_is_obeyed() -> None:
    rig = running()
    rig.cluster.evictions_allowed = False
    rig.change("Overlay", "voice", {"image": {"tag": "2.0"}})
    wait(rig, 1.0)
    wait(rig, 11.0)
    assert len(rig.cluster.names("Pod")) == 7
    assert "PeerRestarted" not in rig.told()


def lost(rig: Rig, name: str) -> None:
    """The node of a pod falls silent, and the ring holds the peer dead."""
    pod = rig.cluster.objects[Ref("Pod", NAMESPACE, f"{name}-0")]
    condition: Manifest = {
        "type": "Ready",
        "status": "Unknown",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    node = pod["spec"]["nodeName"]
    rig.cluster.all_nodes = [{"metadata": {"name": node}, "status": {"conditions": [condition]}}]
    pod["status"]["conditions"][0]["status"] = "False"
    gone = rig.cluster.objects[Ref("StatefulSet", NAMESPACE, name)]
    node_id = gone["metadata"]["annotations"]["chordial.dev/node-id"]
    for peer, report in rig.peers.by_name.items():
        alive = tuple(each for each in report.members_alive if each.hex() != node_id)
        rig.report(peer, members_alive=alive)
    del rig.peers.by_name[name]


def test_a_lost_peer_is_shut_out_then_succeeded_then_removed() -> None:
    rig = running()
    before = rig.cluster.objects[Ref("StatefulSet", NAMESPACE, "edge-0")]
    node_id = before["metadata"]["annotations"]["chordial.dev/node-id"]
    lost(rig, "edge-0")
    rig.settle(*ALL, rounds=4)
    assert "PeerLost" in rig.told()
    names = [each for each in rig.cluster.names("StatefulSet") if each.startswith("edge")]
    assert "edge-2" in names  # a new name, and a new identity
    ids = [
        body["metadata"]["annotations"]["chordial.dev/node-id"]
        for body in rig.cluster.of_kind("StatefulSet")
    ]
    assert node_id not in ids
    assert "delete Pod edge-0-0" in rig.cluster.asked
    assert rig.told().count("PeerReplaced") == 1


def test_a_list_of_revoked_peers_that_is_full_is_told() -> None:
    rig = running()
    overlay = parse_overlay(rig.cluster.objects[Ref("Overlay", NAMESPACE, "voice")])
    full = tuple(NodeId(number.to_bytes(16)) for number in range(1, MOST_REVOKED + 1))
    asyncio.run(
        rig.context.store.change(
            overlay, lambda record: msgspec.structs.replace(record, revoked=full)
        )
    )
    lost(rig, "edge-0")
    rig.turn(*EDGE)
    told = rig.condition("RelaySet", "edge", "Ready")
    assert (told["status"], told["reason"]) == ("False", "CertificateMissing")
    assert "rotate-ca" in told["message"]
