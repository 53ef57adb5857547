"""What keeps peers from running is told with what to do."""

import msgspec

from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.peer_set import PeerSet, parse_relay_set
from chordial_operator.status import hindrances
from tests.operator.decisions.views_made import peer, report

NOW = 1000.0
CREATED = "1970-01-01T00:15:00Z"  # 900 s


def relay_set(**spec: object) -> PeerSet:
    told = {"overlayRef": {"name": "calls"}, "replicas": 2, **spec}
    return parse_relay_set({"metadata": {"name": "edge", "namespace": "voice"}, "spec": told})


def claim(name: str, phase: str = "Pending", **spec: object) -> Manifest:
    return {
        "metadata": {"name": name, "creationTimestamp": CREATED},
        "spec": spec,
        "status": {"phase": phase},
    }


def test_a_cluster_without_default_class_is_told() -> None:
    said = hindrances.volumes_pending([claim("edge-0"), claim("edge-1", "Bound")], NOW)
    assert said.startswith("edge-0 wait for a volume and the cluster has no default StorageClass")
    assert hindrances.volumes_pending([claim("edge-0")], 901.0) == ""


def test_a_class_that_makes_no_volume_is_told_after_a_minute() -> None:
    slow = [claim("edge-0", storageClassName="local")]
    assert "kubectl describe persistentvolumeclaim edge-0" in hindrances.volumes_pending(slow, NOW)
    assert hindrances.volumes_pending(slow, 950.0) == ""
    assert hindrances.volumes_pending([], NOW) == ""


def test_pods_that_are_not_made_are_told_with_advice() -> None:
    podless = msgspec.structs.replace(peer("edge-0"), pod=None, report=None)
    said = hindrances.pods_refused(relay_set(), [podless], NOW, "exceeded quota")
    assert said == (
        "No pod is made for edge-0 (exceeded quota): `kubectl describe statefulset edge-0` tells"
        " why."
    )
    on_host = relay_set(exposure={"type": "HostPort"})
    assert "privileged" in hindrances.pods_refused(on_host, [podless], NOW)


def test_a_peer_between_two_pods_is_not_refused() -> None:
    between = msgspec.structs.replace(peer("edge-0"), pod=None, report=report(at=NOW - 5))
    assert hindrances.pods_refused(relay_set(), [between, peer("edge-1")], NOW) == ""
    young = msgspec.structs.replace(between, report=None, created_at=NOW - 5)
    assert hindrances.pods_refused(relay_set(), [young], NOW) == ""


def test_listeners_without_their_secret_are_told() -> None:
    tls = {"name": "tls", "transport": "TLS", "port": 5061, "certificateRef": {"name": "web"}}
    listeners = relay_set(listeners=[tls, {"name": "udp", "transport": "UDP", "port": 5060}])
    said = hindrances.certificates_missing(listeners, {"web": False})
    assert (
        said == "Listeners without their kubernetes.io/tls Secret do not serve: tls (Secret web)."
    )
    assert hindrances.certificates_missing(listeners, {"web": True}) == ""


def test_an_address_that_is_awaited_is_told_with_what_makes_one() -> None:
    balanced = relay_set(exposure={"type": "LoadBalancer"})
    assert "nothing in this cluster makes load balancers" in hindrances.address_pending(
        balanced, []
    )
    assert hindrances.address_pending(balanced, ["192.0.2.1"]) == ""
    assert "from Service" in hindrances.address_pending(relay_set(), [])


def test_a_missing_overlay_is_named() -> None:
    assert "no Overlay calls in namespace voice" in hindrances.overlay_not_found("calls", "voice")
