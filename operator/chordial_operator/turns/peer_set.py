"""One turn of a BootstrapSet or RelaySet: its objects, its missing peers, and those that leave.

In this order: configuration and Services, peers that stand, peers that are lost, peers that leave,
who leaves next, peers that are missing. Each choice is written with a precondition before it is
acted on, and the next turn counts again (fleet H27). What is chosen is decided in `decisions`.
"""

from datetime import UTC, datetime

from chordial_operator.cluster.errors import ConflictError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.cluster.protocol import Happening
from chordial_operator.decisions import numbers, scale_in
from chordial_operator.decisions.node_ids import next_node_id, salt_of, twins
from chordial_operator.decisions.scale_in import ScaleIn, ScaleInRules
from chordial_operator.decisions.views import PeerView
from chordial_operator.enrollment.authority import AuthorityError
from chordial_operator.names import (
    FORCE_SCALE_IN_ANNOTATION,
    LEAVING_ANNOTATION,
    bundle_name,
    peers_name,
)
from chordial_operator.queue import SETTLED, Key, Next
from chordial_operator.resources.comparison import marked
from chordial_operator.resources.peer import claim, stateful_set
from chordial_operator.resources.peer_set import config_map, services
from chordial_operator.resources.pod import Identity, Revision
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import parse_referred_overlay
from chordial_operator.spec.peer_set import PeerSet
from chordial_operator.turns.context import Context, NotReadyYetError
from chordial_operator.turns.departure import finish_leaving, replace_lost
from chordial_operator.turns.reporting import (
    report_alone,
    report_name_taken,
    report_set,
    report_set_without_authority,
)
from chordial_operator.turns.restart import apply_standing, stands
from chordial_operator.turns.scene import PARSERS, Scene, config_of, look, revision, who_has_names

MADE_AT_ONCE = 16
BUSY_SECONDS = 1.0
HINDERED_SECONDS = 10.0
"""How soon a set is looked at again while something is missing: time alone tells some of it."""
AUTHORITY_SECONDS = 30.0
WATCHED_SECONDS = 30.0
"""How often a set is looked at while its peers come or go: reports alone may have changed."""


