"""Every condition and number of a set, and what a new operator leaves as it was."""

import msgspec

from chordial_operator.decisions.scale_in import ScaleIn
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.peer_set import PeerSet, parse_bootstrap_set, parse_relay_set
from chordial_operator.status.peer_set import Advertised, SetFacts, set_numbers, set_status
from chordial_operator.status.slow_numbers import SlowNumber
from tests.operator.decisions.views_made import NOW, peer

META = {"name": "edge", "namespace": "voice", "generation": 2}


def relay_set(replicas: int = 3) -> PeerSet:
    spec = {"overlayRef": {"name": "calls"}, "replicas": replicas}
    return parse_relay_set({"metadata": META, "spec": spec})


RELAYS = [peer(f"edge-{number}", calls=4, registrations=50) for number in range(3)]
FACTS = SetFacts(peers=RELAYS, advertised=(Advertised("192.0.2.7", "Service"),))


def facts(**changed: object) -> SetFacts:
    return msgspec.structs.replace(FACTS, **changed)


def status(
    known: SetFacts,
    replicas: int = 3,
    previous: Manifest | None = None,
    numbers: dict[str, SlowNumber] | None = None,
) -> Manifest:
    told_numbers = set_numbers(known, numbers or {}, previous, NOW)
    return set_status(relay_set(replicas), known, told_numbers, previous, NOW)


def seeds_status(known: SetFacts) -> Manifest:
    body = {"metadata": META, "spec": {"overlayRef": {"name": "calls"}, "replicas": 3}}
    return set_status(parse_bootstrap_set(body), known, {}, None, NOW)


def told(said: Manifest) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in said["conditions"]}


def message(said: Manifest, kind: str) -> str:
    return str(next(each["message"] for each in said["conditions"] if each["type"] == kind))


def test_a_set_that_is_well() -> None:
    said = status(FACTS)
    conditions = said.pop("conditions")
    assert said == {
        "observedGeneration": 2,
        "replicas": 3,
        "readyReplicas": 3,
        "updatedReplicas": 3,
        "drainingReplicas": 0,
        "selector": "chordial.dev/set=edge,chordial.dev/overlay=calls",
        "registrations": 150,
        "calls": 12,
        "advertised": [{"address": "192.0.2.7", "from": "Service"}],
        "leaving": [],
    }
    assert conditions[0]["type"] == "Ready"
    assert told({"conditions": conditions}) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "AsWanted"),
        "ScalingLimited": ("False", "AsWanted"),
        "VolumesPending": ("False", "VolumesBound"),
        "PodsRefused": ("False", "PodsTaken"),
        "OverlayNotFound": ("False", "OverlayFound"),
        "AddressPending": ("False", "AddressFound"),
        "CertificatesReady": ("True", "SecretFound"),
        "Draining": ("False", "NobodyLeaves"),
    }


def test_a_set_of_seeds_tells_addresses_and_nothing_of_phones() -> None:
    said = seeds_status(facts(addresses=["192.0.2.1:6084"]))
    assert said["addresses"] == ["192.0.2.1:6084"]
    assert "registrations" not in said
    assert "Draining" not in told(said)


def test_leaving_peers_count_as_replicas_and_are_listed_and_the_set_stays_ready() -> None:
    leaves = peer("edge-3", leaving_since=NOW - 30, calls=2)
    said = status(facts(peers=[*RELAYS, leaves]))
    assert (said["replicas"], said["readyReplicas"], said["drainingReplicas"]) == (4, 3, 1)
    assert said["leaving"] == [{"name": "edge-3", "since": "1970-01-01T02:46:10Z", "calls": 2}]
    assert told(said)["Ready"] == ("True", "AllReady")
    assert told(said)["Draining"] == ("True", "Draining")
    assert told(said)["Progressing"] == ("True", "Draining")
    crowd = [peer(f"edge-{number}", leaving_since=NOW) for number in range(20)]
    assert len(status(facts(peers=crowd))["leaving"]) == 16


def test_what_hinders_peers_is_the_reason_why_a_set_is_not_ready() -> None:
    said = status(FACTS, replicas=4)
    assert (told(said)["Ready"], told(said)["Progressing"]) == (
        ("False", "PeersNotReady"),
        ("True", "Creating"),
    )
    assert message(said, "Ready") == "3 of 4 peers are ready."
    for name, reason in (
        ("volumes_pending", "VolumesPending"),
        ("pods_refused", "PodsRefused"),
        ("overlay_problem", "OverlayNotFound"),
    ):
        said = status(facts(**{name: "Why."}), replicas=4)
        assert told(said)["Ready"] == ("False", reason)
        assert told(said)[reason] == ("True", reason)
    said = status(facts(peers=[*RELAYS[:2], peer("edge-2", ready=False)], outdated=("edge-0",)))
    assert message(said, "Ready") == "2 of 3 peers are ready; not yet: edge-2."
    assert said["updatedReplicas"] == 2


def test_without_its_overlay_nothing_of_a_sets_peers_is_told_anew() -> None:
    before = status(FACTS)
    said = status(SetFacts(overlay_problem="There is no Overlay calls."), previous=before)
    assert (said["replicas"], said["readyReplicas"]) == (3, 3)
    assert told(said)["Ready"] == ("False", "OverlayNotFound")
    assert told(said)["OverlayNotFound"] == ("True", "OverlayNotFound")
    first = status(SetFacts(overlay_problem="There is no Overlay calls."))
    assert (first["replicas"], list(told(first))) == (0, ["Ready", "OverlayNotFound"])


def test_the_floor_limits_a_scale_in_and_the_set_is_still_ready() -> None:
    limited = ScaleIn(planned=("edge-2",), limited="3 would be left", waits="first this")
    said = status(facts(scale_in=limited), replicas=1)
    assert told(said)["Ready"] == ("True", "AllReady")
    assert told(said)["ScalingLimited"] == ("True", "BelowFloor")
    assert (
        message(said, "ScalingLimited") == "Not all peers may leave that should: 3 would be left."
    )
    assert message(said, "Progressing") == "Will leave, in this order: edge-2; first this."


def test_addresses_and_certificates_that_are_missing_are_told() -> None:
    said = status(facts(address_problem="No address.", certificate_problem="No Secret."))
    assert told(said)["AddressPending"] == ("True", "WaitingForAddress")
    assert told(said)["CertificatesReady"] == ("False", "CertificateMissing")


def test_what_else_moves_is_told_as_progress() -> None:
    assert told(status(facts(lost=("edge-1",))))["Progressing"] == ("True", "Lost")
    assert told(status(facts(outdated=("edge-1",))))["Progressing"] == ("True", "Upgrading")
    assert told(status(facts(is_paused=True), replicas=9))["Progressing"] == ("False", "Paused")


def test_a_new_operator_changes_no_number_and_the_same_facts_change_nothing() -> None:
    before = status(FACTS)
    busier = facts(peers=[peer(f"edge-{number}", calls=90) for number in range(3)])
    assert status(busier, previous=before)["calls"] == 12
    deaf = facts(peers=[msgspec.structs.replace(each, report=None) for each in RELAYS])
    assert status(deaf, previous=before) == before
    half = facts(peers=[deaf.peers[0], *RELAYS[1:]])
    assert status(half, previous=before) == before
    assert status(FACTS, previous=before) == before
