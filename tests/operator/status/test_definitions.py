"""What is told stands in the definitions: an unknown field would be dropped without a word."""

from chordial_operator.spec.manifest import Manifest
from tests.definitions import schema
from tests.operator.decisions.views_made import NOW, peer
from tests.operator.status import test_overlay, test_peer_set, test_sip_user


def strangers(value: object, part: Manifest, path: str = "status") -> list[str]:
    """Return the paths of what a schema does not know, or holds to be of another type."""
    kinds: dict[str, tuple[type, ...]] = {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "integer": (int,),
    }
    if not isinstance(value, kinds[part["type"]]):
        return [f"{path} is {value!r}"]
    found = []
    if isinstance(value, dict):
        for name, inner in value.items():
            known = part["properties"].get(name)
            found += [f"{path}.{name}"] if known is None else strangers(inner, known, name)
    if isinstance(value, list):
        assert len(value) <= part["maxItems"]
        for inner in value:
            found += strangers(inner, part["items"], path)
    return found


def status_part(kind: str) -> Manifest:
    return dict(schema(kind)["properties"]["status"])


def test_an_overlays_status_is_of_its_definition() -> None:
    assert strangers(test_overlay.status(test_overlay.FACTS), status_part("Overlay")) == []


def test_the_statuses_of_sets_are_of_their_definitions() -> None:
    leaves = peer("edge-3", leaving_since=NOW - 30, calls=2)
    known = test_peer_set.facts(peers=[*test_peer_set.RELAYS, leaves], addresses=["192.0.2.1:6084"])
    assert strangers(test_peer_set.status(known), status_part("RelaySet")) == []
    assert strangers(test_peer_set.seeds_status(known), status_part("BootstrapSet")) == []


def test_a_users_status_is_of_its_definition() -> None:
    assert strangers(test_sip_user.status(test_sip_user.STORED), status_part("SipUser")) == []
