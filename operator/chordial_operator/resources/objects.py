"""What all objects that the operator makes have in common: labels, owners, selectors.

Pure. What one kind of object holds belongs in the module of its kind.
"""

from typing import Literal

import msgspec

from chordial_node.config import Endpoint
from chordial_operator.names import (
    API_VERSION,
    APPLICATION,
    COMPONENT_LABEL,
    FIELD_MANAGER,
    INSTANCE_LABEL,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    OVERLAY_LABEL,
    PEER_LABEL,
    ROLE_LABEL,
    SET_LABEL,
)
from chordial_operator.spec.manifest import Manifest, ObjectMeta
from chordial_operator.spec.overlay import Overlay
from chordial_operator.spec.peer_set import PeerSet


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator itself was told and all its overlays share."""

    enrollment: Endpoint
    """Where peers get their certificates."""
    operator_namespace: str
    node_image: str
    """The image of peers where an Overlay names none."""
    node_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()


def overlay_labels(overlay: str) -> dict[str, str]:
    """Return the labels of an object that serves a whole overlay."""
    return {
        NAME_LABEL: APPLICATION,
        COMPONENT_LABEL: "overlay",
        INSTANCE_LABEL: overlay,
        MANAGED_BY_LABEL: FIELD_MANAGER,
        OVERLAY_LABEL: overlay,
    }


def set_labels(peer_set: PeerSet) -> dict[str, str]:
    """Return the labels of an object that serves one set."""
    return {
        **overlay_labels(peer_set.overlay),
        COMPONENT_LABEL: peer_set.role,
        SET_LABEL: peer_set.meta.name,
        ROLE_LABEL: peer_set.role,
    }


def peer_labels(peer_set: PeerSet, peer: str) -> dict[str, str]:
    """Return the labels of the objects of one peer, its pod included."""
    return {**set_labels(peer_set), PEER_LABEL: peer}


def all_peers(overlay: str) -> dict[str, str]:
    """Return the labels that every pod of an overlay has, and nothing else."""
    return {NAME_LABEL: APPLICATION, OVERLAY_LABEL: overlay}


def peers_of(peer_set: PeerSet) -> dict[str, str]:
    """Return the labels that every pod of a set has, and nothing else."""
    return {**all_peers(peer_set.overlay), SET_LABEL: peer_set.meta.name}


def owner(kind: str, meta: ObjectMeta) -> list[Manifest]:
    """Return the reference that has an object collected when its owner is deleted."""
    return [
        {
            "apiVersion": API_VERSION,
            "kind": kind,
            "name": meta.name,
            "uid": meta.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def of_overlay(overlay: Overlay, name: str) -> Manifest:
    """Return the metadata of an object that an Overlay owns."""
    return {
        "name": name,
        "namespace": overlay.meta.namespace,
        "labels": overlay_labels(overlay.meta.name),
        "ownerReferences": owner("Overlay", overlay.meta),
    }


def of_set(peer_set: PeerSet, name: str) -> Manifest:
    """Return the metadata of an object that a set owns."""
    return {
        "name": name,
        "namespace": peer_set.meta.namespace,
        "labels": set_labels(peer_set),
        "ownerReferences": owner(peer_set.kind, peer_set.meta),
    }
