"""What keeps a set's peers from running, read from the objects of Kubernetes: sentences.

Pure. Each says what to do; an empty sentence means that nothing hinders.
"""

from collections.abc import Iterable, Mapping, Sequence

from chordial_operator.decisions.health import REPORT_SECONDS
from chordial_operator.decisions.views import PeerView
from chordial_operator.spec.manifest import Manifest, meta_of
from chordial_operator.spec.peer_set import PeerSet
from chordial_operator.status.conditions import listed

VOLUME_SECONDS = 60.0
POD_SECONDS = 15.0


def volumes_pending(claims: Iterable[Manifest], now: float) -> str:
    """Return why volumes are missing: no class to make them, or nobody has made them for long."""
    classless, slow = [], []
    for claim in claims:
        meta, spec = meta_of(claim), claim.get("spec") or {}
        if (claim.get("status") or {}).get("phase", "Pending") != "Pending" or meta.deletion:
            continue
        if spec.get("storageClassName") is None:
            if now - meta.creation >= POD_SECONDS:
                classless.append(meta.name)
        elif now - meta.creation >= VOLUME_SECONDS:
            slow.append(meta.name)
    if classless:
        return (
            f"{listed(classless)} wait for a volume and the cluster has no default StorageClass:"
            " name one in spec.storage.storageClassName of a new set, make one the default, or use"
            " storage.type EmptyDir."
        )
    if slow:
        return (
            f"{listed(slow)} wait for a volume: `kubectl describe persistentvolumeclaim {slow[0]}`"
            " tells what its StorageClass says."
        )
    return ""


def podless(peers: Sequence[PeerView], now: float) -> list[str]:
    """Return the peers that should have a pod and have had none for too long."""
    return [
        peer.name
        for peer in peers
        if peer.pod is None
        and not peer.is_leaving
        and now - peer.created_at >= POD_SECONDS
        and (peer.report is None or now - peer.report.at >= REPORT_SECONDS)
    ]


def pods_refused(peer_set: PeerSet, peers: Sequence[PeerView], now: float, said: str = "") -> str:
    """Return why pods are not made; `said` is what the API server told the StatefulSet."""
    without = podless(peers, now)
    if not without:
        return ""
    advice = f"`kubectl describe statefulset {without[0]}` tells why"
    if peer_set.exposure.type == "HostPort":
        advice += "; host ports need a namespace whose Pod Security level is privileged"
    told = f" ({said})" if said else ""
    return f"No pod is made for {listed(without)}{told}: {advice}."


def overlay_not_found(overlay: str, namespace: str) -> str:
    """Return that an Overlay is missing."""
    return (
        f"There is no Overlay {overlay} in namespace {namespace}: create it, and"
        " this object goes on."
    )


def name_taken(kind: str, name: str, other: str) -> str:
    """Return that the objects of a set would have the names of another's."""
    return (
        f"{other} has the names that the objects of {kind} {name} would have: delete one of them,"
        " and make it again under another name."
    )


def certificates_missing(peer_set: PeerSet, secrets: Mapping[str, bool]) -> str:
    """Return which TLS listeners do not serve; `secrets` tells of each name whether it is there."""
    missing = [
        f"{listener.name} (Secret {listener.certificate_ref.name})"
        for listener in peer_set.listeners
        if listener.certificate_ref is not None
        and not secrets.get(listener.certificate_ref.name, True)
    ]
    if not missing:
        return ""
    return f"Listeners without their kubernetes.io/tls Secret do not serve: {listed(missing)}."


def address_pending(peer_set: PeerSet, found: Sequence[str]) -> str:
    """Return that nobody can tell phones an address yet; until then relays tell their pods'."""
    if found:
        return ""
    name, source = peer_set.meta.name, peer_set.advertised_from
    if source == "Service" and peer_set.exposure.type == "LoadBalancer":
        return (
            f"Service {name} has no load balancer's address yet: if that stays so, nothing in this"
            " cluster makes load balancers; set advertise.addresses or another exposure.type."
        )
    return f"No address was found for phones from {source}: set advertise.addresses."


def own_addresses_pending(peer_set: PeerSet, awaited: Sequence[str]) -> str:
    """Return which peers' own load balancers have no address yet; pods tell theirs until then."""
    is_own = peer_set.exposure.scope == "Peer" and peer_set.advertised_from == "Service"
    if not is_own or peer_set.exposure.type != "LoadBalancer" or not awaited:
        return ""
    return (
        f"Services {listed(awaited)} have no load balancer's address yet: if that stays so, nothing"
        " in this cluster makes load balancers; set another exposure.type."
    )


def with_causes(peers: Iterable[PeerView]) -> str:
    """Return peers for a sentence, each with why its pod waits where that is known."""
    return listed(
        [
            f"{peer.name} ({peer.pod.waiting})" if peer.pod and peer.pod.waiting else peer.name
            for peer in peers
        ]
    )
