"""Tells how an overlay, a set or a user stands: gathers facts, and writes the status if it differs.

What a fact means to a user is decided in `status`, never here.
"""

import msgspec

from chordial_operator.cluster.errors import ClusterError, NotFoundError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.decisions.scale_in import ScaleIn
from chordial_operator.decisions.upgrade import UpgradeStep
from chordial_operator.names import peers_name, pod_name
from chordial_operator.resources.addresses import (
    MOST_ADDRESSES,
    advertised_addresses,
    exposed_peers,
    is_address_pending,
)
from chordial_operator.resources.peer import image_of
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay
from chordial_operator.spec.peer_set import PeerSet
from chordial_operator.spec.sip_user import SipUser
from chordial_operator.status.conditions import Reason, not_ready_status
from chordial_operator.status.hindrances import (
    address_pending,
    certificates_missing,
    name_taken,
    overlay_not_found,
    own_addresses_pending,
    podless,
    pods_refused,
    volumes_pending,
)
from chordial_operator.status.overlay import OverlayFacts, overlay_numbers, overlay_status
from chordial_operator.status.peer_set import Advertised, SetFacts, set_numbers, set_status
from chordial_operator.status.sip_user import UserFacts, user_contacts, user_status
from chordial_operator.turns.context import Context
from chordial_operator.turns.scene import Scene, own_services, revision

CONTACTS = "contacts"
FAILED_CREATE = "FailedCreate"
"""The reason with which a StatefulSet tells that its pod was refused."""


async def report_overlay(context: Context, scene: Scene, body: Manifest, step: UpgradeStep) -> None:
    """Tell how an overlay stands."""
    overlay = scene.overlay
    facts = OverlayFacts(
        peers=scene.peers,
        desired=sum(each.replicas for each in scene.sets),
        lost=scene.lost,
        upgrade=step,
        instance_id=scene.identity.instance_id,
        founded_at=scene.identity.founded_at,
        image=image_of(overlay.image, context.surroundings),
        authority_ends=scene.identity.not_after,
        authority_phase=str(scene.identity.phase),
        listening_since=context.started,
    )
    memory = context.memory(overlay.meta.namespace, overlay.meta.name)
    previous = body.get("status")
    numbers = overlay_numbers(facts, memory.numbers.get("Overlay", {}), previous, scene.now)
    memory.numbers["Overlay"] = numbers
    await context.apply_status(body, overlay_status(overlay, facts, numbers, previous, scene.now))


async def report_without_authority(
    context: Context, overlay: Overlay, body: Manifest, problem: str
) -> None:
    """Tell why no certificates can be signed; what runs goes on."""
    facts = OverlayFacts(certificate_problem=problem, listening_since=context.started)
    previous, now = body.get("status"), context.clock()
    await context.apply_status(body, overlay_status(overlay, facts, {}, previous, now))


async def report_set(
    context: Context, scene: Scene, peer_set: PeerSet, body: Manifest, plan: ScaleIn
) -> bool:
    """Tell how a set stands; return whether all that it wants is there."""
    facts = await _set_facts(context, scene, peer_set, plan)
    memory = context.memory(peer_set.meta.namespace, peer_set.overlay)
    key = f"{peer_set.kind}/{peer_set.meta.name}"
    previous = body.get("status")
    numbers = set_numbers(facts, memory.numbers.get(key, {}), previous, scene.now)
    memory.numbers[key] = numbers
    status = set_status(peer_set, facts, numbers, previous, scene.now)
    await context.apply_status(body, status)
    return facts.is_complete(peer_set.replicas)


async def report_set_without_authority(
    context: Context, peer_set: PeerSet, body: Manifest, problem: str
) -> None:
    """Tell that a set waits for its overlay's authority; its peers run on, told as before."""
    message = f"Overlay {peer_set.overlay}: {problem}"
    status = not_ready_status(
        body.get("status"),
        Reason.CERTIFICATE_MISSING,
        message,
        peer_set.meta.generation,
        context.clock(),
    )
    await context.apply_status(body, status)


async def report_alone(context: Context, peer_set: PeerSet, body: Manifest) -> None:
    """Tell that a set has no Overlay."""
    problem = overlay_not_found(peer_set.overlay, peer_set.meta.namespace)
    await _report_problem(context, peer_set, body, SetFacts(overlay_problem=problem))


