"""An Overlay's turn: authority and bundle, network policy, volumes that nothing is left of."""

import asyncio

import pytest

from chordial_node.boundary.control import Configure, Drain, Refused
from chordial_node.ids import node_id
from chordial_node.security.configuration import open_configuration
from chordial_node.security.signatures import Ed25519Signatures
from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.rotation import revoked
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import parse_overlay
from tests.operator.specs import NAMESPACE, overlay_body, relays_body, seeds_body
from tests.operator.turns.rig import Rig

OVERLAY = ("Overlay", "voice")
SEED = ("BootstrapSet", "seed")
EDGE = ("RelaySet", "edge")


def running(**spec: object) -> Rig:
    rig = Rig(overlay_body(**spec), seeds_body(), relays_body())
    rig.settle(OVERLAY, SEED, EDGE, rounds=3)
    rig.run_pods()
    rig.settle(OVERLAY, SEED, EDGE, rounds=3)
    return rig


def status(rig: Rig) -> Manifest:
    found: Manifest = rig.cluster.objects[Ref("Overlay", NAMESPACE, "voice")]["status"]
    return found


def test_a_ring_that_stands_is_founded_once() -> None:
    rig = running()
    first = status(rig)["foundedAt"]
    assert rig.condition(*OVERLAY, "Ready")["status"] == "True"
    rig.now += 1000.0
    rig.talk()
    rig.settle(OVERLAY)
    assert status(rig)["foundedAt"] == first


def test_the_instance_id_of_bundle_and_status_is_one() -> None:
    rig = running()
    bundle = rig.cluster.objects[Ref("ConfigMap", NAMESPACE, "voice-bundle")]["data"]
    assert bundle["instance-id"] == status(rig)["instanceID"]


def test_the_network_policy_goes_when_somebody_else_writes_them() -> None:
    rig = running()
    assert rig.cluster.names("NetworkPolicy") == ["voice-peers"]
    rig.change("Overlay", "voice", {"networkPolicy": {"mode": "None"}})
    rig.settle(OVERLAY)
    assert rig.cluster.names("NetworkPolicy") == []


def test_an_authority_that_cannot_be_used_is_said() -> None:
    rig = Rig(overlay_body(certificates={"caSecretRef": {"name": "mine"}}), seeds_body())
    rig.settle(OVERLAY, SEED, rounds=2)
    told = rig.condition(*OVERLAY, "CertificatesReady")
    assert told["status"] == "False"
    assert "mine" in told["message"]
    assert rig.cluster.names("StatefulSet") == []


def test_a_lost_authority_is_said_and_everything_else_stays() -> None:
    rig = running()
    before = status(rig)["instanceID"]
    rig.cluster.drop(Ref("Secret", "operator", "ca-calls-voice"))
    rig.now += 60.0
    rig.talk()
    rig.settle(OVERLAY, SEED, EDGE)
    told = rig.condition(*OVERLAY, "CertificatesReady")
    assert (told["status"], "Restore the Secret" in told["message"]) == ("False", True)
    assert status(rig)["instanceID"] == before
    assert Ref("Secret", "operator", "ca-calls-voice") not in rig.cluster.objects
    assert len(rig.cluster.names("StatefulSet")) == 7


def orphan(rig: Rig, name: str = "edge-1") -> None:
    """Somebody deletes a peer's StatefulSet; its volume claim stays."""
    rig.cluster.drop(Ref("StatefulSet", NAMESPACE, name))
    rig.cluster.drop(Ref("Pod", NAMESPACE, f"{name}-0"))
    rig.peers.by_name.pop(name)


def test_a_volume_that_nothing_is_left_of_is_reclaimed() -> None:
    rig = running()
    orphan(rig)
    rig.settle(OVERLAY)
    assert "edge-1" not in rig.cluster.names("PersistentVolumeClaim")


def test_a_volume_is_kept_while_copies_are_missing() -> None:
    rig = running()
    orphan(rig)
    rig.report("seed-0", copies_missing=3)
    rig.settle(OVERLAY)
    assert "edge-1" in rig.cluster.names("PersistentVolumeClaim")


