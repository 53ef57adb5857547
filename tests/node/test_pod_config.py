"""A pod's configuration: every problem at once, and the node's configuration made of it."""

import json

import msgspec
import pytest

from chordial_node.config import ConfigError, Endpoint, NodeConfig, Transport, parse
from chordial_node.pod_config import (
    PodConfig,
    PodExposure,
    PodListener,
    PodPaths,
    PodPlace,
    PodStanding,
    node_config,
    parse_pod,
    place_problems,
    taken_up,
)

FOUNDERS = ("0a" * 16, "0b" * 16)
RELAY = PodConfig(
    overlay_name="default.voice",
    role="relay",
    domain="voice.example.org",
    peers_host="voice-peers.default.svc",
    enrollment=Endpoint("chordial-enrollment.system.svc", 6085),
    listeners=(
        PodListener("udp", Transport.UDP, 5060),
        PodListener("tcp", Transport.TCP, 5060),
        PodListener("tls", Transport.TLS, 5061, certificate="edge"),
        PodListener("own", Transport.TLS, 5062),
    ),
)
PLACE = PodPlace("edge-0", ("10.0.0.5", "fd00::5"), "worker-1")


def made(pod: PodConfig, place: PodPlace = PLACE, domain: str = "zone-a/worker-1") -> NodeConfig:
    return node_config(pod, place, PodPaths("/tmp/pod"), PodStanding(FOUNDERS, domain))


def problems(**change: object) -> str:
    document = {**json.loads(msgspec.json.encode(RELAY)), **change}
    with pytest.raises(ConfigError) as caught:
        parse_pod(json.dumps(document))
    return str(caught.value)


def test_domains_are_named_once_and_in_lower_case() -> None:
    told = problems(domains=["Other.Example", "voice.example.org", ""])
    assert "domains must hold names in lower case, not 'Other.Example'" in told
    assert "domains names a domain twice, or the default one again" in told
    assert "more than 15" in problems(domains=[f"d{number}.example" for number in range(16)])


def test_what_is_rendered_is_read_back() -> None:
    assert parse_pod(msgspec.json.encode(RELAY)) == RELAY


def test_the_nodes_configuration_can_be_used() -> None:
    config = made(RELAY)
    assert parse(msgspec.json.encode(config)) == config
    assert config.overlay.founders == FOUNDERS
    assert config.overlay.failure_domain == "zone-a/worker-1"
    assert str(config.overlay.advertise) == "10.0.0.5:6084"
    assert [each.host for each in config.overlay.seed_names] == ["voice-peers.default.svc"]
    assert config.storage.path == "/tmp/pod/var/lib/chordial/values.db"


def test_each_listener_is_bound_at_each_address_and_never_at_a_wildcard() -> None:
    listeners = made(RELAY).sip.listeners
    assert [str(each.bind) for each in listeners[:4]] == [
        "10.0.0.5:5060",
        "[fd00::5]:5060",
        "10.0.0.5:5060",
        "[fd00::5]:5060",
    ]
    assert listeners[-1].transport is Transport.PEER
    assert str(listeners[-1].bind) == "10.0.0.5:5081"
    assert [each.advertise for each in listeners] == [None] * 9


def test_a_tls_listener_has_its_secret_or_a_certificate_of_the_overlay() -> None:
    listeners = made(RELAY).sip.listeners
    assert (listeners[4].certificate, listeners[4].key) == (
        "/tmp/pod/etc/chordial/tls/edge/tls.crt",
        "/tmp/pod/etc/chordial/tls/edge/tls.key",
    )
    assert listeners[6].certificate == "/tmp/pod/var/lib/chordial/identity/listener.pem"


def test_phones_are_told_the_first_advertised_host_that_leads_to_an_address() -> None:
    pod = msgspec.structs.replace(RELAY, advertise=("203.0.113.9", "sip.example.org"))
    listeners = made(pod).sip.listeners
    assert [str(each.advertised) for each in listeners[:2]] == [
        "203.0.113.9:5060",
        "sip.example.org:5060",
    ]
    assert listeners[-1].advertise is None


def test_phones_may_be_told_the_addresses_of_the_kubernetes_node() -> None:
    place = msgspec.structs.replace(PLACE, node_addresses=("192.0.2.7", "2001:db8::7"))
    pod = msgspec.structs.replace(RELAY, advertise_from="node")
    listeners = made(pod, place).sip.listeners
    assert [str(each.advertised) for each in listeners[:2]] == [
        "192.0.2.7:5060",
        "[2001:db8::7]:5060",
    ]


