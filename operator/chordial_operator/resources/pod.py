"""How a peer's one pod is made: its container, what is mounted, where it may run.

Pure (fleet H5, H22, H23). "Restricted" by Pod Security, host ports apart; nothing but the probe
port is plain HTTP. The StatefulSet around it belongs in `peer`.
"""

import msgspec

from chordial_node.ids import NodeId
from chordial_operator.names import (
    BUNDLE_DIR,
    CONFIG_DIR,
    HOST_IPS_VARIABLE,
    LIVENESS_PATH,
    NODE_ID_ANNOTATION,
    NODE_ID_VARIABLE,
    NODE_NAME_VARIABLE,
    OTLP_HEADERS_DIR,
    OVERLAY_PORT,
    PEER_SIP_PORT,
    PEER_VARIABLE,
    POD_IPS_VARIABLE,
    POD_NAME_VARIABLE,
    PROBE_PORT,
    READINESS_PATH,
    STATE_DIR,
    TEMPLATE_HASH_ANNOTATION,
    TLS_DIR,
    TOKEN_AUDIENCE,
    TOKEN_DIR,
    TOKEN_KEY,
    TOKEN_SECONDS,
    account_name,
    bundle_name,
    config_name,
)
from chordial_operator.resources.objects import (
    Surroundings,
    peer_labels,
    peers_of,
)
from chordial_operator.resources.peer_set import grace_seconds
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay
from chordial_operator.spec.peer_set import Listener, PeerSet

USER_ID = 10001
CONTAINER = "peer"
_UNREACHABLE = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
_SPREAD = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
_DOWNWARD = {
    POD_NAME_VARIABLE: "metadata.name",
    POD_IPS_VARIABLE: "status.podIPs",
    NODE_NAME_VARIABLE: "spec.nodeName",
    HOST_IPS_VARIABLE: "status.hostIPs",
}


class Identity(msgspec.Struct, frozen=True):
    """Who a peer is, for life."""

    name: str
    node_id: NodeId


class Revision(msgspec.Struct, frozen=True):
    """How a peer's pod is made: what decides whether a restart is due, and the image."""

    template_hash: str
    image: str
    pull_policy: str


def pod_template(
    overlay: Overlay,
    peer_set: PeerSet,
    surroundings: Surroundings,
    identity: Identity,
    revision: Revision,
) -> Manifest:
    """Return how a peer's pod is made."""
    more = peer_set.pod_metadata
    annotations = {
        **more.annotations,
        NODE_ID_ANNOTATION: identity.node_id.hex(),
        TEMPLATE_HASH_ANNOTATION: revision.template_hash,
    }
    secrets = [ref.name for ref in overlay.image_pull_secrets] or surroundings.image_pull_secrets
    spec: Manifest = {
        "serviceAccountName": account_name(overlay.meta.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # a first process ignores SIGTERM until it has said what to do then: it would end by SIGKILL
        "shareProcessNamespace": True,
        "terminationGracePeriodSeconds": grace_seconds(peer_set),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": _tolerations(peer_set),
        "topologySpreadConstraints": _spread(peer_set),
        "containers": [_container(overlay, peer_set, identity, revision)],
        "volumes": _volumes(overlay, peer_set, identity),
    }
    if secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in secrets]
    if peer_set.node_selector:
        spec["nodeSelector"] = dict(peer_set.node_selector)
    if peer_set.affinity:
        spec["affinity"] = peer_set.affinity
    if peer_set.priority_class_name:
        spec["priorityClassName"] = peer_set.priority_class_name
    labels = {**more.labels, **peer_labels(peer_set, identity.name)}
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def _container(
    overlay: Overlay, peer_set: PeerSet, identity: Identity, revision: Revision
) -> Manifest:
    return {
        "name": CONTAINER,
        "image": revision.image,
        "imagePullPolicy": revision.pull_policy,
        "args": ["--pod"],
        "env": [
            *({"name": name, "valueFrom": _field(path)} for name, path in _DOWNWARD.items()),
            {"name": PEER_VARIABLE, "value": identity.name},
            {"name": NODE_ID_VARIABLE, "value": identity.node_id.hex()},
        ],
        "ports": _ports(peer_set),
        "resources": peer_set.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # the probe port opens before the peer has a certificate, and startup asks no more (H5)
        "startupProbe": _probe(LIVENESS_PATH, period=2, failures=60),
        "livenessProbe": _probe(LIVENESS_PATH, period=10, failures=3),
        "readinessProbe": _probe(READINESS_PATH, period=1, failures=3),
        "volumeMounts": _mounts(overlay, peer_set),
    }


