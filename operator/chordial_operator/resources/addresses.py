"""The addresses that phones are told: the spec's own, else those of the Service (fleet H25).

Pure. Peers take them up while running, so they may come later than the pods.
"""

from collections.abc import Mapping
from ipaddress import ip_address

from chordial_node.pod_config import PodExposure
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.peer_set import PeerSet

MOST_ADDRESSES = 31


def advertised_addresses(peer_set: PeerSet, service: Manifest | None) -> tuple[str, ...]:
    """Return what phones of a set dial; empty: each pod's own addresses.

    `service` is the set's Service as it stands. Where each peer has a Service or a Node port of its
    own there is no address of all.
    """
    if peer_set.advertise.addresses:
        return peer_set.advertise.addresses
    if peer_set.advertised_from != "Service" or peer_set.exposure.scope == "Peer":
        return ()
    if service is None or not peer_set.listeners:
        return ()
    return tuple(service_addresses(service)[:MOST_ADDRESSES])


def is_address_pending(peer_set: PeerSet, service: Manifest | None) -> bool:
    """Tell whether phones cannot be told yet where the set is: its load balancer has no address."""
    if peer_set.advertise.addresses or peer_set.advertised_from != "Service":
        return False
    if peer_set.exposure.type != "LoadBalancer" or peer_set.exposure.scope == "Peer":
        return False
    return service is None or not service_addresses(service)


def exposed_peers(
    peer_set: PeerSet, services: Mapping[str, Manifest | None]
) -> dict[str, PodExposure]:
    """Return how phones reach each peer that has a Service of its own, by the peer's name.

    Of a Node port only the port is known here: the pod knows on which Node it is.
    """
    exposure = peer_set.exposure
    is_own = exposure.scope == "Peer" and peer_set.advertised_from == "Service"
    if not is_own or not peer_set.listeners:
        return {}
    found = {}
    for name, service in sorted(services.items()):
        if service is None:
            continue
        if exposure.type == "NodePort":
            made = PodExposure(ports=_node_ports(service))
        else:
            made = PodExposure(advertise=tuple(service_addresses(service)[:MOST_ADDRESSES]))
        if made != PodExposure():
            found[name] = made
    return found


def _node_ports(service: Manifest) -> dict[str, int]:
    ports = (service.get("spec") or {}).get("ports") or ()
    return {each["name"]: each["nodePort"] for each in ports if each.get("nodePort")}


def service_addresses(service: Manifest) -> list[str]:
    """Return where a Service is reached: its load balancer's addresses, else the cluster's."""
    spec = service.get("spec") or {}
    if spec.get("type") == "LoadBalancer":
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        return [host for each in ingress if (host := each.get("ip") or each.get("hostname"))]
    found = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [address for address in found if _is_address(address)]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
