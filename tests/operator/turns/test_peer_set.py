"""A set's peers: made, kept, chosen to leave, drained and removed, one step a turn."""

import asyncio

from chordial_node.boundary.control import Drain
from chordial_node.pod_config import PodExposure, parse_pod
from chordial_operator.cluster.errors import ConflictError, ForbiddenError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import parse_overlay
from tests.operator.specs import NAMESPACE, overlay_body, relays_body, seeds_body
from tests.operator.turns.rig import Rig

OVERLAY = ("Overlay", "voice")
SEED = ("BootstrapSet", "seed")
EDGE = ("RelaySet", "edge")
ALL = (OVERLAY, SEED, EDGE)


def running() -> Rig:
    """An overlay of five seeds and three relays that is well."""
    rig = Rig(
        overlay_body(), seeds_body(), relays_body(scaleIn={"stabilization": "0s"}, replicas=3)
    )
    rig.settle(*ALL, rounds=3)
    rig.run_pods()
    rig.settle(*ALL, rounds=3)
    return rig


def stateful_set(rig: Rig, name: str) -> Manifest:
    return rig.cluster.objects[Ref("StatefulSet", NAMESPACE, name)]


def test_a_peer_is_made_after_what_its_pod_mounts() -> None:
    rig = Rig(overlay_body(), seeds_body())
    rig.turn(*SEED)
    assert rig.cluster.names("StatefulSet") == []
    rig.turn(*OVERLAY)
    rig.turn(*SEED)
    asked = [each for each in rig.cluster.asked if each.split()[0] in ("apply", "create")]
    order = [asked.index(each) for each in (
        "apply ConfigMap voice-bundle",
        "apply Service voice-peers",
        "create PersistentVolumeClaim seed-0",
        "create StatefulSet seed-0",
    )]  # fmt: skip
    assert order == sorted(order)
    assert rig.cluster.names("StatefulSet") == [f"seed-{number}" for number in range(5)]


def test_founders_places_go_to_seeds() -> None:
    rig = Rig(overlay_body(), seeds_body())
    rig.settle(OVERLAY, SEED, rounds=2)
    bodies = rig.cluster.of_kind("StatefulSet")
    ids = [body["metadata"]["annotations"]["chordial.dev/node-id"] for body in bodies]
    assert len({*ids}) == 5
    identity, _ = asyncio.run(rig.context.store.open(parse_overlay(overlay_body())))
    assert ids[:4] == [founder.hex() for founder in identity.founders]


def test_a_second_turn_writes_nothing() -> None:
    rig = running()
    rig.cluster.asked.clear()
    rig.settle(*ALL, rounds=2)
    writes = [each for each in rig.cluster.asked if not each.startswith("get ")]
    assert writes == []


def test_who_loses_the_race_for_a_name_looks_again() -> None:
    rig = Rig(overlay_body(), seeds_body())
    rig.turn(*OVERLAY)
    rig.cluster.refuses["create PersistentVolumeClaim"] = ConflictError("it exists")
    assert rig.turn(*SEED).after == 1.0
    assert rig.cluster.names("StatefulSet") == []


def test_a_leaving_peer_is_told_before_its_pod_ends_and_removed_when_it_has_left() -> None:
    rig = running()
    rig.change("RelaySet", "edge", {"replicas": 2})
    rig.turn(*EDGE)
    leaving = [
        body["metadata"]["name"]
        for body in rig.cluster.of_kind("StatefulSet")
        if "chordial.dev/leaving" in body["metadata"]["annotations"]
    ]
    assert leaving == ["edge-2"]
    assert stateful_set(rig, "edge-2")["spec"]["replicas"] == 1
    rig.turn(*EDGE)
    assert rig.peers.asked == [("edge-2", Drain())]
    assert stateful_set(rig, "edge-2")["spec"]["replicas"] == 0
    rig.turn(*EDGE)
    assert "edge-2" in rig.cluster.names("StatefulSet")  # its pod still serves
    rig.run_pods()
    rig.settle(EDGE, OVERLAY)
    assert "edge-2" not in rig.cluster.names("StatefulSet")
    assert "edge-2" not in rig.cluster.names("PersistentVolumeClaim")
    assert rig.told()[-3:] == ["ScaleInPlanned", "DrainStarted", "DrainCompleted"]
    assert rig.condition("RelaySet", "edge", "Ready")["status"] == "True"


def test_a_turn_goes_on_where_no_event_can_be_posted() -> None:
    rig = running()
    rig.cluster.refuses["create Event"] = ForbiddenError("events are forbidden")
    rig.change("RelaySet", "edge", {"replicas": 2})
    rig.turn(*EDGE)
    leaving = [n for n in rig.cluster.names("StatefulSet") if _leaves(stateful_set(rig, n))]
    assert len(leaving) == 1


def _leaves(body: Manifest) -> bool:
    return "chordial.dev/leaving" in (body["metadata"].get("annotations") or {})


def test_one_leaves_at_a_time() -> None:
    rig = running()
    rig.change("RelaySet", "edge", {"replicas": 0})
    rig.settle(EDGE, rounds=4)
    at_nought = [
        body["metadata"]["name"]
        for body in rig.cluster.of_kind("StatefulSet")
        if body["spec"]["replicas"] == 0
    ]
    assert len(at_nought) == 1