def test_further_hosts_are_known_as_ours() -> None:
    pod = msgspec.structs.replace(RELAY, advertise=("203.0.113.9", "sip.example.org"))
    assert [each.also_known for each in made(pod).sip.listeners[:2]] == [("sip.example.org",), ()]


def test_a_pod_with_a_service_of_its_own_tells_that_ones_address() -> None:
    by_peer = {"edge-0": PodExposure(advertise=("203.0.113.9",)), "edge-9": PodExposure()}
    pod = msgspec.structs.replace(RELAY, by_peer=by_peer)
    assert str(made(pod).sip.listeners[0].advertised) == "203.0.113.9:5060"
    other = msgspec.structs.replace(PLACE, name="edge-1")
    assert made(pod, other).sip.listeners[0].advertise is None


def test_a_pod_behind_ports_of_its_node_tells_that_node_and_those_ports() -> None:
    by_peer = {"edge-0": PodExposure(ports={"udp": 31_060})}
    pod = msgspec.structs.replace(RELAY, by_peer=by_peer)
    place = msgspec.structs.replace(PLACE, node_addresses=("192.0.2.7",))
    assert str(made(pod, place).sip.listeners[0].advertised) == "192.0.2.7:31060"
    assert taken_up(RELAY, msgspec.structs.replace(pod, copies=2)) == pod


def test_a_running_pod_takes_up_what_is_advertised_and_nothing_else() -> None:
    read = msgspec.structs.replace(RELAY, advertise=("203.0.113.9",), copies=2, domain="other.test")
    assert taken_up(RELAY, read) == msgspec.structs.replace(RELAY, advertise=("203.0.113.9",))


def test_a_seed_serves_no_phones_and_the_kubernetes_node_is_its_domain() -> None:
    pod = msgspec.structs.replace(RELAY, role="seed", listeners=())
    config = made(pod, domain="")
    assert [each.transport for each in config.sip.listeners] == [Transport.PEER]
    assert config.overlay.failure_domain == "worker-1"


def test_registrations_may_be_shorter_than_the_usual_shortest() -> None:
    sip = made(msgspec.structs.replace(RELAY, max_expires_seconds=20)).sip
    assert (sip.min_expires_seconds, sip.max_expires_seconds) == (20, 20)


def test_all_problems_are_told_together() -> None:
    told = problems(
        domain="Voice",
        peers_host="",
        successors=2,
        advertise=["a b"],
        listeners=[
            {"name": "udp", "transport": "udp", "port": 5060, "certificate": "edge"},
            {"name": "udp", "transport": "udp", "port": 5060},
            {"name": "T", "transport": "tcp", "port": 6084},
            {"name": "p", "transport": "peer", "port": 7000},
        ],
    )
    for part in (
        "domain must be a name in lower case",
        "peers_host must be a host name",
        "successors is less than copies",
        "advertise[0] must be a host name or an address, not 'a b'",
        "listeners[0].certificate is for transport tls alone",
        "listeners[1].name 'udp' is there twice",
        "listeners[1].port 5060 (udp) is taken by listeners[0]",
        "listeners[2].name must be a-z",
        "listeners[2].port 6084 (tcp) is taken by the overlay",
        "listeners[3].transport must be udp, tcp or tls",
    ):
        assert part in told


def test_role_and_listeners_fit() -> None:
    assert "a relay without one serves no phone" in problems(listeners=[])
    assert "a seed serves no phones" in problems(role="seed")


def test_what_a_newer_operator_says_is_ignored_where_it_is_not_known() -> None:
    document = {**json.loads(msgspec.json.encode(RELAY)), "colour": "green"}
    assert parse_pod(json.dumps(document)) == RELAY


def test_what_stands_at_its_default_is_not_told() -> None:
    told = msgspec.to_builtins(RELAY)
    assert "log_level" not in told
    assert msgspec.convert(told, PodConfig) == RELAY


def test_a_place_needs_name_and_addresses() -> None:
    assert place_problems(PLACE) == []
    told = "; ".join(place_problems(PodPlace("", ("0.0.0.0", "here"))))
    assert "CHORDIAL_PEER is empty" in told
    assert "must not hold a wildcard: 0.0.0.0" in told
    assert "not 'here'" in told
    assert place_problems(PodPlace("a", ())) == [
        "the pod has no address: CHORDIAL_POD_IPS is empty"
    ]
