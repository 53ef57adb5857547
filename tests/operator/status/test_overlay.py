"""Every condition of an Overlay, and what a new operator leaves as it was."""

import msgspec

from chordial_operator.decisions.upgrade import UpgradeStep
from chordial_operator.decisions.views import PeerView
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay, parse_overlay
from chordial_operator.status.overlay import OverlayFacts, overlay_numbers, overlay_status
from tests.operator.decisions.views_made import NOW, peer, report


def overlay(**spec: object) -> Overlay:
    meta = {"name": "calls", "namespace": "voice", "generation": 4}
    return parse_overlay({"metadata": meta, "spec": {"domains": ["voice.example"], **spec}})


SEEDS = [peer(f"seeds-{number}", domain=f"west/node-{number % 3}") for number in range(5)]
FACTS = OverlayFacts(
    peers=SEEDS,
    desired=5,
    instance_id="1f",
    founded_at=60.0,
    image="chordial/node:1",
    authority_ends=120.0,
    listening_since=NOW - 600,
)


def facts(**changed: object) -> OverlayFacts:
    return msgspec.structs.replace(FACTS, **changed)


def status(
    known: OverlayFacts, previous: Manifest | None = None, now: float = NOW, **spec: object
) -> Manifest:
    numbers = overlay_numbers(known, {}, None, now)
    return overlay_status(overlay(**spec), known, numbers, previous, now)


def told(said: Manifest) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in said["conditions"]}


def message(said: Manifest, kind: str) -> str:
    return str(next(each["message"] for each in said["conditions"] if each["type"] == kind))


def changed(number: int, view: PeerView) -> list[PeerView]:
    return [*SEEDS[:number], view, *SEEDS[number + 1 :]]


def test_an_overlay_that_is_well() -> None:
    said = status(FACTS)
    conditions = said.pop("conditions")
    assert said == {
        "observedGeneration": 4,
        "instanceID": "1f",
        "image": "chordial/node:1",
        "foundedAt": "1970-01-01T00:01:00Z",
        "peers": {"desired": 5, "ready": 5, "leaving": 0, "lost": 0},
        "failureDomains": 1,
        "certificateAuthority": {"notAfter": "1970-01-01T00:02:00Z", "phase": "Steady"},
        "membershipAgreement": "5/5",
        "copiesMissing": 0,
        "version": "0.1.0",
    }
    assert conditions[0]["type"] == "Ready"
    assert told({"conditions": conditions}) == {
        "Ready": ("True", "RingStands"),
        "Founded": ("True", "RingStands"),
        "Converged": ("True", "InStep"),
        "Degraded": ("False", "CopiesComplete"),
        "CertificatesReady": ("True", "Issued"),
        "Upgrading": ("False", "AllUpToDate"),
        "UpgradeStalled": ("False", "AsWanted"),
        "Paused": ("False", "NotPaused"),
    }


def test_too_few_peers_are_told_before_anything_else() -> None:
    said = status(facts(peers=SEEDS[:3], desired=3))
    assert told(said)["Ready"] == ("False", "TooFewPeers")
    assert message(said, "Ready") == (
        "3 peers are asked for, and 3 copies with 3 successors need 4: raise replicas of a set."
    )


def test_an_overlay_is_ready_while_as_many_serve_as_ring_and_copies_need() -> None:
    one_away = facts(peers=changed(4, peer("seeds-4", ready=False)))
    assert told(status(one_away))["Ready"] == ("True", "RingStands")
    two_away = facts(peers=[*SEEDS[:3], peer("seeds-3", ready=False), peer("seeds-4", ready=False)])
    said = status(two_away)
    assert told(said)["Ready"] == ("False", "PeersNotReady")
    assert message(said, "Ready").endswith("need 4; not ready: seeds-3, seeds-4.")
    assert told(status(facts(founded_at=0.0)))["Ready"] == ("False", "Forming")


