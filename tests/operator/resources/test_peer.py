"""The objects of one peer, compared whole, and what decides that it must be restarted."""

from chordial_node.ids import node_id
from chordial_operator.resources.objects import Surroundings
from chordial_operator.resources.peer import (
    claim,
    image_of,
    revision_of,
    stateful_set,
)
from chordial_operator.resources.peer_set import pod_config
from chordial_operator.resources.pod import Identity, Revision
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Image, parse_overlay
from chordial_operator.spec.peer_set import PeerSet, parse_bootstrap_set, parse_relay_set
from tests.operator.specs import SURROUNDINGS, UDP, overlay_body, relays_body, seeds_body

NODE_ID = "ab" * 16
LABELS = {
    "app.kubernetes.io/name": "chordial",
    "app.kubernetes.io/component": "seed",
    "app.kubernetes.io/instance": "voice",
    "app.kubernetes.io/managed-by": "chordial-operator",
    "chordial.dev/overlay": "voice",
    "chordial.dev/set": "seed",
    "chordial.dev/role": "seed",
    "chordial.dev/peer": "seed-3",
}
SET_PODS = {
    "app.kubernetes.io/name": "chordial",
    "chordial.dev/overlay": "voice",
    "chordial.dev/set": "seed",
}
ANNOTATIONS = {"chordial.dev/node-id": NODE_ID, "chordial.dev/template-hash": "hash"}


def probe(path: str, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "probes", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def field(path: str) -> Manifest:
    return {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}


def made(peer_set: PeerSet, **overlay: object) -> Manifest:
    return stateful_set(
        parse_overlay(overlay_body(**overlay)),
        peer_set,
        SURROUNDINGS,
        Identity("seed-3", node_id(NODE_ID)),
        Revision("hash", SURROUNDINGS.node_image, "IfNotPresent"),
    )


def test_the_whole_of_a_seed() -> None:
    assert made(parse_bootstrap_set(seeds_body())) == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": "seed-3",
            "namespace": "calls",
            "labels": LABELS,
            "annotations": ANNOTATIONS,
            "ownerReferences": [
                {
                    "apiVersion": "chordial.dev/v1alpha1",
                    "kind": "BootstrapSet",
                    "name": "seed",
                    "uid": "uid-of-seed",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "replicas": 1,
            "serviceName": "voice-peers",
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {**SET_PODS, "chordial.dev/peer": "seed-3"}},
            "template": {
                "metadata": {"labels": LABELS, "annotations": ANNOTATIONS},
                "spec": POD,
            },
        },
    }


POD: Manifest = {
    "serviceAccountName": "voice-peer",
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "shareProcessNamespace": True,
    "terminationGracePeriodSeconds": 240,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "tolerations": [
        {
            "key": f"node.kubernetes.io/{word}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 30,
        }
        for word in ("unreachable", "not-ready")
    ],
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "nodeTaintsPolicy": "Honor",
            "labelSelector": {"matchLabels": SET_PODS},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ],
    "containers": [
        {
            "name": "peer",
            "image": "registry.example/chordial/node:1.0",
            "imagePullPolicy": "IfNotPresent",
            "args": ["--pod"],
            "env": [
                {"name": "CHORDIAL_POD_NAME", "valueFrom": field("metadata.name")},
                {"name": "CHORDIAL_POD_IPS", "valueFrom": field("status.podIPs")},
                {"name": "CHORDIAL_NODE_NAME", "valueFrom": field("spec.nodeName")},
                {"name": "CHORDIAL_HOST_IPS", "valueFrom": field("status.hostIPs")},
                {"name": "CHORDIAL_PEER", "value": "seed-3"},
                {"name": "CHORDIAL_NODE_ID", "value": NODE_ID},
            ],
            "ports": [
                {"name": "grpc", "containerPort": 6084, "protocol": "TCP"},
                {"name": "sip-peer", "containerPort": 5081, "protocol": "TCP"},
                {"name": "probes", "containerPort": 8080, "protocol": "TCP"},
            ],
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"memory": "512Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "startupProbe": probe("/healthz", 2, 60),
            "livenessProbe": probe("/healthz", 10, 3),
            "readinessProbe": probe("/readyz", 1, 3),
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/chordial/config", "readOnly": True},
                {"name": "bundle", "mountPath": "/etc/chordial/bundle", "readOnly": True},
                {"name": "token", "mountPath": "/var/run/secrets/chordial", "readOnly": True},
                {"name": "state", "mountPath": "/var/lib/chordial"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }
    ],
    "volumes": [
        {"name": "config", "configMap": {"name": "seed-config"}},
        {"name": "bundle", "configMap": {"name": "voice-bundle"}},
        {
            "name": "token",
            "projected": {
                "sources": [
                    {
                        "serviceAccountToken": {
                            "audience": "chordial",
                            "expirationSeconds": 3600,
                            "path": "token",
                        }
                    }
                ]
            },
        },
        {"name": "state", "persistentVolumeClaim": {"claimName": "seed-3"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ],
}


def test_a_volume_claim_has_no_owner() -> None:
    storage = {"size": "2Gi", "storageClassName": "fast"}
    assert claim(parse_bootstrap_set(seeds_body(storage=storage)), "seed-3") == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "seed-3",
            "namespace": "calls",
            "labels": LABELS,
            "annotations": {"chordial.dev/reclaim": "Delete"},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}},
            "storageClassName": "fast",
        },
    }


