"""The names that everybody must spell alike: labels, annotations, ports, paths, object names.

Pure strings (fleet 2.1, style A20). What is made under a name is the affair of `resources`; what
both sides of a pod know (ports, paths) is told by the node's own `pod_config` and only named here.
"""

from typing import Final

from chordial_node import pod_config

GROUP = "chordial.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "chordial-operator"

OVERLAY_LABEL = f"{GROUP}/overlay"
SET_LABEL = f"{GROUP}/set"
PEER_LABEL = f"{GROUP}/peer"
"""Its value is the name of the peer's StatefulSet."""
ROLE_LABEL = f"{GROUP}/role"
NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
INSTANCE_LABEL = "app.kubernetes.io/instance"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
APPLICATION = "chordial"
OURS = f"{MANAGED_BY_LABEL}={FIELD_MANAGER}"
"""Selects everything that the operator makes."""

NODE_ID_ANNOTATION = f"{GROUP}/node-id"
LEAVING_ANNOTATION = f"{GROUP}/leaving"
REMOVE_FIRST_ANNOTATION = f"{GROUP}/remove-first"
FORCE_SCALE_IN_ANNOTATION = f"{GROUP}/force-scale-in"
RESTARTED_AT_ANNOTATION = f"{GROUP}/restartedAt"
TEMPLATE_HASH_ANNOTATION = f"{GROUP}/template-hash"
RECLAIM_ANNOTATION = f"{GROUP}/reclaim"
"""On a volume claim: what becomes of it once nothing else of its peer is left."""

SEED: Final = "seed"
RELAY: Final = "relay"

OVERLAY_PORT = pod_config.OVERLAY_PORT
PEER_SIP_PORT = pod_config.PEER_SIP_PORT
PROBE_PORT = pod_config.PROBE_PORT
ENROLLMENT_PORT = 6085
LIVENESS_PATH = "/healthz"
READINESS_PATH = "/readyz"
METRICS_PATH = "/metrics"

CONFIG_DIR = "/etc/chordial/config"
CONFIG_KEY = "peer.json"
BUNDLE_DIR = "/etc/chordial/bundle"
ROOTS_KEY = "roots.pem"
ENROLLMENT_ROOT_KEY = "enrollment.pem"
INSTANCE_ID_KEY = "instance-id"
BUNDLE_HASH_KEY = "bundle-hash"
SEQUENCE_KEY = "sequence"
TLS_DIR = "/etc/chordial/tls"
OTLP_HEADERS_DIR = "/etc/chordial/otlp-headers"
TOKEN_DIR = "/var/run/secrets/chordial"
TOKEN_KEY = "token"
TOKEN_AUDIENCE = "chordial"
TOKEN_SECONDS = 3600
STATE_DIR = "/var/lib/chordial"

POD_NAME_VARIABLE = "CHORDIAL_POD_NAME"
POD_IPS_VARIABLE = "CHORDIAL_POD_IPS"
NODE_NAME_VARIABLE = "CHORDIAL_NODE_NAME"
HOST_IPS_VARIABLE = "CHORDIAL_HOST_IPS"
PEER_VARIABLE = "CHORDIAL_PEER"
NODE_ID_VARIABLE = "CHORDIAL_NODE_ID"

ENROLLMENT_SECRET = "chordial-enrollment"
"""In the operator's namespace: the enrollment server's authority and certificate."""
FIRST_OVERLAY_MANAGER = "chordial-first-overlay"


def bundle_name(overlay: str) -> str:
    """Return the name of an overlay's ConfigMap with roots and instance id."""
    return f"{overlay}-bundle"


def peers_name(overlay: str) -> str:
    """Return the name of an overlay's headless Service, and of its NetworkPolicy."""
    return f"{overlay}-peers"


def account_name(overlay: str) -> str:
    """Return the name of the ServiceAccount of an overlay's peers."""
    return f"{overlay}-peer"


def budget_name(overlay: str) -> str:
    """Return the name of an overlay's PodDisruptionBudget."""
    return overlay


def admin_secret_name(overlay: str) -> str:
    """Return the name of the Secret with the command's certificate."""
    return f"{overlay}-admin"


def authority_secret_name(namespace: str, overlay: str) -> str:
    """Return the name of an overlay's CA Secret in the operator's namespace."""
    return f"ca-{namespace}-{overlay}"


def config_name(set_name: str) -> str:
    """Return the name of a set's ConfigMap."""
    return f"{set_name}-config"


def phones_service_name(set_name: str) -> str:
    """Return the name of a set's Service for phones."""
    return set_name


def peer_name(set_name: str, number: int) -> str:
    """Return the name of a peer: of its StatefulSet, its volume claim, its own Service."""
    return f"{set_name}-{number}"


def pod_name(peer: str) -> str:
    """Return the name of the one pod of a peer's StatefulSet."""
    return f"{peer}-0"


def peer_number(set_name: str, peer: str) -> int | None:
    """Return the number in a peer's name; None where the name is not one of this set."""
    prefix, _, digits = peer.rpartition("-")
    is_number = digits.isascii() and digits.isdigit() and digits == str(int(digits))
    return int(digits) if prefix == set_name and is_number else None


def set_selector(overlay: str, set_name: str) -> str:
    """Return the label selector of a set's pods, as `/scale` tells it to an HPA."""
    return f"{SET_LABEL}={set_name},{OVERLAY_LABEL}={overlay}"
