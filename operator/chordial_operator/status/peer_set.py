"""The status of a BootstrapSet or RelaySet: its peers, and what hinders them (fleet 2.1).

Pure. `Ready` speaks of the peers that are wanted: more of them than that (a scale-in that the floor
forbids, or that drains) do not make it False.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from chordial_operator.decisions.scale_in import ScaleIn
from chordial_operator.decisions.views import PeerView
from chordial_operator.names import set_selector
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.peer_set import PeerSet
from chordial_operator.status.conditions import (
    Condition,
    Reason,
    holds,
    listed,
    partial_status,
    set_conditions,
    timestamp,
)
from chordial_operator.status.hindrances import with_causes
from chordial_operator.status.slow_numbers import SlowNumber, slow_numbers

MOST_LEAVING = 16
MOST_ADVERTISED = 32
MOST_ADDRESSES = 31
_CALLS_OF = "calls of "


class Advertised(msgspec.Struct, frozen=True):
    """An address that phones are told."""

    address: str
    source: str
    """Spec, Service, Node or Pod."""


class SetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a set besides its spec; a problem is a sentence, or empty."""

    peers: Sequence[PeerView] = ()
    outdated: Collection[str] = ()
    lost: Collection[str] = ()
    scale_in: ScaleIn = ScaleIn()
    is_paused: bool = False
    volumes_pending: str = ""
    pods_refused: str = ""
    overlay_problem: str = ""
    name_problem: str = ""
    advertised: Sequence[Advertised] = ()
    address_problem: str = ""
    certificate_problem: str = ""
    addresses: Sequence[str] = ()
    """Of seeds."""

    def is_complete(self, replicas: int) -> bool:
        """Tell whether every peer that is wanted is ready, and nothing that it needs is missing."""
        up = sum(1 for peer in self.peers if peer.is_up and not peer.is_leaving)
        return up >= replicas and not self.certificate_problem


def set_numbers(
    facts: SetFacts,
    before: Mapping[str, SlowNumber],
    previous: Manifest | None,
    now: float,
) -> dict[str, SlowNumber]:
    """Return the numbers as they are to be told now; the caller hands them back next time."""
    told = previous or {}
    shown = {"registrations": told.get("registrations"), "calls": told.get("calls")}
    for each in told.get("leaving") or ():
        shown[_CALLS_OF + each["name"]] = each.get("calls")
    reports = [peer.report for peer in facts.peers if peer.report]
    if any(peer.is_up and peer.report is None for peer in facts.peers):
        return dict(before)  # not all have been heard yet: what stands there stays
    values = {
        "registrations": sum(report.registrations for report in reports),
        "calls": sum(report.calls for report in reports),
    }
    for peer in _leaving(facts):
        if peer.report:
            values[_CALLS_OF + peer.name] = peer.report.calls
    return slow_numbers(before, shown, values, now)


def set_status(
    peer_set: PeerSet,
    facts: SetFacts,
    numbers: Mapping[str, SlowNumber],
    previous: Manifest | None,
    now: float,
) -> Manifest:
    """Return the whole status of a set; without its Overlay nothing of its peers is known."""
    if facts.name_problem:
        taken = Condition("Ready", "False", Reason.NAME_TAKEN, facts.name_problem)
        known = {"replicas": 0, "selector": set_selector(peer_set.overlay, peer_set.meta.name)}
        return partial_status(known | (previous or {}), [taken], peer_set.meta.generation, now)
    if facts.overlay_problem and not facts.peers:
        missing = [_ready(peer_set, facts), _overlay_not_found(peer_set, facts)]
        counts = {"replicas": 0, "selector": set_selector(peer_set.overlay, peer_set.meta.name)}
        known = counts | (previous or {})
        return partial_status(known, missing, peer_set.meta.generation, now)
    staying = [peer for peer in facts.peers if not peer.is_leaving]
    meta = peer_set.meta
    status: Manifest = {
        "observedGeneration": meta.generation,
        "replicas": len(facts.peers),
        "readyReplicas": sum(1 for peer in staying if peer.is_up),
        "updatedReplicas": sum(
            1 for peer in staying if peer.pod is not None and peer.name not in facts.outdated
        ),
        "selector": set_selector(peer_set.overlay, meta.name),
    }
    if peer_set.role == "seed":
        status["addresses"] = list(facts.addresses[:MOST_ADDRESSES])
    else:
        status |= _relays(facts, numbers, previous)
    status["conditions"] = set_conditions(
        previous, set_conditions_of(peer_set, facts), meta.generation, now
    )
    return status


def set_conditions_of(peer_set: PeerSet, facts: SetFacts) -> list[Condition]:
    """Return all conditions of a set, `Ready` first."""
    limited = facts.scale_in.limited
    told = [
        _ready(peer_set, facts),
        _progressing(peer_set, facts),
        holds(
            "ScalingLimited",
            bool(limited),
            (Reason.BELOW_FLOOR, f"Not all peers may leave that should: {limited}."),
            (Reason.AS_WANTED, "Nothing keeps the set from the size that is asked for."),
        ),
        holds(
            "VolumesPending",
            bool(facts.volumes_pending),
            (Reason.VOLUMES_PENDING, facts.volumes_pending),
            (Reason.VOLUMES_BOUND, "No peer waits for its volume."),
        ),
        holds(
            "PodsRefused",
            bool(facts.pods_refused),
            (Reason.PODS_REFUSED, facts.pods_refused),
            (Reason.PODS_TAKEN, "No pod was refused."),
        ),
        _overlay_not_found(peer_set, facts),
    ]
    return told if peer_set.role == "seed" else [*told, *_relay_conditions(facts)]


