"""Standing peers as their specs want them, and the restarts of an upgrade (fleet H16, 2.4).

A peer's template is applied only while it is of the present revision, or when an upgrade has come
to it: else a pod that dies by itself would come back as something new. Which peer is next is
decided in `decisions.upgrade`.
"""

import msgspec

from chordial_operator.cluster.errors import ConflictError, TooManyRequestsError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.cluster.protocol import Happening
from chordial_operator.decisions.upgrade import Restart, UpgradeRules, UpgradeStep, next_step
from chordial_operator.decisions.views import PeerView
from chordial_operator.names import pod_name
from chordial_operator.resources.peer import stateful_set
from chordial_operator.resources.pod import CONTAINER, Identity, Revision
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.peer_set import PeerSet
from chordial_operator.turns.context import Context
from chordial_operator.turns.scene import Scene, revision, wanted_by_peer

EVICTED_SECONDS = 2.0


async def apply_standing(context: Context, scene: Scene, peer_set: PeerSet, made: Revision) -> None:
    """Apply the StatefulSets of the peers that are of the present revision."""
    for peer in scene.own(peer_set):
        if peer.template_hash != made.template_hash or not stands(scene, peer):
            continue
        seen = context.observed.one("StatefulSet", peer_set.meta.namespace, peer.name)
        if seen is not None:
            kept = _keeping_image(scene, seen, made)
            await context.apply([peer_manifest(context, scene, peer_set, peer, kept)])


def stands(scene: Scene, peer: PeerView) -> bool:
    """Tell whether a peer is to go on: what ends is not mended, else it would come back."""
    return not peer.is_leaving and peer.name not in scene.lost


async def restart_next(
    context: Context, scene: Scene, body: Manifest
) -> tuple[UpgradeStep, float | None]:
    """Take the step of an upgrade that may be taken now; return it, and when to look again."""
    overlay = scene.overlay
    memory = context.memory(overlay.meta.namespace, overlay.meta.name)
    step = next_step(
        scene.peers,
        wanted_by_peer(context, scene),
        UpgradeRules(
            stabilization=float(overlay.upgrade.stabilization),
            peer_timeout=float(overlay.upgrade.peer_timeout),
            is_paused=overlay.paused,
        ),
        scene.lost,
        memory.gate,
        scene.now,
    )
    memory.gate = step.gate
    memory.is_restarting = step.is_restarting
    again = step.look_again
    if overlay.paused:
        return step, again
    by_name = {peer.name: peer for peer in scene.peers}
    for name in step.templates:
        await _apply_template(context, scene, by_name[name])
    for each in step.restarts:
        await _apply_template(context, scene, by_name[each.name])
        await _replace_pod(context, scene, each, body)
        again = EVICTED_SECONDS
    return step, again


async def _apply_template(context: Context, scene: Scene, peer: PeerView) -> None:
    for peer_set in scene.sets:
        if peer_set.meta.name == peer.set_name:
            made = revision(context, scene, peer_set)
            await context.apply([peer_manifest(context, scene, peer_set, peer, made)])


async def _replace_pod(context: Context, scene: Scene, restart: Restart, body: Manifest) -> None:
    ref = Ref("Pod", scene.overlay.meta.namespace, pod_name(restart.name))
    happening = Happening("PeerRestarted", restart.why, action="Upgrade")
    try:
        if restart.at_once:
            await context.cluster.delete(ref, restart.pod_uid)
        else:
            await context.cluster.evict(ref, restart.pod_uid)
    except (TooManyRequestsError, ConflictError):
        return  # somebody drains a node, or the pod is another one already: look again
    await context.tell(body, happening)


def peer_manifest(
    context: Context,
    scene: Scene,
    peer_set: PeerSet,
    peer: PeerView,
    made: Revision,
    *,
    is_ending: bool = False,
) -> Manifest:
    """Return a peer's StatefulSet; one that leaves stays as large as it is until it drains."""
    is_at_nought = peer.is_leaving and peer.stateful_set_replicas == 0
    return stateful_set(
        scene.overlay,
        peer_set,
        context.surroundings,
        Identity(peer.name, peer.node_id),
        made,
        is_leaving=is_ending or is_at_nought,
    )


def _keeping_image(scene: Scene, seen: Manifest, made: Revision) -> Revision:
    """Return the revision with the image that a peer has: a new operator's is for new pods."""
    image = scene.overlay.image
    is_told = image is not None and image.repository and (image.tag or image.digest)
    if is_told or scene.overlay.upgrade.strategy == "Automatic":
        return made
    containers = ((seen["spec"].get("template") or {}).get("spec") or {}).get("containers") or ()
    for container in containers:
        if container.get("name") == CONTAINER and container.get("image"):
            return msgspec.structs.replace(made, image=container["image"])
    return made
