"""Which peer is restarted next, for a new template (fleet 2.4, H16). Pure.

Broken peers of the wrong revision first and ungated, so that a reverted spec heals; the others one
at a time by eviction, a relay first, failure domain by failure domain, seeds last, each only when
the overlay is whole again. There is no rollback here: reverting the spec is one.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from chordial_operator.decisions import health
from chordial_operator.decisions.views import PeerView
from chordial_operator.names import SEED


class Wanted(msgspec.Struct, frozen=True):
    """What a peer's pod should be made of."""

    template_hash: str
    """Of what the specs say: a new operator alone changes none (OnDemand)."""
    image: str = ""


class Gate(msgspec.Struct, frozen=True):
    """Whether the overlay is whole, and since when that is so; the caller hands it back."""

    is_open: bool
    since: float


class UpgradeRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the Overlay's spec says of restarts."""

    stabilization: float = 10.0
    peer_timeout: float = 900.0
    is_paused: bool = False


class Restart(msgspec.Struct, frozen=True):
    """A peer whose template is to be applied, and its pod then replaced."""

    name: str
    pod_uid: str
    at_once: bool
    """Delete the pod; else evict it, and wait when the disruption budget says so."""
    why: str


class UpgradeStep(msgspec.Struct, frozen=True, kw_only=True):
    """What an upgrade does now."""

    restarts: tuple[Restart, ...] = ()
    templates: tuple[str, ...] = ()
    """Peers that have no pod now, and whose template is to be applied before they get one."""
    outdated: tuple[str, ...] = ()
    """Peers to be restarted, in their order."""
    held_back: tuple[str, ...] = ()
    """Peers of another image than the operator's, which nobody has demanded (OnDemand)."""
    blocked: str = ""
    """Why none is evicted now."""
    stalled: str = ""
    """Why the upgrade does not get on: the message of UpgradeStalled."""
    gate: Gate | None = None
    look_again: float | None = None

    @property
    def is_restarting(self) -> bool:
        """Whether a scale-in has to wait for a restart that an upgrade has caused."""
        return bool(self.outdated) and not self.stalled


def next_step(
    overlay: Sequence[PeerView],
    wanted: Mapping[str, Wanted],
    rules: UpgradeRules,
    lost: Collection[str],
    gate: Gate | None,
    now: float,
) -> UpgradeStep:
    """Return what to do now; `wanted` are by peer, `gate` is what the step before told."""
    standing = [peer for peer in overlay if peer.name in wanted and not peer.is_leaving]
    due = sorted(
        (peer for peer in standing if _is_due(peer, wanted[peer.name])),
        key=lambda peer: _place(peer, wanted[peer.name]),
    )
    outdated = tuple(peer.name for peer in due)
    said = UpgradeStep(
        outdated=outdated,
        held_back=tuple(
            peer.name
            for peer in standing
            if peer.name not in outdated and _is_of_other_image(peer, wanted[peer.name])
        ),
    )
    if not due or rules.is_paused:
        return msgspec.structs.replace(said, blocked="the overlay is paused" if due else "")
    broken = tuple(
        Restart(peer.name, peer.pod.uid, True, _why_broken(peer))
        for peer in due
        if peer.pod is not None and _is_broken(peer)
    )
    said = msgspec.structs.replace(
        said,
        restarts=broken,
        templates=tuple(peer.name for peer in due if peer.pod is None),
    )
    return _gated(said, overlay, due, rules, lost, gate, now)


def _gated(
    said: UpgradeStep,
    overlay: Sequence[PeerView],
    due: Sequence[PeerView],
    rules: UpgradeRules,
    lost: Collection[str],
    gate: Gate | None,
    now: float,
) -> UpgradeStep:
    """Evict the next one if the overlay has been whole for long enough."""
    problem = health.problem(overlay, lost, now)
    is_open = not problem
    following = gate if gate is not None and gate.is_open == is_open else Gate(is_open, now)
    said = msgspec.structs.replace(said, gate=following, blocked=problem)
    if problem:
        return _perhaps_stalled(said, overlay, rules, problem, now)
    left = following.since + rules.stabilization - now
    if left > 0:
        text = f"the overlay must have been whole for {rules.stabilization:g} s"
        return msgspec.structs.replace(said, blocked=text, look_again=left)
    peer = due[0]
    assert peer.pod is not None  # the overlay is whole
    why = f"{peer.name} is restarted: it is of an old revision, and all others are well"
    return msgspec.structs.replace(said, restarts=(Restart(peer.name, peer.pod.uid, False, why),))


def _perhaps_stalled(
    said: UpgradeStep,
    overlay: Sequence[PeerView],
    rules: UpgradeRules,
    problem: str,
    now: float,
) -> UpgradeStep:
    """A peer that does not come back stalls an upgrade; one that still ends its calls does not."""
    if any(_is_ending(peer) for peer in overlay):
        return msgspec.structs.replace(said, gate=Gate(False, now))
    unready = [
        now - (peer.pod.ready_changed or peer.pod.started_at)
        for peer in overlay
        if peer.pod is not None and not peer.pod.is_ready and peer.name not in said.outdated
    ]
    assert said.gate is not None  # it was set just before
    waited = max([now - said.gate.since, *unready])
    if waited < rules.peer_timeout:
        return msgspec.structs.replace(said, look_again=rules.peer_timeout - waited)
    text = (
        f"{problem}, for more than {rules.peer_timeout:.0f} s; {len(said.outdated)} peers wait:"
        " mend what it says, or revert the spec"
    )
    return msgspec.structs.replace(said, stalled=text)


def _is_due(peer: PeerView, wanted: Wanted) -> bool:
    present = peer.template_hash if peer.pod is None else peer.pod.template_hash
    return present != wanted.template_hash


def _is_of_other_image(peer: PeerView, wanted: Wanted) -> bool:
    return peer.pod is not None and bool(wanted.image) and peer.pod.image != wanted.image


def _is_ending(peer: PeerView) -> bool:
    is_stopping = peer.pod is not None and peer.pod.is_terminating and not peer.is_unreachable
    return peer.is_leaving or is_stopping


def _is_broken(peer: PeerView) -> bool:
    pod = peer.pod
    return (
        pod is not None and not pod.is_ready and not pod.is_terminating and not peer.is_unreachable
    )


def _why_broken(peer: PeerView) -> str:
    waiting = f" ({peer.pod.waiting})" if peer.pod and peer.pod.waiting else ""
    return f"{peer.name} is replaced: it is of another revision and not ready{waiting}"


def _place(peer: PeerView, wanted: Wanted) -> tuple[bool, bool, str, str, int]:
    """Who has begun first, then relays, by failure domain; the first relay is the canary."""
    return (
        peer.template_hash != wanted.template_hash,
        peer.role == SEED,
        peer.failure_domain,
        peer.set_name,
        peer.number,
    )
