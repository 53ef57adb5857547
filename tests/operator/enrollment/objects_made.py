"""What an API server says of a peer that may enroll; tests change one thing and see it refused."""

import copy
from typing import TypeAlias

from chordial_operator.enrollment.checks import Evidence

Object: TypeAlias = dict[str, object]

NAMESPACE, OVERLAY, SET, PEER = "phones", "voice", "edge", "edge-0"
POD = f"{PEER}-0"
POD_UID, STATEFUL_SET_UID, SET_UID, OVERLAY_UID = "pod-1", "sts-1", "set-1", "overlay-1"
NODE_ID = "0123456789abcdef0123456789abcdef"
ACCOUNT = f"{OVERLAY}-peer"
GROUP = "chordial.dev/v1alpha1"


def owner(kind: str, name: str, uid: str, api_version: str) -> Object:
    return {
        "apiVersion": api_version, "kind": kind, "name": name, "uid": uid,
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def token() -> Object:
    return {
        "authenticated": True,
        "audiences": ["chordial"],
        "user": {
            "username": f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}",
            "uid": "account-1",
            "groups": ["system:serviceaccounts"],
            "extra": {
                "authentication.kubernetes.io/pod-name": [POD],
                "authentication.kubernetes.io/pod-uid": [POD_UID],
                "authentication.kubernetes.io/node-name": ["worker-1"],
            },
        },
    }


def pod() -> Object:
    return {
        "metadata": {
            "name": POD, "namespace": NAMESPACE, "uid": POD_UID, "resourceVersion": "7",
            "ownerReferences": [owner("StatefulSet", PEER, STATEFUL_SET_UID, "apps/v1")],
        },
        "spec": {"nodeName": "worker-1", "serviceAccountName": ACCOUNT, "containers": []},
        "status": {"phase": "Running"},
    }  # fmt: skip


def stateful_set(**annotations: str) -> Object:
    return {
        "metadata": {
            "name": PEER, "namespace": NAMESPACE, "uid": STATEFUL_SET_UID, "resourceVersion": "8",
            "annotations": {"chordial.dev/node-id": NODE_ID, **annotations},
            "ownerReferences": [owner("RelaySet", SET, SET_UID, GROUP)],
        },
        "spec": {"replicas": 1},
    }  # fmt: skip


def peer_set() -> Object:
    return {
        "metadata": {"name": SET, "namespace": NAMESPACE, "uid": SET_UID, "resourceVersion": "9"},
        "spec": {
            "overlayRef": {"name": OVERLAY},
            "advertise": {"addresses": ["sip.example.org", "192.0.2.7"]},
        },
    }


def overlay() -> Object:
    return {
        "apiVersion": GROUP,
        "kind": "Overlay",
        "metadata": {
            "name": OVERLAY, "namespace": NAMESPACE, "uid": OVERLAY_UID, "resourceVersion": "10",
            "generation": 1,
        },
        "spec": {"domains": ["voice.example.org"]},
    }  # fmt: skip


def evidence(**changes: Object | None) -> Evidence:
    """All that proves a peer, with some of it exchanged."""
    whole: dict[str, Object | None] = {
        "pod": pod(), "stateful_set": stateful_set(), "peer_set": peer_set(), "overlay": overlay(),
    }  # fmt: skip
    reviewed = changes.pop("token", None) or token()
    return Evidence(token=reviewed, **{**whole, **changes})


def changed(body: Object, path: str, value: object) -> Object:
    """Return a copy of an object with the field at a path of keys (by /) set to a value."""
    made: Object = copy.deepcopy(body)
    *parents, last = path.split("|")
    place: Object = made
    for key in parents:
        inner = place[key]
        assert isinstance(inner, dict)
        place = inner
    place[last] = value
    return made
