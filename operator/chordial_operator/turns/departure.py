"""Peers that leave by choice, and peers that are lost: each step of their end (fleet 2.3, H6).

What the step is, is decided in `decisions.finish` and `decisions.replacement`; who leaves, in
`decisions.scale_in`. A drain is told to the node itself first: its pod's end alone would be a
restart.
"""

import asyncio

from chordial_node.boundary.control import Drain
from chordial_node.client import PeerUnreachableError
from chordial_operator.cluster.errors import ConflictError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.cluster.protocol import Happening
from chordial_operator.decisions import disruption, finish, replacement
from chordial_operator.decisions.replacement import Lost, Object
from chordial_operator.decisions.views import PeerView
from chordial_operator.enrollment.rotation import revoked
from chordial_operator.names import (
    PEER_LABEL,
    RELAY,
    ROLE_LABEL,
    SEED,
    SET_LABEL,
    budget_name,
    pod_name,
)
from chordial_operator.queue import GONE, Key, Next
from chordial_operator.resources.comparison import marked
from chordial_operator.resources.overlay import disruption_budget
from chordial_operator.spec.manifest import Manifest, ObjectMeta, meta_of
from chordial_operator.spec.peer_set import PeerSet
from chordial_operator.turns.context import Context, NotReadyYetError, Peers, log
from chordial_operator.turns.restart import peer_manifest
from chordial_operator.turns.scene import Scene, revision

ASKED_SECONDS = 3.0
"""How long the operator waits for a peer to begin its drain; its end is seen, not waited for."""
WAITS_SECONDS = 5.0
MOST_TOLD = 2_000
MOST_TIMES_TOLD = 5
"""Whoever leaves answers at the end, later than that is waited for; or was not reached at all."""


async def finish_leaving(
    context: Context, scene: Scene, peer_set: PeerSet, body: Manifest
) -> float | None:
    """Take the next step of every peer of a set that leaves; return when to look again."""
    again = None
    for peer in scene.own(peer_set):
        if not peer.is_leaving or peer.name in scene.lost:
            continue
        step = finish.next_step(
            peer, scene.peers, removes_volume=peer_set.storage.reclaim == "Delete"
        )
        again = WAITS_SECONDS
        if step.step == "Drain":
            await _drain(context, scene, peer_set, peer)
        elif step.step == "Remove":
            await _remove(context, scene, peer, step.remove)
            if step.outcome:
                is_late = step.outcome == "DrainTimedOut"
                happening = Happening(
                    step.outcome, step.why, "Warning" if is_late else "Normal", action="ScaleIn"
                )
                await context.tell(body, happening)
    return again


async def set_gone(context: Context, key: Key, overlay: str) -> Next:
    """Tell the peers of a deleted set to leave: their pods' end alone would be a restart (H19).

    Their volumes are reclaimed by the Overlay's turn, as their claims say.
    """
    role = SEED if key.kind == "BootstrapSet" else RELAY
    pods = [
        meta
        for meta in map(meta_of, context.observed.of("Pod", key.namespace, overlay))
        if meta.labels.get(SET_LABEL) == key.name and meta.labels.get(ROLE_LABEL) == role
    ]
    await _tell_all(context, key.namespace, overlay, pods)
    if pods:
        return Next(after=WAITS_SECONDS)
    context.wake(Key("Overlay", key.namespace, overlay))
    return GONE


async def tell_setless(context: Context, namespace: str, overlay: str) -> None:
    """Tell those to leave whose set was deleted while no operator looked, and that run yet (H19a).

    A set may also be deleted without its peers (`--cascade=orphan`): those stand, and are left.
    """
    pods = [
        meta
        for meta in map(meta_of, context.observed.of("Pod", namespace, overlay))
        if _has_no_set(context, meta) and _is_ending(context, meta)
    ]
    await _tell_all(context, namespace, overlay, pods)


def _has_no_set(context: Context, pod: ObjectMeta) -> bool:
    kind = "BootstrapSet" if pod.labels.get(ROLE_LABEL) == SEED else "RelaySet"
    name = pod.labels.get(SET_LABEL, "")
    return bool(name) and context.observed.one(kind, pod.namespace, name) is None


def _is_ending(context: Context, pod: ObjectMeta) -> bool:
    peer = context.observed.one("StatefulSet", pod.namespace, pod.labels.get(PEER_LABEL, ""))
    return pod.deletion or peer is None or meta_of(peer).deletion


