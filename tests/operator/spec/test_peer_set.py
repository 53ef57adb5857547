"""Seeds and relays are one struct, each with the defaults of its kind."""

import pytest

from chordial_operator.spec.manifest import InvalidSpecError, Manifest, NameRef
from chordial_operator.spec.peer_set import PeerSet, parse_bootstrap_set, parse_relay_set

UDP: Manifest = {"name": "sip", "transport": "UDP", "port": 5060}


def seeds(**spec: object) -> PeerSet:
    known = {"overlayRef": {"name": "voice"}}
    return parse_bootstrap_set({"metadata": {"name": "seed"}, "spec": known | spec})


def relays(**spec: object) -> PeerSet:
    known = {"overlayRef": {"name": "voice"}, "listeners": [UDP]}
    return parse_relay_set({"metadata": {"name": "edge"}, "spec": known | spec})


def test_seeds_have_no_listener() -> None:
    least = seeds()
    assert (least.kind, least.role, least.overlay, least.replicas) == (
        "BootstrapSet",
        "seed",
        "voice",
        5,
    )
    assert least.listeners == ()
    assert least.drain.timeout == 120
    assert least.storage.size.amount == 1 << 30
    assert least.resources["limits"] == {"memory": "512Mi"}


def test_relays_wait_longer_for_their_calls() -> None:
    least = relays()
    assert (least.kind, least.role, least.replicas) == ("RelaySet", "relay", 2)
    assert least.drain.timeout == 600
    assert least.drain.max_concurrent == 1
    assert relays(drain={"maxConcurrent": 2}).drain.timeout == 600
    assert relays(drain={"timeout": "30s"}).drain.timeout == 30
    assert least.registration.max_expires == 300


def test_reads_listeners_and_exposure() -> None:
    said = relays(
        replicas=0,
        listeners=[
            UDP,
            {"name": "sips", "transport": "TLS", "port": 5061, "certificateRef": {"name": "tls"}},
        ],
        exposure={"type": "NodePort", "nodePorts": [{"listener": "sip", "port": 30060}]},
    )
    assert said.replicas == 0
    assert said.listeners[1].certificate_ref == NameRef("tls")
    assert said.listeners[0].certificate_ref is None
    assert said.exposure.node_ports[0].port == 30060
    assert said.exposure.external_traffic_policy == "Local"


def test_addresses_come_from_the_service_and_with_host_ports_from_the_node() -> None:
    assert relays().advertised_from == "Service"
    assert relays(exposure={"type": "HostPort"}).advertised_from == "Node"
    assert relays(advertise={"from": "Pod"}).advertised_from == "Pod"


def test_scheduling_is_passed_on_as_it_is() -> None:
    spread: Manifest = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    affinity: Manifest = {"nodeAffinity": {"preferredDuringScheduling": []}}
    said = seeds(
        affinity=affinity,
        topologySpreadConstraints=[spread],
        tolerations=[{"operator": "Exists"}],
        nodeSelector={"disk": "ssd"},
        resources={"limits": {"cpu": 1}},
    )
    assert said.affinity == affinity
    assert said.topology_spread_constraints == (spread,)
    assert said.tolerations == ({"operator": "Exists"},)
    assert said.node_selector == {"disk": "ssd"}
    assert said.resources == {"limits": {"cpu": 1}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"drain": {"timeout": "1 minute"}}, "spec.drain.timeout"),
        ({"replicas": "many"}, "spec.replicas"),
        (
            {"listeners": [{"name": "a", "transport": "WS", "port": 1}]},
            "spec.listeners[0].transport",
        ),
        ({"storage": {"size": "big"}}, "spec.storage.size"),
        ({"overlayRef": {}}, "spec.overlayRef"),
    ],
)
def test_names_the_field_that_cannot_be_used(spec: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        relays(**spec)
    assert caught.value.field == field
