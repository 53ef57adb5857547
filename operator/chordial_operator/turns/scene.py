"""One overlay as a turn sees it: specs, authority and every peer, joined from what is observed.

Read anew for each turn; nothing here writes, and nothing here decides.
"""

from collections.abc import Callable

import msgspec

from chordial_node.pod_config import PodConfig
from chordial_operator.decisions import replacement
from chordial_operator.decisions.floor import Need
from chordial_operator.decisions.upgrade import Wanted
from chordial_operator.decisions.views import PeerReport, PeerView, peer_views
from chordial_operator.enrollment.authority import OverlayIdentity, OverlaySecrets
from chordial_operator.resources.addresses import advertised_addresses, exposed_peers
from chordial_operator.resources.peer import revision_of
from chordial_operator.resources.peer_set import pod_config
from chordial_operator.resources.pod import Revision
from chordial_operator.spec.manifest import InvalidSpecError, Manifest, meta_of
from chordial_operator.spec.overlay import Overlay
from chordial_operator.spec.peer_set import PeerSet, parse_bootstrap_set, parse_relay_set
from chordial_operator.turns.context import Context, Observed

PARSERS = {"BootstrapSet": parse_bootstrap_set, "RelaySet": parse_relay_set}


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a decision about one overlay looks at."""

    overlay: Overlay
    identity: OverlayIdentity
    secrets: OverlaySecrets
    sets: tuple[PeerSet, ...]
    """Those that can be parsed."""
    peers: tuple[PeerView, ...]
    lost: tuple[str, ...]
    now: float

    @property
    def need(self) -> Need:
        """What copies and ring ask for."""
        return Need(self.overlay.copies, self.overlay.successors)

    @property
    def replace_after(self) -> dict[str, float]:
        """How long a peer of each set may be unreachable before it is lost."""
        return {each.meta.name: float(each.replace_lost_after) for each in self.sets}

    def own(self, peer_set: PeerSet) -> tuple[PeerView, ...]:
        """Return the peers of one set."""
        return tuple(peer for peer in self.peers if peer.set_name == peer_set.meta.name)


async def look(context: Context, overlay: Overlay) -> Scene:
    """Return an overlay as it stands; AuthorityError when its authority cannot be used."""
    namespace, name = overlay.meta.namespace, overlay.meta.name
    identity, secrets = await context.store.open(overlay)
    sets = tuple(_sets(context, namespace, name))
    reports: dict[str, PeerReport] = dict(context.peers(namespace, name).reports)
    peers = peer_views(
        context.observed.of("StatefulSet", namespace, name),
        context.observed.of("Pod", namespace, name),
        context.observed.nodes(),
        reports,
        identity.founders,
    )
    now = context.clock()
    replace_after = {each.meta.name: float(each.replace_lost_after) for each in sets}
    return Scene(
        overlay=overlay,
        identity=identity,
        secrets=secrets,
        sets=sets,
        peers=peers,
        lost=replacement.lost(peers, replace_after, now),
        now=now,
    )


def who_has_names(observed: Observed, peer_set: PeerSet) -> str:
    """Return the object whose names a set's own would be; empty when they are free.

    A BootstrapSet and a RelaySet of one name: the older keeps it.
    """
    namespace, name = peer_set.meta.namespace, peer_set.meta.name
    own = (peer_set.meta.creation, peer_set.kind)
    for kind in PARSERS:
        other = observed.one(kind, namespace, name)
        if other is not None and (meta_of(other).creation, kind) < own:
            return f"{kind} {name}"
    return ""


def config_of(context: Context, scene: Scene, peer_set: PeerSet) -> PodConfig:
    """Return what the peers of a set are told."""
    config = pod_config(scene.overlay, peer_set, context.surroundings, scene.identity.overlay_name)
    service = context.observed.one("Service", peer_set.meta.namespace, peer_set.meta.name)
    return msgspec.structs.replace(
        config,
        advertise=advertised_addresses(peer_set, service),
        by_peer=exposed_peers(peer_set, own_services(context, scene, peer_set)),
    )


def own_services(context: Context, scene: Scene, peer_set: PeerSet) -> dict[str, Manifest | None]:
    """Return the Service of each peer of a set whose peers have one each."""
    if peer_set.exposure.scope != "Peer":
        return {}
    namespace = peer_set.meta.namespace
    return {
        peer.name: context.observed.one("Service", namespace, peer.name)
        for peer in scene.own(peer_set)
        if not peer.is_leaving
    }


def revision(context: Context, scene: Scene, peer_set: PeerSet) -> Revision:
    """Return the revision that a set's peers should be of."""
    config = config_of(context, scene, peer_set)
    return revision_of(scene.overlay, peer_set, context.surroundings, config)


def wanted_by_peer(context: Context, scene: Scene) -> dict[str, Wanted]:
    """Return what each peer's pod should be made of."""
    wanted = {}
    for peer_set in scene.sets:
        made = revision(context, scene, peer_set)
        for peer in scene.own(peer_set):
            wanted[peer.name] = Wanted(made.template_hash, made.image)
    return wanted


def _sets(context: Context, namespace: str, overlay: str) -> list[PeerSet]:
    found = []
    for kind, parse in PARSERS.items():
        for body in context.observed.of(kind, namespace, overlay):
            peer_set = _parsed(parse, body)
            if peer_set is None or peer_set.meta.deletion:
                continue
            if not who_has_names(context.observed, peer_set):
                found.append(peer_set)
    return found


def _parsed(parse: Callable[[Manifest], PeerSet], body: Manifest) -> PeerSet | None:
    try:
        return parse(body)
    except InvalidSpecError:
        return None  # its own turn says so
