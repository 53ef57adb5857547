"""Who leaves, and when (fleet 2.3, steps 1 to 3; H13). Pure: the caller writes what is chosen.

Each choice is written with a precondition and the view counted again before the next one, so two
operators that choose from one view choose the same peer, and pay with a conflict, not two drains.
How a chosen peer goes is `finish`'s and the node's affair.
"""

from collections.abc import Collection, Sequence

import msgspec

from chordial_operator.decisions import floor
from chordial_operator.decisions.floor import Need
from chordial_operator.decisions.views import PeerView, is_known, is_seen_alive

BROKEN_SECONDS = 60.0
"""A peer that has not been ready for so long counts as never ready."""


MOST_PLANNED = 32
"""Who would leave is told so far ahead, however large the surplus is."""


class ScaleInRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the specs say of leaving."""

    replicas: int
    max_concurrent: int
    stabilization: float
    need: Need
    template_hash: str = ""
    """Of the present template of this set: peers of others go before."""
    is_forced: bool = False
    """Somebody has taken the floor away, for this generation of the spec."""
    has_upgrade_step: bool = False
    """Some peer of the overlay is being restarted by an upgrade."""
    lost: Collection[str] = ()
    """Peers that are lost for good: they are replaced or removed, and never chosen here."""


class Leaver(msgspec.Struct, frozen=True):
    """A peer that is to leave now."""

    name: str
    why: str


class ScaleIn(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about a set that has more peers than it should."""

    leave: tuple[Leaver, ...] = ()
    planned: tuple[str, ...] = ()
    """Who would leave, in order, for the Event ScaleInPlanned; the first of many."""
    limited: str = ""
    """Why the floor forbids it: the message of ScalingLimited."""
    waits: str = ""
    """Why nothing more leaves now."""
    low_since: float | None = None
    """Since when fewer are wanted; the caller hands it back next time."""
    look_again: float | None = None
    """Seconds until time alone may change the answer."""


def is_forced(annotation: str, generation: int) -> bool:
    """Tell whether `chordial.dev/force-scale-in` speaks of this generation of the spec."""
    return annotation == str(generation)


def plan(
    own: Sequence[PeerView],
    overlay: Sequence[PeerView],
    rules: ScaleInRules,
    low_since: float | None,
    now: float,
) -> ScaleIn:
    """Return who of a set's peers leaves now; `overlay` are all peers, this set's included."""
    own = [peer for peer in own if peer.name not in rules.lost]
    surplus = sum(1 for peer in own if not peer.is_leaving) - rules.replicas
    if surplus <= 0:
        return ScaleIn()
    since = now if low_since is None else min(low_since, now)
    horizon = min(surplus, max(MOST_PLANNED, rules.max_concurrent))
    chosen, limited = _order(own, overlay, rules, horizon, now)
    planned = tuple(leaver.name for leaver in chosen)
    said = ScaleIn(planned=planned, limited=limited, low_since=since)
    left = since + rules.stabilization - now
    if left > 0:
        text = f"fewer peers are wanted, acted on after {rules.stabilization:g} s of that"
        return msgspec.structs.replace(said, waits=text, look_again=left)
    if rules.has_upgrade_step:
        return msgspec.structs.replace(said, waits="an upgrade restarts a peer, which comes first")
    now_leaving, waits = _slots(chosen, own, overlay, rules, now)
    return msgspec.structs.replace(said, leave=now_leaving, waits=waits)


def _slots(
    chosen: Sequence[Leaver],
    own: Sequence[PeerView],
    overlay: Sequence[PeerView],
    rules: ScaleInRules,
    now: float,
) -> tuple[tuple[Leaver, ...], str]:
    """Take from the front of the line as many as may be away at one time.

    One that never joined needs a place among the leaving, but no peer misses it: only those that
    serve must not be away beside others that are.
    """
    by_name = {peer.name: peer for peer in own}
    leaving = [peer.name for peer in overlay if peer.is_leaving]
    away = frozenset(peer.name for peer in overlay if not peer.stays)
    taken: list[Leaver] = []
    for leaver in chosen:
        if len(leaving) + len(taken) >= rules.max_concurrent:
            return tuple(taken), f"{rules.max_concurrent} at one time: {_list(leaving, taken)}"
        peer = by_name[leaver.name]
        away |= {leaver.name}
        if not is_useless(peer, overlay, now) and len(away) > rules.max_concurrent:
            others = ", ".join(sorted(away - {leaver.name}))
            return tuple(taken), f"{leaver.name} stays while others are away: {others}"
        taken.append(leaver)
    return tuple(taken), ""