def _field(path: str) -> Manifest:
    return {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "probes", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _ports(peer_set: PeerSet) -> list[Manifest]:
    ports: list[Manifest] = [
        {"name": "grpc", "containerPort": OVERLAY_PORT, "protocol": "TCP"},
        {"name": "sip-peer", "containerPort": PEER_SIP_PORT, "protocol": "TCP"},
        {"name": "probes", "containerPort": PROBE_PORT, "protocol": "TCP"},
    ]
    for listener in peer_set.listeners:
        port: Manifest = {
            "name": listener.name,
            "containerPort": listener.port,
            "protocol": "UDP" if listener.transport == "UDP" else "TCP",
        }
        if peer_set.exposure.type == "HostPort":
            port["hostPort"] = listener.port
        ports.append(port)
    return ports


def _with_secret(peer_set: PeerSet) -> list[tuple[Listener, str]]:
    return [
        (each, each.certificate_ref.name)
        for each in peer_set.listeners
        if each.certificate_ref is not None
    ]


def _otlp_headers(overlay: Overlay) -> str:
    otlp = overlay.telemetry.otlp
    return "" if otlp is None or otlp.headers_secret_ref is None else otlp.headers_secret_ref.name


def _mounts(overlay: Overlay, peer_set: PeerSet) -> list[Manifest]:
    mounts: list[Manifest] = [
        {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
        {"name": "bundle", "mountPath": BUNDLE_DIR, "readOnly": True},
        {"name": "token", "mountPath": TOKEN_DIR, "readOnly": True},
        {"name": "state", "mountPath": STATE_DIR},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    for listener, _ in _with_secret(peer_set):
        path = f"{TLS_DIR}/{listener.name}"
        mounts.append({"name": f"tls-{listener.name}", "mountPath": path, "readOnly": True})
    if _otlp_headers(overlay):
        path = OTLP_HEADERS_DIR
        mounts.append({"name": "otlp-headers", "mountPath": path, "readOnly": True})
    return mounts


def _volumes(overlay: Overlay, peer_set: PeerSet, identity: Identity) -> list[Manifest]:
    state: Manifest = {"persistentVolumeClaim": {"claimName": identity.name}}
    if peer_set.storage.type == "EmptyDir":
        state = {"emptyDir": {"sizeLimit": str(peer_set.storage.size)}}
    token = {
        "audience": TOKEN_AUDIENCE,
        "expirationSeconds": TOKEN_SECONDS,
        "path": TOKEN_KEY,
    }
    volumes: list[Manifest] = [
        {"name": "config", "configMap": {"name": config_name(peer_set.meta.name)}},
        {"name": "bundle", "configMap": {"name": bundle_name(overlay.meta.name)}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "state", **state},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    for listener, secret in _with_secret(peer_set):  # a missing one stops its listener alone
        source = {"secretName": secret, "optional": True}
        volumes.append({"name": f"tls-{listener.name}", "secret": source})
    headers = _otlp_headers(overlay)
    if headers:  # a missing one costs spans, and no peer
        source = {"secretName": headers, "optional": True}
        volumes.append({"name": "otlp-headers", "secret": source})
    return volumes


def _tolerations(peer_set: PeerSet) -> list[Manifest]:
    own = [
        {
            "key": key,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": int(peer_set.unreachable_after),
        }
        for key in _UNREACHABLE
    ]
    return [*peer_set.tolerations, *own]


def _spread(peer_set: PeerSet) -> list[Manifest]:
    selector = {"matchLabels": peers_of(peer_set)}
    if peer_set.topology_spread_constraints:
        return [
            {**each, "labelSelector": selector} for each in peer_set.topology_spread_constraints
        ]
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "nodeTaintsPolicy": "Honor",
            "labelSelector": selector,
        }
        for key in _SPREAD
    ]
