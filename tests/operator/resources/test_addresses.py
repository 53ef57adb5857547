"""Which addresses phones are told."""

from chordial_node.pod_config import PodExposure
from chordial_operator.resources.addresses import (
    advertised_addresses,
    exposed_peers,
    is_address_pending,
)
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.peer_set import PeerSet, parse_relay_set
from tests.operator.specs import relays_body

CLUSTER: Manifest = {"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.9", "fd00::9"]}}
PENDING: Manifest = {"spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.9"]}}
BALANCED: Manifest = {
    **PENDING,
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.org"}]}},
}


def relays(**spec: object) -> PeerSet:
    return parse_relay_set(relays_body("edge", **spec))


def test_the_specs_own_addresses_win() -> None:
    own = relays(advertise={"addresses": ["sip.example.org"]})
    assert advertised_addresses(own, CLUSTER) == ("sip.example.org",)


def test_else_those_of_the_service() -> None:
    assert advertised_addresses(relays(), CLUSTER) == ("10.96.0.9", "fd00::9")
    balanced = relays(exposure={"type": "LoadBalancer"})
    assert advertised_addresses(balanced, BALANCED) == ("192.0.2.1", "lb.example.org")


def test_none_where_each_peer_has_its_own() -> None:
    assert advertised_addresses(relays(advertise={"from": "Pod"}), CLUSTER) == ()
    assert advertised_addresses(relays(exposure={"type": "HostPort"}), None) == ()
    assert advertised_addresses(relays(exposure={"scope": "Peer"}), None) == ()


def test_a_load_balancer_without_an_address_is_pending() -> None:
    balanced = relays(exposure={"type": "LoadBalancer"})
    assert is_address_pending(balanced, PENDING)
    assert not is_address_pending(balanced, BALANCED)
    assert not is_address_pending(relays(), CLUSTER)


def test_each_peer_tells_the_address_of_its_own_load_balancer() -> None:
    own = relays(exposure={"type": "LoadBalancer", "scope": "Peer"})
    found = exposed_peers(own, {"edge-1": BALANCED, "edge-0": PENDING, "edge-2": None})
    assert found == {"edge-1": PodExposure(advertise=("192.0.2.1", "lb.example.org"))}


def test_each_peer_tells_its_nodes_address_and_its_own_port_there() -> None:
    own = relays(exposure={"type": "NodePort", "scope": "Peer"})
    ports = [{"name": "udp", "port": 5060, "nodePort": 31060}, {"name": "tcp", "port": 5060}]
    service: Manifest = {"spec": {"type": "NodePort", "ports": ports}}
    assert exposed_peers(own, {"edge-0": service}) == {"edge-0": PodExposure(ports={"udp": 31060})}


def test_no_peer_has_one_of_its_own_where_the_set_has_or_pods_tell_theirs() -> None:
    assert exposed_peers(relays(exposure={"type": "LoadBalancer"}), {"edge-0": BALANCED}) == {}
    pods = relays(exposure={"type": "LoadBalancer", "scope": "Peer"}, advertise={"from": "Pod"})
    assert exposed_peers(pods, {"edge-0": BALANCED}) == {}
