"""The way of a peer that was chosen to leave, to its last object (fleet 2.3, steps 4 to 6). Pure.

Each turn looks at what stands and tells one step, so an operator that died midway goes on where it
was. Who is chosen is decided in `scale_in`; a leaving peer on a lost node ends in `replacement`.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from chordial_operator.decisions import health
from chordial_operator.decisions.replacement import Object
from chordial_operator.decisions.views import PeerView, is_known, is_seen_alive

Outcome = Literal["", "DrainCompleted", "DrainTimedOut"]


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done now about a peer that leaves."""

    name: str
    step: Literal["Drain", "Wait", "Remove"]
    """Send it `Drain(Leave)` and set its StatefulSet to 0; nothing; delete what `remove` names."""
    remove: tuple[Object, ...] = ()
    """In this order: the volume claim before the StatefulSet, or nobody would find it again."""
    outcome: Outcome = ""
    """The reason of the Event, once it is gone."""
    why: str


def next_step(peer: PeerView, overlay: Sequence[PeerView], *, removes_volume: bool) -> Finish:
    """Return the step of a leaving peer; `overlay` are all peers, this one included."""
    assert peer.is_leaving, "only a peer that was chosen to leave is finished"
    if peer.stateful_set_replicas != 0:
        return _finish(peer, "Drain", f"{peer.name} drains: its calls end, its phones move")
    if peer.pod is not None:
        return _finish(peer, "Wait", f"{peer.name} drains")
    others = [other for other in overlay if other.name != peer.name]
    if others and not health.is_told(others):
        return _finish(peer, "Wait", f"no other peer tells whether {peer.name} has left the ring")
    if is_seen_alive(peer, overlay):
        return _finish(peer, "Wait", f"{peer.name} has no pod, and the ring has not noticed yet")
    missing = health.copies_missing(others)
    if is_known(peer, overlay) and missing:
        text = f"{peer.name} ended before it had left: {missing} copies are being made anew"
        return _finish(peer, "Wait", text)
    return _gone(peer, removes_volume)


def _gone(peer: PeerView, removes_volume: bool) -> Finish:
    remove: tuple[Object, ...] = ("PodDisruptionBudget", "StatefulSet")
    if removes_volume:
        remove = ("PodDisruptionBudget", "PersistentVolumeClaim", "StatefulSet")
    calls = peer.report.calls if peer.report else 0
    phones = peer.report.phones_waiting if peer.report else 0
    if calls or phones:
        why = f"{peer.name} left at the end of its drain with {calls} calls and {phones} phones"
        return Finish(
            name=peer.name, step="Remove", remove=remove, outcome="DrainTimedOut", why=why
        )
    why = f"{peer.name} has left: its calls have ended, its phones have moved"
    return Finish(name=peer.name, step="Remove", remove=remove, outcome="DrainCompleted", why=why)


def _finish(peer: PeerView, step: Literal["Drain", "Wait"], why: str) -> Finish:
    return Finish(name=peer.name, step=step, why=why)