async def report_name_taken(
    context: Context, peer_set: PeerSet, body: Manifest, other: str
) -> None:
    """Tell that another object has the names that a set would give."""
    problem = name_taken(peer_set.kind, peer_set.meta.name, other)
    await _report_problem(context, peer_set, body, SetFacts(name_problem=problem))


async def _report_problem(
    context: Context, peer_set: PeerSet, body: Manifest, facts: SetFacts
) -> None:
    previous = body.get("status")
    status = set_status(peer_set, facts, {}, previous, context.clock())
    await context.apply_status(body, status)


async def report_user(context: Context, user: SipUser, body: Manifest, facts: UserFacts) -> None:
    """Tell how a user stands."""
    facts = msgspec.structs.replace(facts, tells_registered=context.tells_registered)
    memory = context.memory(user.meta.namespace, user.overlay)
    key = f"SipUser/{user.meta.name}"
    previous, now = body.get("status"), context.clock()
    before = memory.numbers.get(key, {}).get(CONTACTS)
    contacts = user_contacts(facts, before, previous, now)
    if contacts is not None:
        memory.numbers[key] = {CONTACTS: contacts}
    await context.apply_status(body, user_status(user, facts, contacts, previous, now))


async def _set_facts(context: Context, scene: Scene, peer_set: PeerSet, plan: ScaleIn) -> SetFacts:
    namespace, name = peer_set.meta.namespace, peer_set.meta.name
    own = scene.own(peer_set)
    wanted = revision(context, scene, peer_set).template_hash
    names = {peer.name for peer in own}
    claims = [
        each
        for each in context.observed.of("PersistentVolumeClaim", namespace, peer_set.overlay)
        if each["metadata"]["name"] in names
    ]
    service = context.observed.one("Service", namespace, name)
    each_own = own_services(context, scene, peer_set)
    exposed = exposed_peers(peer_set, each_own)
    by_peer = [address for each in exposed.values() for address in each.advertise]
    found = advertised_addresses(peer_set, service) or tuple(by_peer[:MOST_ADDRESSES])
    awaited = [name for name in each_own if name not in exposed]
    source = "Spec" if peer_set.advertise.addresses else "Service"
    return SetFacts(
        peers=own,
        outdated=tuple(peer.name for peer in own if peer.pod and peer.pod.template_hash != wanted),
        lost=[each for each in scene.lost if each in names],
        scale_in=plan,
        is_paused=scene.overlay.paused,
        volumes_pending=volumes_pending(claims, scene.now),
        pods_refused=await _pods_refused(context, scene, peer_set),
        advertised=[Advertised(each, source) for each in found],
        address_problem=(
            address_pending(peer_set, found)
            if is_address_pending(peer_set, service)
            else own_addresses_pending(peer_set, awaited)
        ),
        certificate_problem=certificates_missing(peer_set, await _secrets(context, peer_set)),
        addresses=[
            f"{pod_name(peer.name)}.{peers_name(peer_set.overlay)}.{namespace}.svc" for peer in own
        ],
    )


async def _pods_refused(context: Context, scene: Scene, peer_set: PeerSet) -> str:
    """Tell why pods are not made, in the API server's own words where they can be read."""
    own = scene.own(peer_set)
    without = podless(own, scene.now)
    if not without:
        return ""
    ref = Ref("StatefulSet", peer_set.meta.namespace, without[0])
    try:
        said = await context.cluster.complaints(ref, FAILED_CREATE)
    except ClusterError:
        said = []  # the advice stands without it
    return pods_refused(peer_set, own, scene.now, said[0] if said else "")


async def _secrets(context: Context, peer_set: PeerSet) -> dict[str, bool]:
    """Look which certificates of TLS listeners are there; each Secret is read by its name."""
    found: dict[str, bool] = {}
    for listener in peer_set.listeners:
        if listener.certificate_ref is None:
            continue
        name = listener.certificate_ref.name
        try:
            await context.cluster.get(Ref("Secret", peer_set.meta.namespace, name))
            found[name] = True
        except NotFoundError:
            found[name] = False
        except ClusterError:
            continue  # not known: not told
    return found
