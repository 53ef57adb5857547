"""One peer: a StatefulSet of one and its volume, named by a number, with a Node-ID for life.

Pure (fleet H6, H7, H22, H23). The pod is "restricted" by Pod Security, host ports apart. When a
peer is made, changed or removed is decided in `decisions` and `turns`, never here.
"""

import msgspec

from chordial_node.pod_config import TAKEN_UP, PodConfig
from chordial_operator.names import (
    NODE_ID_ANNOTATION,
    PEER_LABEL,
    RECLAIM_ANNOTATION,
    RESTARTED_AT_ANNOTATION,
    TEMPLATE_HASH_ANNOTATION,
    peers_name,
)
from chordial_operator.resources.comparison import fingerprint
from chordial_operator.resources.objects import (
    Surroundings,
    of_set,
    peer_labels,
    peers_of,
)
from chordial_operator.resources.pod import Identity, Revision, pod_template
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Image, Overlay
from chordial_operator.spec.peer_set import PeerSet


def image_of(image: Image | None, surroundings: Surroundings) -> str:
    """Return the image of peers; what the Overlay leaves empty is the operator's default."""
    name, _, digest = surroundings.node_image.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    if image is None or not (image.repository or image.tag or image.digest):
        return surroundings.node_image
    repository = image.repository or head
    if image.digest:
        return f"{repository}@{image.digest}"
    if image.tag:
        return f"{repository}:{image.tag}"
    own = f"{repository}:{tag}" if tag else repository
    return f"{own}@{digest}" if digest and repository == head else own


def pull_policy_of(image: Image | None, surroundings: Surroundings) -> str:
    """Return when the image of peers is pulled."""
    return image.pull_policy if image is not None else surroundings.node_image_pull_policy


def revision_of(
    overlay: Overlay, peer_set: PeerSet, surroundings: Surroundings, config: PodConfig
) -> Revision:
    """Return the revision that the specs ask for now.

    Its hash covers what the specs say, not how this operator spells it: a new operator alone
    restarts nobody, unless the upgrade strategy is Automatic (fleet H16).
    """
    image = image_of(overlay.image, surroundings)
    policy = pull_policy_of(overlay.image, surroundings)
    restarted_at = " ".join(
        stamp
        for stamp in (
            overlay.meta.annotations.get(RESTARTED_AT_ANNOTATION, ""),
            peer_set.meta.annotations.get(RESTARTED_AT_ANNOTATION, ""),
        )
        if stamp
    )
    told = msgspec.to_builtins(config)
    for running in TAKEN_UP:
        told.pop(running, None)
    said = msgspec.to_builtins(
        {
            "config": told,
            "otlp": overlay.telemetry.otlp,
            "restartedAt": restarted_at,
            "image": overlay.image,
            "imagePullSecrets": overlay.image_pull_secrets,
            "resources": peer_set.resources,
            "storage": peer_set.storage.type,
            "nodeSelector": peer_set.node_selector,
            "tolerations": peer_set.tolerations,
            "affinity": peer_set.affinity,
            "spread": peer_set.topology_spread_constraints,
            "priority": peer_set.priority_class_name,
            "podMetadata": peer_set.pod_metadata,
            "listeners": peer_set.listeners,
            "isOnHostPorts": peer_set.exposure.type == "HostPort",
            "unreachableAfter": float(peer_set.unreachable_after),
            "default": image if overlay.upgrade.strategy == "Automatic" else "",
        },
        str_keys=True,
    )
    return Revision(fingerprint(said), image, policy)


def claim(peer_set: PeerSet, peer: str) -> Manifest:
    """Return a peer's volume claim; it has no owner, so that it outlives its set (fleet H19a)."""
    storage = peer_set.storage
    metadata = of_set(peer_set, peer)
    del metadata["ownerReferences"]
    metadata["labels"] = peer_labels(peer_set, peer)
    metadata["annotations"] = {RECLAIM_ANNOTATION: storage.reclaim}
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(storage.size)}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": spec,
    }


def stateful_set(
    overlay: Overlay,
    peer_set: PeerSet,
    surroundings: Surroundings,
    identity: Identity,
    revision: Revision,
    *,
    is_leaving: bool = False,
) -> Manifest:
    """Return a peer's StatefulSet of one; at nought while the peer leaves."""
    labels = peer_labels(peer_set, identity.name)
    metadata = of_set(peer_set, identity.name)
    metadata["labels"] = labels
    metadata["annotations"] = {
        NODE_ID_ANNOTATION: identity.node_id.hex(),
        TEMPLATE_HASH_ANNOTATION: revision.template_hash,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": 0 if is_leaving else 1,
            "serviceName": peers_name(overlay.meta.name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {**peers_of(peer_set), PEER_LABEL: identity.name}},
            "template": pod_template(overlay, peer_set, surroundings, identity, revision),
        },
    }
