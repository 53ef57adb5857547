"""What serves one set: its peers' configuration, and the Services that phones and others use.

Pure. `peer.json` is rendered from the node's own struct, so that the two sides cannot drift. A
single peer's objects belong in `peer`.
"""

import msgspec

from chordial_node.config import Acknowledge, Transport
from chordial_node.pod_config import PodConfig, PodListener
from chordial_operator.names import (
    CONFIG_KEY,
    OVERLAY_PORT,
    PEER_LABEL,
    PEER_SIP_PORT,
    config_name,
    peers_name,
    phones_service_name,
)
from chordial_operator.resources.objects import (
    Surroundings,
    of_set,
    peer_labels,
    peers_of,
)
from chordial_operator.resources.overlay import PhonePort
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay
from chordial_operator.spec.peer_set import Listener, PeerSet

ACKNOWLEDGE: dict[str, Acknowledge] = {"Primary": "primary", "Quorum": "quorum", "All": "all"}
SHORT_REGISTRATION_SECONDS = 60.0
"""What a draining edge grants at most (fleet H2)."""


def pod_config(
    overlay: Overlay, peer_set: PeerSet, surroundings: Surroundings, overlay_name: str
) -> PodConfig:
    """Return what all peers of a set are told."""
    otlp = overlay.telemetry.otlp
    return PodConfig(
        overlay_name=overlay_name,
        role=peer_set.role,
        domain=overlay.realm,
        domains=overlay.domains[1:],
        peers_host=f"{peers_name(overlay.meta.name)}.{overlay.meta.namespace}.svc",
        enrollment=surroundings.enrollment,
        copies=overlay.copies,
        acknowledge=ACKNOWLEDGE[overlay.acknowledge],
        successors=overlay.successors,
        max_value_bytes=overlay.limits.max_value_size.amount,
        listeners=tuple(_listener(each) for each in peer_set.listeners),
        advertise=peer_set.advertise.addresses,
        advertise_from="node" if peer_set.advertised_from == "Node" else "pod",
        max_expires_seconds=max(1, int(peer_set.registration.max_expires)),
        keepalive_seconds=float(peer_set.registration.keep_alive),
        max_contacts=overlay.limits.max_contacts_per_user,
        transactions=overlay.limits.max_transactions_per_peer,
        drain_timeout_seconds=float(peer_set.drain.timeout),
        stops_as="restart" if peer_set.storage.type == "Volume" else "leave",
        otlp_endpoint=otlp.endpoint if otlp is not None else "",
        has_otlp_headers=otlp is not None and otlp.headers_secret_ref is not None,
        sampling_ratio=overlay.telemetry.sample_per_mille / 1000,
        log_level=overlay.telemetry.log_level.lower(),
    )


def config_map(peer_set: PeerSet, config: PodConfig) -> Manifest:
    """Return the ConfigMap that all peers of a set mount."""
    text = msgspec.json.format(msgspec.json.encode(config), indent=2).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": of_set(peer_set, config_name(peer_set.meta.name)),
        "data": {CONFIG_KEY: text + "\n"},
    }


def grace_seconds(peer_set: PeerSet) -> int:
    """Return how long a pod may take to end: drain, a short registration, a minute (2.1)."""
    short = min(SHORT_REGISTRATION_SECONDS, float(peer_set.registration.max_expires))
    return int(float(peer_set.drain.timeout) + short + 60)


def phone_ports(sets: list[PeerSet]) -> tuple[PhonePort, ...]:
    """Return on which ports any of these sets listens for phones, each once, in order."""
    found = {PhonePort(each.port, _protocol(each)): None for s in sets for each in s.listeners}
    return tuple(sorted(found))


def services(peer_set: PeerSet, peers: list[str]) -> list[Manifest]:
    """Return the Services of a set: one for all its peers, or one for each of them."""
    ports = _phone_ports(peer_set) if peer_set.role == "relay" else _overlay_ports(peer_set)
    if not ports:
        return []
    if peer_set.exposure.scope == "Set":
        return [_service(peer_set, phones_service_name(peer_set.meta.name), ports, None)]
    return [_service(peer_set, peer, ports, peer) for peer in peers]


def _service(peer_set: PeerSet, name: str, ports: list[Manifest], peer: str | None) -> Manifest:
    exposure = peer_set.exposure
    metadata = of_set(peer_set, name)
    selector = peers_of(peer_set)
    if peer is not None:
        metadata["labels"] = peer_labels(peer_set, peer)
        selector = {**selector, PEER_LABEL: peer}
    if exposure.annotations:
        metadata["annotations"] = dict(exposure.annotations)
    spec: Manifest = {
        "type": exposure.type,
        "ipFamilyPolicy": exposure.ip_family_policy,
        "sessionAffinity": "ClientIP",
        "selector": selector,
        "ports": ports,
    }
    if exposure.type in ("NodePort", "LoadBalancer"):
        spec["externalTrafficPolicy"] = exposure.external_traffic_policy
    if exposure.type == "LoadBalancer":
        if exposure.load_balancer_class is not None:
            spec["loadBalancerClass"] = exposure.load_balancer_class
        if exposure.load_balancer_source_ranges:
            spec["loadBalancerSourceRanges"] = list(exposure.load_balancer_source_ranges)
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _phone_ports(peer_set: PeerSet) -> list[Manifest]:
    if peer_set.exposure.type == "HostPort":
        return []  # phones reach the Nodes themselves
    wanted = {each.listener: each.port for each in peer_set.exposure.node_ports}
    has_node_ports = peer_set.exposure.type != "ClusterIP" and peer_set.exposure.scope == "Set"
    ports = []
    for listener in peer_set.listeners:
        port: Manifest = {
            "name": listener.name,
            "protocol": _protocol(listener),
            "port": listener.port,
            "targetPort": listener.port,
        }
        if has_node_ports and listener.name in wanted:
            port["nodePort"] = wanted[listener.name]
        ports.append(port)
    return ports


def _overlay_ports(peer_set: PeerSet) -> list[Manifest]:
    """Seeds are found by the headless Service; one more is for peers of elsewhere alone."""
    if peer_set.exposure.type in ("ClusterIP", "HostPort"):
        return []
    return [
        {"name": "grpc", "protocol": "TCP", "port": OVERLAY_PORT, "targetPort": OVERLAY_PORT},
        {"name": "sip-peer", "protocol": "TCP", "port": PEER_SIP_PORT, "targetPort": PEER_SIP_PORT},
    ]


def _listener(listener: Listener) -> PodListener:
    return PodListener(
        name=listener.name,
        transport=Transport(listener.transport.lower()),
        port=listener.port,
        certificate=listener.name if listener.certificate_ref is not None else "",
    )


def _protocol(listener: Listener) -> str:
    return "UDP" if listener.transport == "UDP" else "TCP"
