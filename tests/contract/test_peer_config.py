"""What the operator writes into a set's ConfigMap is what a peer's pod reads."""

import msgspec
import pytest

from chordial_node.config import Transport, parse
from chordial_node.pod_config import (
    PodListener,
    PodPaths,
    PodPlace,
    PodStanding,
    node_config,
    parse_pod,
)
from chordial_operator import names
from chordial_operator.resources.peer_set import config_map, pod_config
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay, parse_overlay
from chordial_operator.spec.peer_set import PeerSet, parse_bootstrap_set, parse_relay_set
from tests.operator.specs import SURROUNDINGS, TCP, UDP, overlay_body, relays_body, seeds_body

TLS = {
    "name": "tls",
    "transport": "TLS",
    "port": 5061,
    "certificateRef": {"name": "edge-tls"},
}
OVERLAY = parse_overlay(
    overlay_body(
        telemetry={"otlp": {"endpoint": "http://collector:4317"}, "logLevel": "Debug"},
        limits={"maxValueSize": "8Ki", "maxContactsPerUser": 3, "maxTransactionsPerPeer": 400},
    )
)


def written(peer_set: PeerSet, overlay: Overlay = OVERLAY) -> str:
    config = pod_config(overlay, peer_set, SURROUNDINGS, "calls.voice")
    text: str = config_map(peer_set, config)["data"]["peer.json"]
    return text


@pytest.mark.parametrize(
    "peer_set",
    [
        parse_bootstrap_set(seeds_body()),
        parse_bootstrap_set(seeds_body(storage={"type": "EmptyDir"})),
        parse_relay_set(relays_body()),
        parse_relay_set(
            relays_body(
                listeners=[UDP, TCP, TLS],
                advertise={"addresses": ["sip.example.org"]},
                registration={"maxExpires": "20s", "keepAlive": "9s"},
                drain={"timeout": "30s"},
            )
        ),
    ],
)
def test_every_set_writes_what_a_pod_can_read(peer_set: PeerSet) -> None:
    parse_pod(written(peer_set))


def test_a_pod_reads_what_the_specs_say() -> None:
    peer_set = parse_relay_set(
        relays_body(
            listeners=[UDP, TLS],
            advertise={"addresses": ["sip.example.org"]},
            registration={"maxExpires": "20s"},
            drain={"timeout": "30s"},
            storage={"type": "EmptyDir"},
        )
    )
    pod = parse_pod(written(peer_set))
    assert pod.role == "relay"
    assert pod.domain == "voice.example.org"
    assert pod.peers_host == "voice-peers.calls.svc"
    assert pod.enrollment == SURROUNDINGS.enrollment
    assert pod.listeners == (
        PodListener("udp", Transport.UDP, 5060),
        PodListener("tls", Transport.TLS, 5061, "tls"),
    )
    assert pod.advertise == ("sip.example.org",)
    assert (pod.max_expires_seconds, pod.drain_timeout_seconds) == (20, 30.0)
    assert pod.stops_as == "leave"
    assert (pod.otlp_endpoint, pod.log_level) == ("http://collector:4317", "debug")


def test_a_peer_in_a_pod_keeps_the_limits_of_the_specs() -> None:
    config = node_config(
        parse_pod(written(parse_relay_set(relays_body()))),
        PodPlace("edge-0", ("10.0.0.5",)),
        PodPaths(),
        PodStanding(("0a" * 16,), "zone-a"),
    )
    assert parse(msgspec.json.encode(config)) == config
    assert config.overlay.max_value_bytes == 8192
    assert (config.sip.max_contacts, config.sip.transactions) == (3, 400)


def test_every_domain_is_served_and_the_first_is_the_default() -> None:
    overlay = parse_overlay(overlay_body(domains=["one.example", "two.example", "three.example"]))
    pod = parse_pod(written(parse_relay_set(relays_body()), overlay))
    standing = PodStanding(("0a" * 16,), "zone-a")
    sip = node_config(pod, PodPlace("edge-0", ("10.0.0.5",)), PodPaths(), standing).sip
    assert (sip.domain, sip.domains) == ("one.example", ("two.example", "three.example"))


@pytest.mark.parametrize("acknowledge", ["Primary", "Quorum", "All"])
def test_every_acknowledgement_of_the_specs_is_one_of_the_node(acknowledge: str) -> None:
    overlay = parse_overlay(overlay_body(acknowledge=acknowledge))
    pod = parse_pod(written(parse_relay_set(relays_body()), overlay))
    assert pod.acknowledge == acknowledge.lower()
    standing = PodStanding(("0a" * 16,), "zone-a")
    config = node_config(pod, PodPlace("edge-0", ("10.0.0.5",)), PodPaths(), standing)
    assert config.overlay.acknowledge == acknowledge.lower()


@pytest.mark.parametrize("secret", [{}, {"headersSecretRef": {"name": "collector-key"}}])
def test_headers_for_the_collector_come_from_where_the_operator_mounts_them(
    secret: Manifest,
) -> None:
    otlp = {"endpoint": "https://collector:4317", **secret}
    overlay = parse_overlay(overlay_body(telemetry={"otlp": otlp}))
    pod = parse_pod(written(parse_relay_set(relays_body()), overlay))
    standing = PodStanding(("0a" * 16,), "zone-a")
    config = node_config(pod, PodPlace("edge-0", ("10.0.0.5",)), PodPaths(), standing)
    assert config.telemetry.otlp_headers == (names.OTLP_HEADERS_DIR if secret else "")


@pytest.mark.parametrize("level", ["Debug", "Info", "Warning", "Error"])
def test_every_level_of_the_specs_is_one_of_the_node(level: str) -> None:
    overlay = parse_overlay(overlay_body(telemetry={"logLevel": level}))
    pod = parse_pod(written(parse_relay_set(relays_body()), overlay))
    assert pod.log_level == level.lower()


@pytest.mark.parametrize("transport", ["UDP", "TCP", "TLS"])
def test_every_transport_of_the_specs_is_one_of_the_node(transport: str) -> None:
    listener = {"name": "phones", "transport": transport, "port": 5070}
    [found] = parse_pod(written(parse_relay_set(relays_body(listeners=[listener])))).listeners
    assert found.transport.name == transport


def test_both_sides_spell_paths_alike() -> None:
    paths = PodPaths()
    assert paths.config == f"{names.CONFIG_DIR}/{names.CONFIG_KEY}"
    assert paths.bundle == names.BUNDLE_DIR
    assert paths.token == f"{names.TOKEN_DIR}/{names.TOKEN_KEY}"
    assert paths.state == names.STATE_DIR
    assert paths.otlp_headers == names.OTLP_HEADERS_DIR
    assert paths.listener("tls") == (f"{names.TLS_DIR}/tls/tls.crt", f"{names.TLS_DIR}/tls/tls.key")