class SetTurn:
    """What one turn of a set finds out."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.plan = ScaleIn()
        self.after: float | None = None

    def again(self, seconds: float | None) -> None:
        """Ask for the next turn at the latest so soon."""
        if seconds is not None:
            self.after = seconds if self.after is None else min(self.after, seconds)


async def peer_set_turn(context: Context, body: Manifest) -> Next:
    """Bring one set a step closer to its spec, and tell how it stands."""
    peer_set = PARSERS[body["kind"]](body)
    if peer_set.meta.deletion:
        return SETTLED
    found = context.observed.one("Overlay", peer_set.meta.namespace, peer_set.overlay)
    if found is None:
        await report_alone(context, peer_set, body)
        return SETTLED  # the Overlay's coming wakes its sets
    holder = who_has_names(context.observed, peer_set)
    if holder:
        await report_name_taken(context, peer_set, body, holder)
        return Next(after=WATCHED_SECONDS)
    overlay = parse_referred_overlay(found)
    turn = SetTurn()
    async with context.memory(peer_set.meta.namespace, peer_set.overlay).lock:
        try:
            scene = await look(context, overlay)
            if not overlay.paused:
                await _work(context, scene, peer_set, body, turn)
        except AuthorityError as error:
            await report_set_without_authority(context, peer_set, body, str(error))
            return Next(after=AUTHORITY_SECONDS)
        is_well = await report_set(context, scene, peer_set, body, turn.plan)
    if not is_well:
        turn.again(HINDERED_SECONDS)
    return Next(after=turn.after)


async def _work(
    context: Context, scene: Scene, peer_set: PeerSet, body: Manifest, turn: SetTurn
) -> None:
    """Take every step that may be taken now; what must come first ends them for this turn."""
    try:
        await _steps(context, scene, peer_set, body, turn)
    except NotReadyYetError as error:
        turn.again(error.after)


async def _steps(
    context: Context, scene: Scene, peer_set: PeerSet, body: Manifest, turn: SetTurn
) -> None:
    await _apply_own(context, scene, peer_set)
    _must_stand(context, peer_set)
    made = revision(context, scene, peer_set)
    await _apply_claims(context, scene, peer_set)
    await apply_standing(context, scene, peer_set, made)
    turn.again(await replace_lost(context, scene, peer_set, body))
    turn.again(await finish_leaving(context, scene, peer_set, body))
    await _choose_leaving(context, scene, peer_set, body, turn)
    await _make_missing(context, scene, peer_set, made, turn)


async def _apply_own(context: Context, scene: Scene, peer_set: PeerSet) -> None:
    """Apply what the whole set has, and remove Services that the spec asks for no more."""
    names = [peer.name for peer in scene.own(peer_set) if not peer.is_leaving]
    wanted = services(peer_set, names)
    await context.apply(wanted)
    await context.apply([config_map(peer_set, config_of(context, scene, peer_set))])
    kept = {each["metadata"]["name"] for each in wanted}
    for seen in context.observed.of("Service", peer_set.meta.namespace, peer_set.overlay):
        metadata = seen["metadata"]
        owners = [each.get("uid") for each in metadata.get("ownerReferences") or ()]
        if peer_set.meta.uid in owners and metadata["name"] not in kept:
            ref = Ref("Service", peer_set.meta.namespace, metadata["name"])
            await context.cluster.delete(ref, metadata["uid"])


def _must_stand(context: Context, peer_set: PeerSet) -> None:
    """A pod that is made before what it mounts starts half a minute late (fleet H22)."""
    namespace = peer_set.meta.namespace
    needed = [
        ("ConfigMap", bundle_name(peer_set.overlay)),
        ("Service", peers_name(peer_set.overlay)),
    ]
    # its address is a part of the configuration with which the first pods begin
    needed += [("Service", each["metadata"]["name"]) for each in services(peer_set, [])]
    for kind, name in needed:
        if context.observed.one(kind, namespace, name) is None:
            context.wake(Key("Overlay", namespace, peer_set.overlay))
            raise NotReadyYetError(f"{kind} {name} is being made", after=0.5)


async def _apply_claims(context: Context, scene: Scene, peer_set: PeerSet) -> None:
    """Volumes of standing peers: made again when somebody deleted one, and grown."""
    if peer_set.storage.type != "Volume":
        return
    standing = [each for each in scene.own(peer_set) if stands(scene, each)]
    await context.apply([claim(peer_set, peer.name) for peer in standing])


async def _choose_leaving(
    context: Context, scene: Scene, peer_set: PeerSet, body: Manifest, turn: SetTurn
) -> None:
    """Choose one peer that leaves, and write it down; it drains in the next turn."""
    memory = context.memory(peer_set.meta.namespace, peer_set.overlay)
    name = peer_set.meta.name
    force = peer_set.meta.annotations.get(FORCE_SCALE_IN_ANNOTATION, "")
    rules = ScaleInRules(
        replicas=peer_set.replicas,
        max_concurrent=peer_set.drain.max_concurrent,
        stabilization=float(peer_set.scale_in.stabilization),
        need=scene.need,
        template_hash=revision(context, scene, peer_set).template_hash,
        is_forced=scale_in.is_forced(force, peer_set.meta.generation),
        has_upgrade_step=memory.is_restarting,
        lost=scene.lost,
    )
    plan = turn.plan = scale_in.plan(
        scene.own(peer_set), scene.peers, rules, memory.low_since.get(name), scene.now
    )
    turn.again(plan.look_again)
    if plan.low_since is None:
        memory.low_since.pop(name, None)
        return
    if name not in memory.low_since and plan.planned:
        note = f"{len(plan.planned)} peers are to leave: {', '.join(plan.planned[:16])}"
        await context.tell(body, Happening("ScaleInPlanned", note, action="ScaleIn"))
    memory.low_since[name] = plan.low_since
    turn.again(WATCHED_SECONDS)
    for leaver in plan.leave[:1]:
        await _write_leaving(context, peer_set, leaver.name)
        await context.tell(body, Happening("DrainStarted", leaver.why, action="ScaleIn"))
        turn.again(BUSY_SECONDS)


async def _write_leaving(context: Context, peer_set: PeerSet, peer: str) -> None:
    namespace = peer_set.meta.namespace
    seen = context.observed.one("StatefulSet", namespace, peer)
    if seen is None:
        raise NotReadyYetError(f"{peer} is gone already", after=BUSY_SECONDS)
    now = datetime.fromtimestamp(context.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        await context.cluster.annotate(
            Ref("StatefulSet", namespace, peer),
            {LEAVING_ANNOTATION: now},
            seen["metadata"]["resourceVersion"],
        )
    except ConflictError as error:
        raise NotReadyYetError(f"{peer} has just changed: {error}") from error


async def _make_missing(
    context: Context, scene: Scene, peer_set: PeerSet, made: Revision, turn: SetTurn
) -> None:
    """Make the peers that are missing, a few in one turn; their names are theirs alone."""
    namespace, name = peer_set.meta.namespace, peer_set.meta.name
    observed = {
        kind: [
            str(each["metadata"]["name"])
            for each in context.observed.of(kind, namespace, peer_set.overlay)
        ]
        for kind in ("StatefulSet", "Pod", "PersistentVolumeClaim")
    }
    held = numbers.taken(
        name, observed["StatefulSet"], observed["Pod"], observed["PersistentVolumeClaim"]
    )
    present = sum(1 for peer in scene.own(peer_set) if _counts(scene, peer))
    wanted = numbers.missing(peer_set.replicas, present, held)
    if len(wanted) > MADE_AT_ONCE:
        turn.again(BUSY_SECONDS)
    node_ids = [*(peer.node_id for peer in scene.peers), *scene.identity.revoked]
    for number in wanted[:MADE_AT_ONCE]:
        peer = f"{name}-{number}"
        chosen = next_node_id(
            node_ids,
            scene.identity.founders,
            salt_of(scene.identity.instance_id, namespace, name, peer),
            may_found=peer_set.role == "seed",
        )
        node_ids.append(chosen)
        await _make(context, scene, peer_set, Identity(peer, chosen), made)
    if wanted:
        turn.again(WATCHED_SECONDS)


def _counts(scene: Scene, peer: PeerView) -> bool:
    """A lost peer counts until it is shut out: its successor may not stand beside it."""
    is_replaced = peer.name in scene.lost and peer.node_id in scene.identity.revoked
    return not peer.is_leaving and not is_replaced and peer.name not in twins(scene.peers)


async def _make(
    context: Context, scene: Scene, peer_set: PeerSet, identity: Identity, made: Revision
) -> None:
    """Make a peer; its claim first, which is taken once: two operators cannot both have it."""
    try:
        if peer_set.storage.type == "Volume":
            await context.cluster.create(marked(claim(peer_set, identity.name)))
        peer = stateful_set(scene.overlay, peer_set, context.surroundings, identity, made)
        await context.cluster.create(marked(peer))
    except ConflictError as error:
        raise NotReadyYetError(
            f"{identity.name} is being made: {error}", after=BUSY_SECONDS
        ) from error