def pod_of(peer_set: PeerSet, **overlay: object) -> Manifest:
    spec: Manifest = made(peer_set, **overlay)["spec"]["template"]["spec"]
    return spec


def test_a_certificate_of_a_secret_that_is_not_there_stops_nobody() -> None:
    tls = {"name": "tls", "transport": "TLS", "port": 5061, "certificateRef": {"name": "edge-tls"}}
    pod = pod_of(parse_relay_set(relays_body(listeners=[UDP, tls])))
    assert pod["volumes"][-1] == {
        "name": "tls-tls",
        "secret": {"secretName": "edge-tls", "optional": True},
    }
    assert pod["containers"][0]["volumeMounts"][-1]["mountPath"] == "/etc/chordial/tls/tls"


def test_headers_for_the_collector_are_mounted_where_the_spec_names_them() -> None:
    relays = parse_relay_set(relays_body())
    otlp = {"endpoint": "http://collector:4317", "headersSecretRef": {"name": "collector-key"}}
    pod = pod_of(relays, telemetry={"otlp": otlp})
    assert pod["volumes"][-1] == {
        "name": "otlp-headers",
        "secret": {"secretName": "collector-key", "optional": True},
    }
    mounted = pod["containers"][0]["volumeMounts"][-1]
    assert mounted["mountPath"] == "/etc/chordial/otlp-headers"
    plain = pod_of(relays, telemetry={"otlp": {"endpoint": "http://collector:4317"}})
    assert "otlp-headers" not in str(plain)


def test_without_a_volume_a_peer_forgets() -> None:
    pod = pod_of(parse_bootstrap_set(seeds_body(storage={"type": "EmptyDir"})))
    assert pod["volumes"][3] == {"name": "state", "emptyDir": {"sizeLimit": "1Gi"}}


def test_host_ports_are_asked_for_only_where_the_spec_says_so() -> None:
    usual = pod_of(parse_relay_set(relays_body()))["containers"][0]["ports"]
    assert not [port for port in usual if "hostPort" in port]
    ports = pod_of(parse_relay_set(relays_body(exposure={"type": "HostPort"})))
    assert [port.get("hostPort") for port in ports["containers"][0]["ports"]][3:] == [5060, 5060]


def test_a_leaving_peer_is_at_nought() -> None:
    overlay = parse_overlay(overlay_body())
    manifest = stateful_set(
        overlay,
        parse_bootstrap_set(seeds_body()),
        SURROUNDINGS,
        Identity("seed-3", node_id(NODE_ID)),
        Revision("hash", "image", "Always"),
        is_leaving=True,
    )
    assert manifest["spec"]["replicas"] == 0


def hash_of(
    peer_set: Manifest | None = None,
    overlay: Manifest | None = None,
    surroundings: Surroundings = SURROUNDINGS,
) -> str:
    parsed = parse_overlay(overlay or overlay_body())
    relays = parse_relay_set(peer_set or relays_body())
    config = pod_config(parsed, relays, surroundings, "calls.voice")
    return revision_of(parsed, relays, surroundings, config).template_hash


NEWER = Surroundings(
    enrollment=SURROUNDINGS.enrollment,
    operator_namespace="operator",
    node_image="registry.example/chordial/node:2.0",
)


def test_what_needs_no_restart_leaves_the_hash_as_it_is() -> None:
    usual = hash_of()
    assert hash_of(relays_body(replicas=7)) == usual
    assert hash_of(relays_body(advertise={"addresses": ["192.0.2.1"]})) == usual
    assert hash_of(relays_body(advertise={"from": "Node"})) == usual
    assert hash_of(relays_body(scaleIn={"stabilization": "5s"})) == usual
    assert hash_of(relays_body(exposure={"type": "NodePort"})) == usual


def test_a_new_operator_alone_changes_the_hash_only_where_upgrades_are_automatic() -> None:
    assert hash_of(surroundings=NEWER) == hash_of()
    automatic = overlay_body(upgrade={"strategy": "Automatic"})
    assert hash_of(overlay=automatic, surroundings=NEWER) != hash_of(overlay=automatic)


def test_what_the_pods_are_made_of_changes_the_hash() -> None:
    usual = hash_of()
    assert hash_of(relays_body(resources={"limits": {"memory": "1Gi"}})) != usual
    assert hash_of(relays_body(listeners=[UDP])) != usual
    assert hash_of(relays_body(drain={"timeout": "1m"})) != usual
    assert hash_of(overlay=overlay_body(image={"tag": "2.0"})) != usual
    keys = [{"endpoint": "https://c", "headersSecretRef": {"name": name}} for name in "ab"]
    first, second = [hash_of(overlay=overlay_body(telemetry={"otlp": otlp})) for otlp in keys]
    assert first != second
    restarted = relays_body()
    restarted["metadata"]["annotations"] = {"chordial.dev/restartedAt": "2026-02-01T00:00:00Z"}
    assert hash_of(restarted) != usual


def test_what_an_image_leaves_empty_is_the_operators() -> None:
    assert image_of(None, SURROUNDINGS) == "registry.example/chordial/node:1.0"
    assert image_of(Image(tag="2.0"), SURROUNDINGS) == "registry.example/chordial/node:2.0"
    assert image_of(Image(repository="a.example:5000/n"), SURROUNDINGS) == "a.example:5000/n:1.0"
    digest = "sha256:" + "0" * 64
    assert (
        image_of(Image(digest=digest), SURROUNDINGS) == f"registry.example/chordial/node@{digest}"
    )