def test_peers_that_see_another_ring_and_copies_that_are_missing_are_told() -> None:
    odd = msgspec.structs.replace(SEEDS[0], report=report(digest="x", copies_missing=4))
    said = status(facts(peers=changed(0, odd)))
    assert (said["membershipAgreement"], said["copiesMissing"]) == ("4/5", 4)
    assert told(said)["Converged"] == ("False", "Disagreement")
    assert told(said)["Degraded"] == ("True", "CopiesMissing")
    assert told(status(facts(lost=("seeds-1",))))["Degraded"] == ("True", "Lost")


def test_a_new_operator_keeps_what_was_told_until_it_has_heard_somebody() -> None:
    before = status(FACTS)
    deaf = [msgspec.structs.replace(seed, report=None) for seed in SEEDS]
    known = facts(peers=deaf, listening_since=NOW + 5)
    assert status(known, before, NOW + 10) == before
    said = status(known, before, NOW + 65)
    assert told(said)["Converged"] == ("Unknown", "NotHeard")
    assert said["membershipAgreement"] == "5/5"
    assert told(status(known))["Degraded"] == ("Unknown", "NotHeard")


def test_a_new_operator_keeps_what_was_told_until_it_has_heard_everybody() -> None:
    before = status(FACTS, now=NOW)
    half = changed(2, msgspec.structs.replace(SEEDS[2], report=None))
    known = facts(peers=half, listening_since=NOW)
    assert status(known, before, NOW + 10) == before
    later = status(known, before, NOW + 61)
    assert later["membershipAgreement"] == "4/4"


def test_an_upgrade_and_its_stall_are_told_and_a_stall_is_a_failure() -> None:
    going = UpgradeStep(outdated=("seeds-0", "seeds-1"), blocked="seeds-4 is not ready")
    said = status(facts(upgrade=going))
    assert told(said)["Upgrading"] == ("True", "Upgrading")
    assert message(said, "Upgrading") == (
        "2 peers are of an old revision; waiting: seeds-4 is not ready."
    )
    stalled = msgspec.structs.replace(going, stalled="seeds-4 does not come back")
    said = status(facts(upgrade=stalled))
    assert told(said)["UpgradeStalled"] == ("True", "UpgradeStalled")
    assert told(said)["Stalled"] == ("True", "UpgradeStalled")
    held = status(facts(upgrade=UpgradeStep(held_back=("seeds-0",))))
    assert told(held)["Upgrading"] == ("False", "HeldBack")


def test_certificates_that_are_not_renewed_are_told() -> None:
    late = report()
    late = msgspec.structs.replace(late, not_after=NOW + 3600)
    said = status(facts(peers=changed(2, msgspec.structs.replace(SEEDS[2], report=late))))
    assert told(said)["CertificatesReady"] == ("False", "CertificateEnding")
    assert "seeds-2" in message(said, "CertificatesReady")
    said = status(facts(certificate_problem="The CA Secret cannot be read."))
    assert told(said)["CertificatesReady"] == ("False", "CertificateMissing")
    said = status(facts(authority_phase="Announced"))
    assert told(said)["CertificatesReady"] == ("True", "Rotating")


def test_without_its_authority_nothing_else_of_an_overlay_is_told_anew() -> None:
    before = status(FACTS)
    said = status(OverlayFacts(certificate_problem="The CA Secret cannot be read."), before)
    assert {**said, "conditions": []} == {**before, "conditions": []}
    assert told(said)["Ready"] == ("False", "CertificateMissing")
    assert told(said)["Converged"] == ("True", "InStep")


def test_paused_is_told() -> None:
    assert told(status(FACTS, paused=True))["Paused"] == ("True", "Paused")


def test_the_lowest_version_is_told_and_nodes_count_where_there_are_no_zones() -> None:
    versions = ["0.10.0", "0.9.1", "0.9.0-rc1", "0.10.0", "0.9.1"]
    peers = [
        msgspec.structs.replace(
            peer(f"seeds-{number}", domain=f"node-{number % 3}"), report=report(version=version)
        )
        for number, version in enumerate(versions)
    ]
    said = status(facts(peers=peers))
    assert (said["version"], said["failureDomains"]) == ("0.9.0-rc1", 3)


def test_the_same_facts_a_second_later_are_the_same_status() -> None:
    before = status(FACTS)
    assert status(FACTS, before, NOW + 1) == before