def test_a_volume_that_is_to_be_kept_is_kept() -> None:
    rig = running()
    claim = rig.cluster.objects[Ref("PersistentVolumeClaim", NAMESPACE, "edge-1")]
    claim["metadata"]["annotations"]["chordial.dev/reclaim"] = "Retain"
    orphan(rig)
    rig.settle(OVERLAY)
    assert "edge-1" in rig.cluster.names("PersistentVolumeClaim")


def test_the_peers_of_a_deleted_set_are_told_to_leave_once() -> None:
    rig = running()
    ref = Ref("RelaySet", NAMESPACE, "edge")
    rig.loop.deleted(rig.cluster.objects[ref])
    rig.cluster.drop(ref)
    assert rig.turn(*EDGE).after is not None
    rig.turn(*EDGE)
    assert sorted(peer for peer, _ in rig.peers.asked) == ["edge-0", "edge-1"]
    for number in range(2):
        orphan(rig, f"edge-{number}")
    assert rig.turn(*EDGE).gone
    rig.settle(OVERLAY)
    left = [n for n in rig.cluster.names("PersistentVolumeClaim") if n.startswith("edge")]
    assert left == []


def asked_to_leave(rig: Rig) -> list[str]:
    return sorted(peer for peer, question in rig.peers.asked if isinstance(question, Drain))


def test_who_has_not_answered_is_told_again_a_few_times_though_it_drains() -> None:
    rig = running()
    ref = Ref("RelaySet", NAMESPACE, "edge")
    rig.loop.deleted(rig.cluster.objects[ref])
    rig.cluster.drop(ref)
    rig.peers.silent = ["edge-1"]
    rig.report("edge-1", state="draining")  # as for a restart: its pod was told to end
    for _ in range(7):
        rig.turn(*EDGE)
    assert asked_to_leave(rig) == ["edge-0", *5 * ["edge-1"]]


def test_a_set_deleted_while_nobody_looked_is_finished_later() -> None:
    """Fleet H19a: its pods end as for a restart, and are told to leave as soon as possible."""
    rig = running()
    rig.cluster.drop(Ref("RelaySet", NAMESPACE, "edge"))
    for number in range(2):
        rig.cluster.drop(Ref("StatefulSet", NAMESPACE, f"edge-{number}"))
    rig.settle(OVERLAY)
    assert asked_to_leave(rig) == ["edge-0", "edge-1"]
    claims = rig.cluster.names("PersistentVolumeClaim")
    assert [each for each in claims if each.startswith("edge")] == ["edge-0", "edge-1"]
    for number in range(2):
        orphan(rig, f"edge-{number}")
    rig.report("seed-0", copies_missing=1)
    rig.settle(OVERLAY)
    assert "edge-0" in rig.cluster.names("PersistentVolumeClaim")
    rig.report("seed-0", copies_missing=0)
    rig.settle(OVERLAY)
    claims = rig.cluster.names("PersistentVolumeClaim")
    assert [each for each in claims if each.startswith("edge")] == []


def test_peers_that_were_orphaned_on_purpose_stay() -> None:
    rig = running()
    rig.cluster.drop(Ref("RelaySet", NAMESPACE, "edge"))
    rig.settle(OVERLAY)
    assert asked_to_leave(rig) == []


def without_founders() -> Rig:
    """All founders were lost and replaced, one after the other; then every process ended."""
    rig = running()
    record = asyncio.run(rig.context.store.record(parse_overlay(status_body(rig))))
    for number, body in enumerate(rig.cluster.of_kind("StatefulSet")):
        if body["metadata"]["annotations"]["chordial.dev/node-id"] in [
            each.hex() for each in record.founders
        ]:
            body["metadata"]["annotations"]["chordial.dev/node-id"] = f"{number + 1:032x}"
    rig.talk()
    for name in rig.peers.by_name:
        rig.report(name, state="joining", is_ready=False, in_step=False, members_alive=())
    return rig


def status_body(rig: Rig) -> Manifest:
    return rig.cluster.objects[Ref("Overlay", NAMESPACE, "voice")]


