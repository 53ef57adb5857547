"""Founding an overlay once more, when nobody is left who could form its ring (fleet H7).

The new instance is written first, then told in the bundle, then every pod is made anew, on a new
volume: one that holds an identity of another founding is refused by its peer. These hold nothing
else. When, is decided in `decisions`.
"""

from chordial_operator.cluster.kinds import Ref
from chordial_operator.cluster.protocol import Happening
from chordial_operator.decisions.refounding import RINGLESS_SECONDS, founders_anew
from chordial_operator.enrollment.rotation import founded_again
from chordial_operator.spec.manifest import Manifest
from chordial_operator.turns.context import Context, log
from chordial_operator.turns.scene import Scene, look


async def found_again(context: Context, scene: Scene, body: Manifest) -> Scene | None:
    """Give the overlay new founders and another instance id; None when it needs none."""
    overlay = scene.overlay
    memory = context.memory(overlay.meta.namespace, overlay.meta.name)
    founders = founders_anew(scene.peers, scene.identity.founders, overlay.successors, scene.now)
    if not founders:
        memory.ringless_since = None
        return None
    if memory.ringless_since is None:
        memory.ringless_since = scene.now
    if scene.now - memory.ringless_since < RINGLESS_SECONDS:
        return None
    before = scene.identity.instance_id
    await context.store.change(
        overlay,
        lambda record: (
            founded_again(record, founders, context.draw)
            if record.instance_id == before
            else record
        ),
    )
    memory.ringless_since = None
    memory.users_due = True
    note = (
        "No majority of the founders is left and no peer holds anything: founded once more, by"
        f" {len(founders)} of the seeds."
    )
    log.warning("overlay %s/%s: %s", overlay.meta.namespace, overlay.meta.name, note)
    await context.tell(body, Happening("FoundedAnew", note, "Warning", action="Found"))
    return await look(context, overlay)


async def restart_all(context: Context, scene: Scene) -> None:
    """Make every pod and its volume anew: what is there belongs to the founding before.

    A claim goes once its pod has; the set's turn makes it again.
    """
    namespace = scene.overlay.meta.namespace
    for peer in scene.peers:
        claim = context.observed.one("PersistentVolumeClaim", namespace, peer.name)
        if claim is not None:
            ref = Ref("PersistentVolumeClaim", namespace, peer.name)
            await context.cluster.delete(ref, claim["metadata"]["uid"])
        if peer.pod is not None:
            await context.cluster.delete(Ref("Pod", namespace, peer.pod.name), peer.pod.uid)
