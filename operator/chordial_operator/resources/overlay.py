"""What serves a whole overlay: bundle, account, the peers' Service, budget, network policy.

Pure, in the order in which they are applied (fleet H22). What serves one set belongs in `peer_set`.
"""

import msgspec

from chordial_operator.names import (
    BUNDLE_HASH_KEY,
    ENROLLMENT_ROOT_KEY,
    INSTANCE_ID_KEY,
    OVERLAY_PORT,
    PEER_SIP_PORT,
    PROBE_PORT,
    ROOTS_KEY,
    SEQUENCE_KEY,
    account_name,
    budget_name,
    bundle_name,
    peers_name,
)
from chordial_operator.resources.objects import Surroundings, all_peers, of_overlay
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"


class Bundle(msgspec.Struct, frozen=True):
    """What a peer must know before it has a certificate: whom to believe."""

    roots: str
    """The overlay's one or two authorities, PEM."""
    enrollment_root: str
    """The authority of the enrollment server, PEM."""
    instance_id: str
    bundle_hash: str
    """Of the authorities and key numbers: another one tells peers to enroll again."""
    sequence: int
    """Of the signed configuration: so does a later one."""


class PhonePort(msgspec.Struct, frozen=True, order=True):
    """A port on which some relay of the overlay listens for phones."""

    port: int
    protocol: str
    """TCP or UDP."""


def overlay_resources(
    overlay: Overlay,
    bundle: Bundle,
    surroundings: Surroundings,
    *,
    min_available: int,
    phone_ports: tuple[PhonePort, ...] = (),
) -> list[Manifest]:
    """Return everything that an overlay needs beside its sets."""
    made = [
        bundle_map(overlay, bundle),
        service_account(overlay),
        peers_service(overlay),
        disruption_budget(overlay, min_available),
    ]
    if overlay.network_policy.mode == "Managed":
        made.append(network_policy(overlay, surroundings, phone_ports))
    return made


def bundle_map(overlay: Overlay, bundle: Bundle) -> Manifest:
    """Return the ConfigMap that every peer reads before it enrolls."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": of_overlay(overlay, bundle_name(overlay.meta.name)),
        "data": {
            ROOTS_KEY: bundle.roots,
            ENROLLMENT_ROOT_KEY: bundle.enrollment_root,
            INSTANCE_ID_KEY: bundle.instance_id,
            BUNDLE_HASH_KEY: bundle.bundle_hash,
            SEQUENCE_KEY: str(bundle.sequence),
        },
    }


def service_account(overlay: Overlay) -> Manifest:
    """Return the account of the peers: it may do nothing, and its tokens prove who asks."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": of_overlay(overlay, account_name(overlay.meta.name)),
        "automountServiceAccountToken": False,
    }


def peers_service(overlay: Overlay) -> Manifest:
    """Return the headless Service by which peers find each other, ready or not."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": of_overlay(overlay, peers_name(overlay.meta.name)),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "ipFamilyPolicy": "PreferDualStack",
            "selector": all_peers(overlay.meta.name),
            "ports": [
                _port("grpc", OVERLAY_PORT),
                _port("sip-peer", PEER_SIP_PORT),
            ],
        },
    }


def disruption_budget(overlay: Overlay, min_available: int) -> Manifest:
    """Return the one budget over all peers, seeds and relays together (fleet H8)."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": of_overlay(overlay, budget_name(overlay.meta.name)),
        "spec": {
            "minAvailable": min_available,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": all_peers(overlay.meta.name)},
        },
    }


def network_policy(
    overlay: Overlay, surroundings: Surroundings, phone_ports: tuple[PhonePort, ...]
) -> Manifest:
    """Return who may speak to the peers; to whom they speak is not limited: phones are anywhere."""
    peers = {"podSelector": {"matchLabels": all_peers(overlay.meta.name)}}
    operator = {
        "namespaceSelector": {"matchLabels": {_NAMESPACE_LABEL: surroundings.operator_namespace}}
    }
    scrapers = [{"namespaceSelector": selector} for selector in overlay.network_policy.metrics_from]
    ingress: list[Manifest] = [
        {
            "from": [peers, operator],
            "ports": [_allowed(OVERLAY_PORT)],
        },
        {"from": [peers], "ports": [_allowed(PEER_SIP_PORT)]},
        {"ports": [_allowed(PROBE_PORT)], **({"from": scrapers} if scrapers else {})},
    ]
    if phone_ports:
        ingress.append({"ports": [_allowed(each.port, each.protocol) for each in phone_ports]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": of_overlay(overlay, peers_name(overlay.meta.name)),
        "spec": {
            "podSelector": {"matchLabels": all_peers(overlay.meta.name)},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def _port(name: str, port: int) -> Manifest:
    return {"name": name, "protocol": "TCP", "port": port, "targetPort": port}


def _allowed(port: int, protocol: str = "TCP") -> Manifest:
    return {"protocol": protocol, "port": port}
