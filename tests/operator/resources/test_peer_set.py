"""The Services of a set, and what all its peers share."""

import pytest

from chordial_operator.resources.overlay import PhonePort
from chordial_operator.resources.peer_set import grace_seconds, phone_ports, services
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.peer_set import parse_bootstrap_set, parse_relay_set
from tests.operator.specs import relays_body, seeds_body


def of_relays(exposure: Manifest) -> list[Manifest]:
    return services(parse_relay_set(relays_body(exposure=exposure)), ["edge-0", "edge-2"])


def test_phones_use_one_service_with_tcp_and_udp_on_one_port_number() -> None:
    (service,) = of_relays({"type": "NodePort"})
    assert service["metadata"]["name"] == "edge"
    assert service["spec"] == {
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "ipFamilyPolicy": "PreferDualStack",
        "sessionAffinity": "ClientIP",
        "selector": {
            "app.kubernetes.io/name": "chordial",
            "chordial.dev/overlay": "voice",
            "chordial.dev/set": "edge",
        },
        "ports": [
            {"name": "udp", "protocol": "UDP", "port": 5060, "targetPort": 5060},
            {"name": "tcp", "protocol": "TCP", "port": 5060, "targetPort": 5060},
        ],
    }


def test_inside_the_cluster_there_is_no_external_traffic_policy() -> None:
    (service,) = of_relays({})
    assert service["spec"]["type"] == "ClusterIP"
    assert "externalTrafficPolicy" not in service["spec"]


def test_node_ports_and_what_a_load_balancer_is_told() -> None:
    (service,) = of_relays(
        {
            "type": "LoadBalancer",
            "nodePorts": [{"listener": "udp", "port": 31060}],
            "loadBalancerClass": "example.org/lb",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "annotations": {"example.org/a": "b"},
            "externalTrafficPolicy": "Cluster",
        }
    )
    assert service["metadata"]["annotations"] == {"example.org/a": "b"}
    spec = service["spec"]
    assert spec["ports"][0]["nodePort"] == 31060
    assert "nodePort" not in spec["ports"][1]
    assert spec["loadBalancerClass"] == "example.org/lb"
    assert spec["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert spec["externalTrafficPolicy"] == "Cluster"


def test_one_service_for_each_peer_where_the_scope_says_so() -> None:
    made = of_relays({"type": "LoadBalancer", "scope": "Peer"})
    assert [each["metadata"]["name"] for each in made] == ["edge-0", "edge-2"]
    assert [each["spec"]["selector"]["chordial.dev/peer"] for each in made] == ["edge-0", "edge-2"]


def test_no_service_where_phones_reach_the_nodes_themselves() -> None:
    assert of_relays({"type": "HostPort"}) == []


@pytest.mark.parametrize(("kind", "ports"), [("ClusterIP", []), ("LoadBalancer", [6084, 5081])])
def test_seeds_have_a_service_for_peers_of_elsewhere_alone(kind: str, ports: list[int]) -> None:
    made = services(parse_bootstrap_set(seeds_body(exposure={"type": kind})), ["seed-0"])
    assert [port["port"] for each in made for port in each["spec"]["ports"]] == ports


def test_a_pod_may_end_for_its_drain_a_short_registration_and_a_minute() -> None:
    assert grace_seconds(parse_relay_set(relays_body(drain={"timeout": "10m"}))) == 720
    quick = relays_body(drain={"timeout": "30s"}, registration={"maxExpires": "20s"})
    assert grace_seconds(parse_relay_set(quick)) == 110


def test_ports_of_all_sets_each_once() -> None:
    relays = parse_relay_set(relays_body())
    assert phone_ports([relays, relays]) == (PhonePort(5060, "TCP"), PhonePort(5060, "UDP"))