def test_a_choice_is_written_before_it_is_acted_on() -> None:
    rig = running()
    rig.change("RelaySet", "edge", {"replicas": 2})
    rig.cluster.refuses["annotate StatefulSet"] = ConflictError("somebody else has chosen")
    rig.settle(EDGE, rounds=2)
    assert rig.peers.asked == []
    assert all(body["spec"]["replicas"] == 1 for body in rig.cluster.of_kind("StatefulSet"))


def test_the_budget_counts_a_leaving_peer_until_it_is_gone() -> None:
    rig = running()

    def budget() -> object:
        body = rig.cluster.objects[Ref("PodDisruptionBudget", NAMESPACE, "voice")]
        return body["spec"]["minAvailable"]

    assert budget() == 7
    rig.change("RelaySet", "edge", {"replicas": 2})
    rig.settle(EDGE, OVERLAY, rounds=3)
    assert budget() == 7
    rig.run_pods()
    rig.settle(EDGE, OVERLAY)
    assert budget() == 6


def test_more_replicas_take_the_lowest_free_numbers() -> None:
    rig = running()
    rig.cluster.drop(Ref("StatefulSet", NAMESPACE, "edge-1"))
    rig.cluster.drop(Ref("Pod", NAMESPACE, "edge-1-0"))
    rig.settle(EDGE, rounds=2)
    # its volume still holds the name: another identity takes the next one
    assert rig.cluster.names("StatefulSet")[-3:] == ["edge-0", "edge-2", "edge-3"]


def test_a_service_that_is_asked_for_no_more_is_removed() -> None:
    rig = running()
    assert "edge" in rig.cluster.names("Service")
    rig.change("RelaySet", "edge", {"exposure": {"type": "HostPort"}})
    rig.settle(EDGE, rounds=2)
    assert "edge" not in rig.cluster.names("Service")


def test_an_unusable_spec_is_said_and_left_alone() -> None:
    rig = Rig(overlay_body(), seeds_body(drain={"timeout": "soon"}))
    rig.settle(OVERLAY, SEED, rounds=2)
    told = rig.condition("BootstrapSet", "seed", "Ready")
    assert (told["status"], told["reason"]) == ("False", "InvalidSpec")
    assert "spec.drain.timeout" in told["message"]


def test_an_unusable_overlay_is_told_as_its_own_fault_not_the_sets() -> None:
    rig = Rig(overlay_body(certificates={"lifetime": "soon"}), seeds_body())
    rig.turn(*SEED)
    told = rig.condition("BootstrapSet", "seed", "Ready")
    assert told["message"].startswith("Overlay voice, spec.certificates.lifetime: must be")


def test_a_set_says_that_it_waits_for_its_overlays_authority() -> None:
    rig = Rig(overlay_body(certificates={"caSecretRef": {"name": "ours"}}), seeds_body())
    assert rig.turn(*SEED).after is not None
    told = rig.condition("BootstrapSet", "seed", "Ready")
    assert (told["status"], told["reason"]) == ("False", "CertificateMissing")
    assert "ours does not exist" in told["message"]


def test_why_a_pod_is_refused_is_said_in_the_api_servers_words() -> None:
    rig = running()
    rig.cluster.drop(Ref("Pod", NAMESPACE, "edge-1-0"))
    rig.peers.by_name.pop("edge-1")
    rig.now += 60.0
    said = 'pods "edge-1-0" is forbidden: exceeded quota: small'
    rig.cluster.said_of[Ref("StatefulSet", NAMESPACE, "edge-1")] = [said, "an older one"]
    rig.turn(*EDGE)
    told = rig.condition(*EDGE, "PodsRefused")
    assert (told["status"], said in told["message"]) == ("True", True)
    rig.cluster.refuses["events StatefulSet"] = ForbiddenError("events are not for you")
    rig.turn(*EDGE)
    told = rig.condition(*EDGE, "PodsRefused")
    assert (told["status"], "describe statefulset edge-1" in told["message"]) == ("True", True)


def told_peers(rig: Rig) -> dict[str, PodExposure]:
    config = rig.cluster.objects[Ref("ConfigMap", NAMESPACE, "edge-config")]
    return parse_pod(config["data"]["peer.json"].encode()).by_peer


def test_the_address_of_each_peers_own_service_is_told_without_a_restart() -> None:
    rig = Rig(
        overlay_body(),
        seeds_body(),
        relays_body(exposure={"type": "LoadBalancer", "scope": "Peer"}),
    )
    rig.settle(*ALL, rounds=3)
    rig.run_pods()
    rig.settle(*ALL, rounds=3)
    revision = stateful_set(rig, "edge-0")["spec"]["template"]
    assert told_peers(rig) == {}
    pending = rig.condition(*EDGE, "AddressPending")
    assert (pending["status"], "edge-0, edge-1" in pending["message"]) == ("True", True)
    for number in range(2):
        service = rig.cluster.objects[Ref("Service", NAMESPACE, f"edge-{number}")]
        ingress = [{"ip": f"192.0.2.{number}"}]
        rig.cluster.put({**service, "status": {"loadBalancer": {"ingress": ingress}}})
    rig.turn(*EDGE)
    assert [each.advertise for each in told_peers(rig).values()] == [("192.0.2.0",), ("192.0.2.1",)]
    assert rig.condition(*EDGE, "AddressPending")["status"] == "False"
    status = rig.cluster.objects[Ref("RelaySet", NAMESPACE, "edge")]["status"]
    assert [each["address"] for each in status["advertised"]] == ["192.0.2.0", "192.0.2.1"]
    assert stateful_set(rig, "edge-0")["spec"]["template"] == revision
    rig.settle(*ALL)
    assert len(rig.cluster.names("Pod")) == 7
