"""Everything that an overlay needs beside its sets, object by object."""

from chordial_operator.resources.overlay import Bundle, PhonePort, overlay_resources
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import parse_overlay
from tests.operator.specs import SURROUNDINGS, overlay_body

BUNDLE = Bundle("roots\n", "root\n", "abcd", "0f", 7)
LABELS = {
    "app.kubernetes.io/name": "chordial",
    "app.kubernetes.io/component": "overlay",
    "app.kubernetes.io/instance": "voice",
    "app.kubernetes.io/managed-by": "chordial-operator",
    "chordial.dev/overlay": "voice",
}
PEERS = {"app.kubernetes.io/name": "chordial", "chordial.dev/overlay": "voice"}


def meta(name: str) -> Manifest:
    owner = {
        "apiVersion": "chordial.dev/v1alpha1",
        "kind": "Overlay",
        "name": "voice",
        "uid": "uid-of-voice",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"name": name, "namespace": "calls", "labels": LABELS, "ownerReferences": [owner]}


def made(**spec: object) -> list[Manifest]:
    return overlay_resources(
        parse_overlay(overlay_body(**spec)),
        BUNDLE,
        SURROUNDINGS,
        min_available=4,
        phone_ports=(PhonePort(5060, "TCP"), PhonePort(5060, "UDP")),
    )


def test_what_peers_believe_is_applied_first() -> None:
    assert made()[0] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta("voice-bundle"),
        "data": {
            "roots.pem": "roots\n",
            "enrollment.pem": "root\n",
            "instance-id": "abcd",
            "bundle-hash": "0f",
            "sequence": "7",
        },
    }


def test_the_whole_of_an_overlay_in_the_order_of_its_first_apply() -> None:
    assert made()[1:] == [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": meta("voice-peer"),
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta("voice-peers"),
            "spec": {
                "type": "ClusterIP",
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "ipFamilyPolicy": "PreferDualStack",
                "selector": PEERS,
                "ports": [
                    {"name": "grpc", "protocol": "TCP", "port": 6084, "targetPort": 6084},
                    {"name": "sip-peer", "protocol": "TCP", "port": 5081, "targetPort": 5081},
                ],
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta("voice"),
            "spec": {
                "minAvailable": 4,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": PEERS},
            },
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": meta("voice-peers"),
            "spec": {
                "podSelector": {"matchLabels": PEERS},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [
                            {"podSelector": {"matchLabels": PEERS}},
                            {
                                "namespaceSelector": {
                                    "matchLabels": {"kubernetes.io/metadata.name": "operator"}
                                }
                            },
                        ],
                        "ports": [{"protocol": "TCP", "port": 6084}],
                    },
                    {
                        "from": [{"podSelector": {"matchLabels": PEERS}}],
                        "ports": [{"protocol": "TCP", "port": 5081}],
                    },
                    {"ports": [{"protocol": "TCP", "port": 8080}]},
                    {
                        "ports": [
                            {"protocol": "TCP", "port": 5060},
                            {"protocol": "UDP", "port": 5060},
                        ]
                    },
                ],
            },
        },
    ]


def test_no_network_policy_where_somebody_else_writes_them() -> None:
    kinds = [each["kind"] for each in made(networkPolicy={"mode": "None"})]
    assert "NetworkPolicy" not in kinds


def test_metrics_are_for_the_namespaces_that_the_spec_names() -> None:
    selector = {"matchLabels": {"team": "metrics"}}
    policy = made(networkPolicy={"metricsFrom": [selector]})[-1]
    assert policy["spec"]["ingress"][2] == {
        "from": [{"namespaceSelector": selector}],
        "ports": [{"protocol": "TCP", "port": 8080}],
    }