async def _tell_all(context: Context, namespace: str, overlay: str, pods: list[ObjectMeta]) -> None:
    """Tell all of them at once: then none hands over to another that leaves.

    Who has not answered is told in the next turns as well, a few times. That a peer drains does not
    tell that it leaves: its pod's end alone has it drain as for a restart.
    """
    memory = context.memory(namespace, overlay)
    peers = context.peers(namespace, overlay)

    async def tell(name: str, pod: str) -> None:
        times = memory.told_to_leave.get(pod, 0) + 1
        has_answered = await _tell_to_leave(peers, name)
        memory.told_to_leave[pod] = MOST_TIMES_TOLD if has_answered else times

    async with asyncio.TaskGroup() as group:
        for pod in pods:
            if memory.told_to_leave.get(pod.uid, 0) < MOST_TIMES_TOLD:
                group.create_task(tell(pod.labels.get(PEER_LABEL, ""), pod.uid))
    while len(memory.told_to_leave) > MOST_TOLD:
        memory.told_to_leave.pop(next(iter(memory.told_to_leave)))


async def _tell_to_leave(peers: Peers, name: str) -> bool:
    """Return whether it answered: at the end of its drain, mostly long after this."""
    try:
        await peers.ask(name, Drain(), ASKED_SECONDS)
    except (PeerUnreachableError, TimeoutError) as error:
        log.info("%s has not answered yet that it leaves: %s", name, error)
        return False
    return True


async def replace_lost(
    context: Context, scene: Scene, peer_set: PeerSet, body: Manifest
) -> float | None:
    """Take the next step of every lost peer of a set; return when to look again."""
    own = scene.own(peer_set)
    steps = replacement.steps(
        own,
        scene.peers,
        scene.lost,
        scene.identity.revoked,
        peer_set.replicas,
        removes_volume=peer_set.storage.reclaim == "Delete",
    )
    for step in steps:
        if step.step == "Fence":
            await _fence(context, scene, step, body)
        elif step.step == "Remove":
            gone = next(peer for peer in own if peer.name == step.name)
            await _remove(context, scene, gone, step.remove)
            await context.tell(body, Happening("PeerReplaced", step.why, action="Replace"))
    if steps:
        return WAITS_SECONDS
    return replacement.next_lost_at(own, scene.replace_after, scene.now)


async def _fence(context: Context, scene: Scene, lost: Lost, body: Manifest) -> None:
    """Shut an identity out for good, before another takes its place; then look again."""
    await context.store.change(scene.overlay, lambda record: revoked(record, lost.node_id))
    await context.tell(body, Happening("PeerLost", lost.why, "Warning", action="Replace"))
    context.wake(Key("Overlay", scene.overlay.meta.namespace, scene.overlay.meta.name))
    raise NotReadyYetError(lost.why, after=0.5)


async def _drain(context: Context, scene: Scene, peer_set: PeerSet, peer: PeerView) -> None:
    """Tell a peer to leave, then end its pod: Terminating, it serves its phones until the end."""
    namespace, overlay = scene.overlay.meta.namespace, scene.overlay.meta.name
    if peer.pod is not None and peer.pod.ip and not peer.is_unreachable:
        await _tell_to_leave(context.peers(namespace, overlay), peer.name)
    seen = context.observed.one("StatefulSet", namespace, peer.name)
    if seen is None:
        return
    made = revision(context, scene, peer_set)
    nought = marked(peer_manifest(context, scene, peer_set, peer, made, is_ending=True))
    nought["metadata"]["resourceVersion"] = seen["metadata"]["resourceVersion"]
    try:
        await context.cluster.apply(nought)
    except ConflictError as error:
        raise NotReadyYetError(f"{peer.name} has just changed: {error}") from error


async def _remove(
    context: Context, scene: Scene, peer: PeerView, objects: tuple[Object, ...]
) -> None:
    """Delete what is left of a peer, in this order; the budget is lowered first (fleet H8)."""
    namespace = scene.overlay.meta.namespace
    for kind in objects:
        if kind == "PodDisruptionBudget":
            await _lower_budget(context, scene, peer)
            continue
        name = pod_name(peer.name) if kind == "Pod" else peer.name
        seen = context.observed.one(kind, namespace, name)
        if seen is not None:
            uid = seen["metadata"]["uid"]
            await context.cluster.delete(Ref(kind, namespace, name), uid, at_once=kind == "Pod")
    context.wake(Key("Overlay", namespace, scene.overlay.meta.name))


async def _lower_budget(context: Context, scene: Scene, peer: PeerView) -> None:
    namespace, name = scene.overlay.meta.namespace, scene.overlay.meta.name
    seen = context.observed.one("PodDisruptionBudget", namespace, budget_name(name))
    previous = (seen or {}).get("spec", {}).get("minAvailable")
    left = [other for other in scene.peers if other.name != peer.name]
    budget = disruption.min_available(
        left, scene.lost, scene.overlay.disruption.max_unavailable, previous
    )
    await context.apply([disruption_budget(scene.overlay, budget)])