def ringless_for(rig: Rig, seconds: float) -> None:
    rig.turn(*OVERLAY)
    rig.now += seconds
    for name in rig.peers.by_name:
        rig.report(name, at=rig.now)
    rig.turn(*OVERLAY)


def test_an_overlay_without_founders_and_without_values_is_founded_once_more() -> None:
    """Fleet H7: nothing else ever would form its ring."""
    rig = without_founders()
    before = status(rig)["instanceID"]
    ringless_for(rig, 60.0)
    bundle = rig.cluster.objects[Ref("ConfigMap", NAMESPACE, "voice-bundle")]["data"]
    assert bundle["instance-id"] == status(rig)["instanceID"] != before
    assert rig.cluster.names("Pod") == rig.cluster.names("PersistentVolumeClaim") == []
    assert "FoundedAnew" in rig.told()
    record = asyncio.run(rig.context.store.record(parse_overlay(status_body(rig))))
    assert len(record.founders) == 4
    peers = [
        each["metadata"]["annotations"]["chordial.dev/node-id"]
        for each in rig.cluster.of_kind("StatefulSet")
    ]
    assert all(founder.hex() in peers for founder in record.founders)
    rig.run_pods()
    rig.settle(OVERLAY, SEED, EDGE)
    assert status(rig)["instanceID"] == bundle["instance-id"]
    assert len(rig.cluster.names("PersistentVolumeClaim")) == 7


def test_it_is_not_while_one_peer_holds_a_value_or_it_is_too_soon() -> None:
    rig = without_founders()
    before = status(rig)["instanceID"]
    ringless_for(rig, 59.0)
    rig.report("edge-0", entries=1)
    ringless_for(rig, 120.0)
    assert status(rig)["instanceID"] == before


def configured(rig: Rig) -> list[tuple[str, int]]:
    """Who was told which configuration, by its sequence."""
    told = []
    for peer, question in rig.peers.asked:
        if isinstance(question, Configure):
            signed = open_configuration(
                Ed25519Signatures(bytes(32)), question.configuration, "calls.voice"
            )
            told.append((peer, signed.sequence))
    rig.peers.asked.clear()
    return sorted(told)


def test_who_is_shut_out_is_told_to_every_other_peer_at_once_and_once() -> None:
    rig = running()
    configured(rig)
    rig.settle(OVERLAY)
    assert configured(rig) == []
    out = rig.cluster.objects[Ref("StatefulSet", NAMESPACE, "edge-1")]["metadata"]["annotations"]
    gone = node_id(out["chordial.dev/node-id"])
    shut_out = rig.context.store.change(
        parse_overlay(status_body(rig)), lambda record: revoked(record, gone)
    )
    asyncio.run(shut_out)
    rig.peers.silent = ["seed-2"]
    rig.settle(OVERLAY, rounds=1)
    others = ["edge-0", *(f"seed-{number}" for number in range(5))]
    sequence = max(number for _, number in configured(rig))
    rig.settle(OVERLAY, rounds=1)
    assert configured(rig) == [("seed-2", sequence)]
    rig.peers.silent = []
    rig.settle(OVERLAY, rounds=3)
    assert configured(rig) == [("seed-2", sequence)]
    rig.context.forget(NAMESPACE, "voice")
    rig.now += 31.0
    rig.settle(OVERLAY, rounds=1)
    assert configured(rig) == []  # nobody has been heard of late
    rig.talk()
    rig.settle(OVERLAY, rounds=1)
    assert [peer for peer, _ in configured(rig)] == others


def test_a_refused_configuration_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = running()
    edge = rig.cluster.objects[Ref("StatefulSet", NAMESPACE, "edge-1")]["metadata"]["annotations"]
    gone = node_id(edge["chordial.dev/node-id"])
    overlay = parse_overlay(status_body(rig))
    asyncio.run(rig.context.store.change(overlay, lambda record: revoked(record, gone)))
    rig.peers.answers[Configure] = Refused("forbidden", "of another signer")
    rig.settle(OVERLAY, rounds=3)
    told = [each.getMessage() for each in caplog.records if "does not take" in each.getMessage()]
    assert len(told) == len(dict.fromkeys(told)) == 6