def _overlay_not_found(peer_set: PeerSet, facts: SetFacts) -> Condition:
    return holds(
        "OverlayNotFound",
        bool(facts.overlay_problem),
        (Reason.OVERLAY_NOT_FOUND, facts.overlay_problem),
        (Reason.OVERLAY_FOUND, f"Overlay {peer_set.overlay} is there."),
    )


def _ready(peer_set: PeerSet, facts: SetFacts) -> Condition:
    up = sum(1 for peer in facts.peers if peer.is_up and not peer.is_leaving)
    message = f"{up} of {peer_set.replicas} peers are ready"
    if facts.overlay_problem:
        return Condition("Ready", "False", Reason.OVERLAY_NOT_FOUND, facts.overlay_problem)
    if up >= peer_set.replicas:
        return Condition("Ready", "True", Reason.ALL_READY, "All peers that are wanted are ready.")
    for problem, reason in (
        (facts.pods_refused, Reason.PODS_REFUSED),
        (facts.volumes_pending, Reason.VOLUMES_PENDING),
    ):
        if problem:
            return Condition("Ready", "False", reason, f"{message}. {problem}")
    waiting = [peer for peer in facts.peers if not peer.is_up and not peer.is_leaving]
    which = f"; not yet: {with_causes(waiting)}" if waiting else ""
    return Condition("Ready", "False", Reason.PEERS_NOT_READY, f"{message}{which}.")


def _progressing(peer_set: PeerSet, facts: SetFacts) -> Condition:
    kind = "Progressing"
    if facts.is_paused:
        return Condition(kind, "False", Reason.PAUSED, "The overlay is paused.")
    leaving = [peer.name for peer in _leaving(facts)]
    staying = [peer for peer in facts.peers if not peer.is_leaving]
    if any(peer.name in facts.lost for peer in staying):
        names = listed([peer.name for peer in staying if peer.name in facts.lost])
        return Condition(kind, "True", Reason.LOST, f"Lost with their nodes, replaced: {names}.")
    if len(staying) < peer_set.replicas or any(not peer.is_up for peer in staying):
        return Condition(kind, "True", Reason.CREATING, "Peers are on their way to be ready.")
    if leaving:
        return Condition(kind, "True", Reason.DRAINING, f"Leaving: {listed(leaving)}.")
    if facts.scale_in.planned:
        planned = listed(facts.scale_in.planned)
        waits = f"; {facts.scale_in.waits}" if facts.scale_in.waits else ""
        message = f"Will leave, in this order: {planned}{waits}."
        return Condition(kind, "True", Reason.SCALE_IN_PLANNED, message)
    if any(peer.name in facts.outdated for peer in staying):
        return Condition(kind, "True", Reason.UPGRADING, "Peers of an old revision are restarted.")
    return Condition(kind, "False", Reason.AS_WANTED, "The set is as its spec says.")


def _relay_conditions(facts: SetFacts) -> tuple[Condition, ...]:
    leaving = [peer.name for peer in _leaving(facts)]
    return (
        holds(
            "AddressPending",
            bool(facts.address_problem),
            (Reason.WAITING_FOR_ADDRESS, facts.address_problem),
            (Reason.ADDRESS_FOUND, "Phones are told where to reach the relays."),
        ),
        holds(
            "CertificatesReady",
            not facts.certificate_problem,
            (Reason.SECRET_FOUND, "Every TLS listener has its certificate."),
            (Reason.CERTIFICATE_MISSING, facts.certificate_problem),
        ),
        holds(
            "Draining",
            bool(leaving),
            (Reason.DRAINING, f"Leaving once their calls have ended: {listed(leaving)}."),
            (Reason.NOBODY_LEAVES, "No relay leaves."),
        ),
    )


def _relays(
    facts: SetFacts, numbers: Mapping[str, SlowNumber], previous: Manifest | None
) -> Manifest:
    leaving = _leaving(facts)
    status: Manifest = {
        "drainingReplicas": len(leaving),
        "advertised": [
            {"address": each.address, "from": each.source}
            for each in facts.advertised[:MOST_ADVERTISED]
        ],
        "leaving": [_leaver(peer, numbers) for peer in leaving[:MOST_LEAVING]],
    }
    for name in ("registrations", "calls"):
        shown = numbers[name].value if name in numbers else (previous or {}).get(name)
        if shown is not None:
            status[name] = shown
    return status


def _leaver(peer: PeerView, numbers: Mapping[str, SlowNumber]) -> Manifest:
    said: Manifest = {"name": peer.name, "since": timestamp(peer.leaving_since or 0.0)}
    calls = numbers.get(_CALLS_OF + peer.name)
    return said if calls is None else {**said, "calls": calls.value}


def _leaving(facts: SetFacts) -> list[PeerView]:
    return [peer for peer in facts.peers if peer.is_leaving]
