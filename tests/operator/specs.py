"""Small custom resources for tests of the operator."""

from chordial_node.config import Endpoint
from chordial_operator.resources.objects import Surroundings
from chordial_operator.spec.manifest import Manifest

NAMESPACE = "calls"
SURROUNDINGS = Surroundings(
    enrollment=Endpoint("chordial.operator.svc", 6085),
    operator_namespace="operator",
    node_image="registry.example/chordial/node:1.0",
)
UDP: Manifest = {"name": "udp", "transport": "UDP", "port": 5060}
TCP: Manifest = {"name": "tcp", "transport": "TCP", "port": 5060}


def custom(kind: str, name: str, spec: Manifest, **annotations: str) -> Manifest:
    return {
        "apiVersion": "chordial.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-of-{name}",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": spec,
    }


def overlay_body(**spec: object) -> Manifest:
    return custom("Overlay", "voice", {"domains": ["voice.example.org"], **spec})


def seeds_body(name: str = "seed", **spec: object) -> Manifest:
    return custom("BootstrapSet", name, {"overlayRef": {"name": "voice"}, **spec})


def relays_body(name: str = "edge", **spec: object) -> Manifest:
    return custom(
        "RelaySet", name, {"overlayRef": {"name": "voice"}, "listeners": [UDP, TCP], **spec}
    )


def user_body(name: str = "alice", **spec: object) -> Manifest:
    return custom(
        "SipUser", name, {"overlayRef": {"name": "voice"}, "user": name, "generate": {}, **spec}
    )