def _order(
    own: Sequence[PeerView],
    overlay: Sequence[PeerView],
    rules: ScaleInRules,
    count: int,
    now: float,
) -> tuple[list[Leaver], str]:
    """Choose one after the other, each with the failure domains as the one before leaves them."""
    chosen: list[Leaver] = []
    candidates = [peer for peer in own if not peer.is_leaving]
    while len(chosen) < count:
        gone = frozenset(leaver.name for leaver in chosen)
        first_problem = ""
        remaining = [peer for peer in candidates if peer.name not in gone]
        for peer in sorted(remaining, key=_Rank(overlay, gone, rules, now)):
            leaves = {*gone, peer.name}
            problem = "" if rules.is_forced else floor.problem(overlay, leaves, rules.need)
            if not problem:
                chosen.append(Leaver(peer.name, _why(peer, overlay, rules, now)))
                break
            first_problem = first_problem or problem
        else:
            return chosen, first_problem
    return chosen, ""


class _Rank:
    """The order of fleet 2.3, step 3: who goes first sorts first."""

    def __init__(
        self,
        overlay: Sequence[PeerView],
        gone: Collection[str],
        rules: ScaleInRules,
        now: float,
    ) -> None:
        self._overlay = overlay
        self._rules = rules
        self._now = now
        self._crowd: dict[str, int] = {}
        for peer in overlay:
            if peer.stays and peer.name not in gone:
                domain = peer.failure_domain
                self._crowd[domain] = self._crowd.get(domain, 0) + 1

    def __call__(self, peer: PeerView) -> tuple[bool | int, ...]:
        report = peer.report
        return (
            not peer.wants_removal_first,
            not is_useless(peer, self._overlay, self._now),
            not peer.node_state.cordoned,
            not _is_old(peer, self._rules),
            -self._crowd.get(peer.failure_domain, 0),
            report.calls if report else 0,
            report.registrations if report else 0,
            -peer.number,
        )


def is_useless(peer: PeerView, overlay: Sequence[PeerView], now: float) -> bool:
    """Tell whether nobody would miss a peer: it is cut off, or has not become ready for long."""
    if peer.is_up or is_known(peer, overlay):
        return peer.is_unreachable and not is_seen_alive(peer, overlay)
    since = peer.created_at
    if peer.pod is not None:
        since = peer.pod.ready_changed or peer.pod.started_at
    return now - since >= BROKEN_SECONDS


def _is_old(peer: PeerView, rules: ScaleInRules) -> bool:
    return bool(rules.template_hash) and (
        peer.pod is None or peer.pod.template_hash != rules.template_hash
    )


def _why(peer: PeerView, overlay: Sequence[PeerView], rules: ScaleInRules, now: float) -> str:
    if peer.wants_removal_first:
        reason = "it is to be removed first"
    elif is_useless(peer, overlay, now):
        reason = "it is lost or has never become ready"
    elif peer.node_state.cordoned:
        reason = "its node is cordoned"
    elif _is_old(peer, rules):
        reason = "it is of an old revision"
    else:
        calls = peer.report.calls if peer.report else 0
        where = peer.failure_domain or "an unknown place"
        reason = f"it has {calls} calls and stands in {where}, the fullest failure domain"
    return f"{peer.name} leaves: {rules.replicas} replicas are wanted, and {reason}"


def _list(leaving: Sequence[str], taken: Sequence[Leaver]) -> str:
    names = [*leaving, *(leaver.name for leaver in taken)]
    return f"{', '.join(names)} must be gone first"
