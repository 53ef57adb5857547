"""One turn of an Overlay: its authority, what all its peers share, upgrades, and what is missing.

Level-triggered: the whole desired set each time, in the order of fleet H22. A set's own objects and
peers are its own turn's affair.
"""

from chordial_operator.cluster.errors import NotFoundError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.decisions import disruption, health
from chordial_operator.enrollment.admin import admin_secret
from chordial_operator.enrollment.authority import AuthorityError
from chordial_operator.enrollment.rotation import PeerBundle, founded
from chordial_operator.names import (
    RECLAIM_ANNOTATION,
    admin_secret_name,
    budget_name,
    peers_name,
    pod_name,
)
from chordial_operator.queue import SETTLED, Key, Next
from chordial_operator.resources.comparison import is_covered
from chordial_operator.resources.overlay import Bundle, overlay_resources
from chordial_operator.resources.peer_set import phone_ports
from chordial_operator.spec.manifest import Manifest, meta_of
from chordial_operator.spec.overlay import parse_overlay
from chordial_operator.turns.configuring import tell_configuration
from chordial_operator.turns.context import Context
from chordial_operator.turns.departure import tell_setless
from chordial_operator.turns.refounding import found_again, restart_all
from chordial_operator.turns.reporting import report_overlay, report_without_authority
from chordial_operator.turns.restart import restart_next
from chordial_operator.turns.scene import Scene, look

ORPHANED_SECONDS = 120.0
"""A claim this young may belong to a peer that is being made."""
LOOKED_SECONDS = 30.0
"""How often an overlay is looked at without an event: certificates and reports get old."""


async def overlay_turn(context: Context, body: Manifest) -> Next:
    """Bring an overlay a step closer to its spec, and tell how it stands."""
    overlay = parse_overlay(body)
    if overlay.meta.deletion:
        return SETTLED
    async with context.memory(overlay.meta.namespace, overlay.meta.name).lock:
        try:
            scene = await look(context, overlay)
            if not overlay.paused:
                scene = await _advance_authority(context, scene)
        except AuthorityError as error:
            await report_without_authority(context, overlay, body, str(error))
            return Next(after=LOOKED_SECONDS)
        if not overlay.paused:
            anew = await found_again(context, scene, body)
            scene = anew or scene
            await context.apply(_desired(context, scene))
            if anew is not None:
                await restart_all(context, scene)
            await tell_configuration(context, scene)
            await _remove_unwanted(context, scene)
            await _apply_admin(context, scene)
            await tell_setless(context, *_key(scene))
            await _reclaim_volumes(context, scene)
        step, again = await restart_next(context, scene, body)
        await report_overlay(context, scene, body, step)
    return Next(after=LOOKED_SECONDS if again is None else min(again, LOOKED_SECONDS))


async def overlay_gone(context: Context, key: Key, last: Manifest | None) -> None:
    """Follow the deletion of an Overlay: its authority and volumes go only if it said so."""
    context.forget(key.namespace, key.name)
    policy = ((last or {}).get("spec") or {}).get("deletionPolicy", "Retain")
    if last is None or policy != "Delete":
        return
    await context.store.delete(key.namespace, key.name)
    for claim in context.observed.of("PersistentVolumeClaim", key.namespace, key.name):
        metadata = claim["metadata"]
        ref = Ref("PersistentVolumeClaim", key.namespace, metadata["name"])
        await context.cluster.delete(ref, metadata["uid"])


async def _advance_authority(context: Context, scene: Scene) -> Scene:
    """Take one step of a rotation if one is due, and note once that the ring stands."""
    overlay, identity = scene.overlay, scene.identity
    peers = [
        PeerBundle(peer.name, peer.report.bundle_hash if peer.report else "")
        for peer in scene.peers
        if peer.name not in scene.lost
    ]
    memory = context.memory(*_key(scene))
    # the command's users count as well: a key is not dropped while anything is under it
    is_resealed = memory.users_compared_at > 0 and all(
        number == identity.key_numbers[0] for number in memory.key_numbers
    )
    opened, _ = await context.store.advance(overlay, peers, is_resealed=is_resealed)
    if not identity.founded_at and _stands(scene):
        opened, _ = await context.store.change(overlay, lambda record: founded(record, scene.now))
    return scene if opened == identity else await look(context, overlay)


def _stands(scene: Scene) -> bool:
    """Tell whether the ring was formed: enough peers serve and agree on who is in it."""
    agreeing, _ = health.agreement(scene.peers)
    return agreeing >= scene.overlay.successors + 1


def _desired(context: Context, scene: Scene) -> list[Manifest]:
    bundle = Bundle(
        roots=scene.identity.roots.decode(),
        enrollment_root=context.enrollment_root().decode(),
        instance_id=scene.identity.instance_id,
        bundle_hash=scene.identity.bundle_hash,
        sequence=scene.identity.sequence,
    )
    namespace, name = _key(scene)
    seen = context.observed.one("PodDisruptionBudget", namespace, budget_name(name)) or {}
    budget = disruption.min_available(
        scene.peers,
        scene.lost,
        scene.overlay.disruption.max_unavailable,
        (seen.get("spec") or {}).get("minAvailable"),
    )
    return overlay_resources(
        scene.overlay,
        bundle,
        context.surroundings,
        min_available=budget,
        phone_ports=phone_ports(list(scene.sets)),
    )


async def _remove_unwanted(context: Context, scene: Scene) -> None:
    """Remove the network policy where the spec asks for none any more."""
    if scene.overlay.network_policy.mode == "Managed":
        return
    namespace, name = _key(scene)
    seen = context.observed.one("NetworkPolicy", namespace, peers_name(name))
    if seen is not None:
        ref = Ref("NetworkPolicy", namespace, peers_name(name))
        await context.cluster.delete(ref, seen["metadata"]["uid"])


async def _reclaim_volumes(context: Context, scene: Scene) -> None:
    """Delete the volumes that nothing is left of but themselves, if that was asked for (H19a).

    Their sets may be gone, with what they said: it stands on the claims. While copies are missing,
    or nobody can tell, a volume may be the last to hold one.
    """
    namespace, name = _key(scene)
    if not health.is_told(scene.peers) or health.copies_missing(scene.peers):
        return
    held = {
        str(each["metadata"]["name"])
        for kind in ("StatefulSet", "Pod")
        for each in context.observed.of(kind, namespace, name)
    }
    for claim in context.observed.of("PersistentVolumeClaim", namespace, name):
        meta = meta_of(claim)
        is_left = meta.name not in held and pod_name(meta.name) not in held
        is_old = scene.now - meta.creation >= ORPHANED_SECONDS
        asks = meta.annotations.get(RECLAIM_ANNOTATION) == "Delete"
        if is_left and is_old and asks and not meta.deletion:
            ref = Ref("PersistentVolumeClaim", namespace, meta.name)
            await context.cluster.delete(ref, meta.uid)


async def _apply_admin(context: Context, scene: Scene) -> None:
    """Keep the Secret with the command's certificate; Secrets are read by name, never watched."""
    namespace, name = _key(scene)
    try:
        present = await context.cluster.get(Ref("Secret", namespace, admin_secret_name(name)))
    except NotFoundError:
        present = None
    wanted = admin_secret(
        scene.overlay, scene.identity, scene.secrets, present, now=scene.now, draw=context.draw
    )
    if present is None or not is_covered(wanted, present):
        await context.cluster.apply(wanted)


def _key(scene: Scene) -> tuple[str, str]:
    return scene.overlay.meta.namespace, scene.overlay.meta.name
