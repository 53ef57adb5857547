"""Two sets whose objects would have the same names: the older keeps them, the other says so."""

import pytest

from chordial_operator.cluster.kinds import Ref
from chordial_operator.spec.manifest import Manifest
from tests.operator.specs import NAMESPACE, overlay_body, relays_body, seeds_body
from tests.operator.turns.rig import Rig

OVERLAY = ("Overlay", "voice")


def younger(body: Manifest) -> Manifest:
    return {**body, "metadata": {**body["metadata"], "creationTimestamp": "2026-01-02T00:00:00Z"}}


def ready(rig: Rig, kind: str, name: str) -> Manifest:
    status = rig.cluster.objects[Ref(kind, NAMESPACE, name)]["status"]
    found: Manifest = next(each for each in status["conditions"] if each["type"] == "Ready")
    return found


@pytest.mark.parametrize(
    ("bodies", "loser"),
    [
        ((seeds_body("edge"), younger(relays_body("edge"))), "RelaySet"),
        ((younger(seeds_body("edge")), relays_body("edge")), "BootstrapSet"),
        ((seeds_body("edge"), relays_body("edge")), "RelaySet"),
    ],
)
def test_the_older_set_keeps_the_names(bodies: tuple[Manifest, ...], loser: str) -> None:
    rig = Rig(overlay_body(), *bodies)
    rig.settle(OVERLAY, ("BootstrapSet", "edge"), ("RelaySet", "edge"))
    told = ready(rig, loser, "edge")
    assert (told["status"], told["reason"]) == ("False", "NameTaken")
    assert "delete one of them" in told["message"]
    roles = {
        body["metadata"]["labels"]["chordial.dev/role"]
        for body in rig.cluster.of_kind("StatefulSet")
    }
    assert roles == {"seed" if loser == "RelaySet" else "relay"}


def test_peers_stay_when_the_set_goes_that_had_not_their_names() -> None:
    rig = Rig(overlay_body(), seeds_body("edge"), younger(relays_body("edge")))
    rig.settle(OVERLAY, ("BootstrapSet", "edge"))
    rig.run_pods()
    last = rig.cluster.objects[Ref("RelaySet", NAMESPACE, "edge")]
    rig.cluster.drop(Ref("RelaySet", NAMESPACE, "edge"))
    rig.loop.deleted(last)
    assert rig.turn("RelaySet", "edge").gone
    assert rig.peers.asked == []


def test_a_set_that_is_not_complete_is_looked_at_again() -> None:
    rig = Rig(overlay_body(), seeds_body())
    rig.settle(OVERLAY, ("BootstrapSet", "seed"))
    following = rig.turn("BootstrapSet", "seed")
    assert following.after is not None
    assert following.after <= 10
    rig.run_pods()
    rig.settle(OVERLAY, ("BootstrapSet", "seed"))
    assert rig.turn("BootstrapSet", "seed").after is None
