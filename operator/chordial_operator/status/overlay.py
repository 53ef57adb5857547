"""The status of an Overlay: what its peers say of ring and storage (fleet 2.1).

Pure. What peers have not said is not guessed: an operator that has just started keeps what stands
there, and one that nobody answers says so.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from chordial_operator.decisions import health
from chordial_operator.decisions.floor import Need
from chordial_operator.decisions.upgrade import UpgradeStep
from chordial_operator.decisions.views import PeerView
from chordial_operator.spec.manifest import Manifest
from chordial_operator.spec.overlay import Overlay
from chordial_operator.status.conditions import (
    Condition,
    Reason,
    holds,
    kept,
    listed,
    partial_status,
    set_conditions,
    timestamp,
)
from chordial_operator.status.hindrances import with_causes
from chordial_operator.status.slow_numbers import SlowNumber, slow_numbers

LISTENING_SECONDS = 60.0
"""For so long a new operator keeps what was told, while it has heard nobody."""
ENDING_SECONDS = 86_400.0
"""A peer's certificate that has not been renewed so close to its end is told."""


class OverlayFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an overlay besides its spec."""

    peers: Sequence[PeerView] = ()
    desired: int = 0
    """Peers that all sets together ask for."""
    lost: Collection[str] = ()
    upgrade: UpgradeStep = UpgradeStep()
    instance_id: str = ""
    founded_at: float = 0.0
    """0: no ring has stood yet."""
    image: str = ""
    authority_ends: float = 0.0
    authority_phase: str = "Steady"
    certificate_problem: str = ""
    """Why no certificates can be signed, as a sentence."""
    listening_since: float = 0.0
    """When this operator began to ask the peers."""


def overlay_numbers(
    facts: OverlayFacts,
    before: Mapping[str, SlowNumber],
    previous: Manifest | None,
    now: float,
) -> dict[str, SlowNumber]:
    """Return the numbers as they are to be told now; the caller hands them back next time."""
    shown = {"copiesMissing": (previous or {}).get("copiesMissing")}
    if not _has_heard(facts, now):
        return dict(before)
    return slow_numbers(before, shown, {"copiesMissing": health.copies_missing(facts.peers)}, now)


def overlay_status(
    overlay: Overlay,
    facts: OverlayFacts,
    numbers: Mapping[str, SlowNumber],
    previous: Manifest | None,
    now: float,
) -> Manifest:
    """Return the whole status of an Overlay; without its authority nothing else of it is known."""
    if facts.certificate_problem and not facts.instance_id:
        told = (
            Condition("Ready", "False", Reason.CERTIFICATE_MISSING, facts.certificate_problem),
            _certificates(facts, now),
        )
        return partial_status(previous, told, overlay.meta.generation, now)
    peers = facts.peers
    status: Manifest = {
        "observedGeneration": overlay.meta.generation,
        "instanceID": facts.instance_id,
        "image": facts.image,
        "peers": {
            "desired": facts.desired,
            "ready": sum(1 for peer in peers if peer.is_up and not peer.is_leaving),
            "leaving": sum(1 for peer in peers if peer.is_leaving),
            "lost": len(facts.lost),
        },
        "failureDomains": _failure_domains(peers),
    }
    if facts.founded_at:
        status["foundedAt"] = timestamp(facts.founded_at)
    if facts.authority_ends:
        status["certificateAuthority"] = {
            "notAfter": timestamp(facts.authority_ends),
            "phase": facts.authority_phase,
        }
    status |= _heard(facts, numbers, previous, now)
    status["conditions"] = set_conditions(
        previous,
        overlay_conditions(overlay, facts, numbers, previous, now),
        overlay.meta.generation,
        now,
    )
    return status


def overlay_conditions(
    overlay: Overlay,
    facts: OverlayFacts,
    numbers: Mapping[str, SlowNumber],
    previous: Manifest | None,
    now: float,
) -> list[Condition]:
    """Return all conditions of an Overlay, `Ready` first."""
    told = [
        _ready(overlay, facts),
        holds(
            "Founded",
            bool(facts.founded_at),
            (Reason.RING_STANDS, "The ring has been founded."),
            (Reason.FORMING, "The first peers have not formed a ring yet."),
        ),
        *_ring_conditions(overlay, facts, numbers, previous, now),
        _certificates(facts, now),
        _upgrading(facts.upgrade),
        holds(
            "UpgradeStalled",
            bool(facts.upgrade.stalled),
            (Reason.UPGRADE_STALLED, facts.upgrade.stalled),
            (Reason.AS_WANTED, "No upgrade is stalled."),
        ),
        holds(
            "Paused",
            overlay.paused,
            (Reason.PAUSED, "spec.paused is true: status is told, and nothing is changed."),
            (Reason.NOT_PAUSED, "The overlay is run as its specs say."),
        ),
    ]
    if facts.upgrade.stalled:
        told.append(Condition("Stalled", "True", Reason.UPGRADE_STALLED, facts.upgrade.stalled))
    return told


def _ready(overlay: Overlay, facts: OverlayFacts) -> Condition:
    need = Need(overlay.copies, overlay.successors)
    up = [peer for peer in facts.peers if peer.is_up]
    asks = f"{overlay.copies} copies with {overlay.successors} successors need {need.peers}"
    if facts.desired < need.peers:
        message = f"{facts.desired} peers are asked for, and {asks}: raise replicas of a set."
        return Condition("Ready", "False", Reason.TOO_FEW_PEERS, message)
    if len(up) < need.peers:
        away = [peer for peer in facts.peers if not peer.is_up]
        which = f"; not ready: {with_causes(away)}" if away else ""
        message = f"{len(up)} peers are ready, and {asks}{which}."
        return Condition("Ready", "False", Reason.PEERS_NOT_READY, message)
    if not facts.founded_at:
        return Condition("Ready", "False", Reason.FORMING, "The peers have not formed a ring yet.")
    return Condition("Ready", "True", Reason.RING_STANDS, "The ring stands and stores.")


def _ring_conditions(
    overlay: Overlay,
    facts: OverlayFacts,
    numbers: Mapping[str, SlowNumber],
    previous: Manifest | None,
    now: float,
) -> tuple[Condition, Condition]:
    """Converged and Degraded, of which only peers can tell."""
    if not _has_heard(facts, now):
        old = kept(previous, "Converged"), kept(previous, "Degraded")
        is_new = now - facts.listening_since < LISTENING_SECONDS
        if is_new and old[0] is not None and old[1] is not None:
            return old[0], old[1]
        message = "No peer has answered the operator."
        return (
            Condition("Converged", "Unknown", Reason.NOT_HEARD, message),
            Condition("Degraded", "Unknown", Reason.NOT_HEARD, message),
        )
    agree, asked = health.agreement(facts.peers)
    converged = holds(
        "Converged",
        0 < agree == asked,
        (Reason.IN_STEP, "All peers see one ring."),
        (Reason.DISAGREEMENT, f"{agree} of {asked} peers see the same ring."),
    )
    return converged, _degraded(facts, numbers)


def _degraded(facts: OverlayFacts, numbers: Mapping[str, SlowNumber]) -> Condition:
    if facts.lost:
        message = f"Lost with their nodes: {listed(sorted(facts.lost))}; others take their places."
        return Condition("Degraded", "True", Reason.LOST, message)
    if numbers.get("copiesMissing", SlowNumber(0, 0.0)).value:
        message = "Some values have fewer copies than they should: copies are being made."
        return Condition("Degraded", "True", Reason.COPIES_MISSING, message)
    return Condition("Degraded", "False", Reason.COPIES_COMPLETE, "Every value has its copies.")


def _certificates(facts: OverlayFacts, now: float) -> Condition:
    kind = "CertificatesReady"
    if facts.certificate_problem:
        return Condition(kind, "False", Reason.CERTIFICATE_MISSING, facts.certificate_problem)
    ending = [
        peer.name
        for peer in facts.peers
        if peer.report and 0 < peer.report.not_after < now + ENDING_SECONDS and not peer.is_leaving
    ]
    if ending:
        message = f"Certificates that end within a day and were not renewed: {listed(ending)}."
        return Condition(kind, "False", Reason.CERTIFICATE_ENDING, message)
    if facts.authority_phase != "Steady":
        message = f"The authority is being exchanged: {facts.authority_phase}."
        return Condition(kind, "True", Reason.ROTATING, message)
    return Condition(kind, "True", Reason.ISSUED, "Peers get and renew their certificates.")


def _upgrading(step: UpgradeStep) -> Condition:
    if step.outdated:
        waits = f"; waiting: {step.blocked}" if step.blocked else ""
        message = f"{len(step.outdated)} peers are of an old revision{waits}."
        reason = Reason.UPGRADE_STALLED if step.stalled else Reason.UPGRADING
        return Condition("Upgrading", "True", reason, message)
    if step.held_back:
        message = (
            f"{len(step.held_back)} peers run another image than this operator's:"
            " set spec.image or annotate chordial.dev/restartedAt to restart them."
        )
        return Condition("Upgrading", "False", Reason.HELD_BACK, message)
    return Condition("Upgrading", "False", Reason.ALL_UP_TO_DATE, "All peers are up to date.")


def _heard(
    facts: OverlayFacts,
    numbers: Mapping[str, SlowNumber],
    previous: Manifest | None,
    now: float,
) -> Manifest:
    """What only peers can tell; kept while they have not."""
    if not _has_heard(facts, now):
        names = ("version", "copiesMissing", "membershipAgreement")
        return {name: previous[name] for name in names if previous and name in previous}
    agree, asked = health.agreement(facts.peers)
    heard: Manifest = {"membershipAgreement": f"{agree}/{asked}"}
    if "copiesMissing" in numbers:
        heard["copiesMissing"] = numbers["copiesMissing"].value
    versions = [peer.report.version for peer in facts.peers if peer.report and peer.report.version]
    if versions:
        heard["version"] = min(versions, key=_version_order)
    return heard


def _has_heard(facts: OverlayFacts, now: float) -> bool:
    """Nobody is silent where nobody is there; a new operator waits a while for every peer."""
    silent = [peer.report is None for peer in facts.peers if peer.is_up]
    is_new = now - facts.listening_since < LISTENING_SECONDS
    return not any(silent) or not (is_new or all(silent))


def _version_order(version: str) -> tuple[tuple[int, ...], str]:
    core = version.split("-")[0].split("+")[0].split(".")
    return tuple(int(part) if part.isdecimal() else -1 for part in core), version


def _failure_domains(peers: Sequence[PeerView]) -> int:
    """Zones, or nodes where there are none: a domain is `ZONE/NODE` or `NODE`."""
    return len({peer.failure_domain.partition("/")[0] for peer in peers if peer.is_up})
