"""Peers that are lost for good with their node, and how each is replaced (fleet H6). Pure.

A lost peer is fenced first, so that its identity can never run again; then its successor is made,
under a new name and Node-ID, while the lost one's objects still hold the old name; then they go.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from chordial_node.ids import NodeId
from chordial_operator.decisions import health
from chordial_operator.decisions.views import PeerView, is_seen_alive

Step = Literal["Fence", "Succeed", "Wait", "Remove"]
Object = Literal["PodDisruptionBudget", "StatefulSet", "Pod", "PersistentVolumeClaim"]


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A peer that is lost for good, and the one step that its replacement takes now."""

    name: str
    node_id: NodeId
    step: Step
    """Put it into the list of bad nodes; make its successor; wait; remove its objects."""
    remove: tuple[Object, ...] = ()
    """In this order; the pod at once, without its kubelet's word."""
    why: str


def lost(
    overlay: Sequence[PeerView], replace_after: Mapping[str, float], now: float
) -> tuple[str, ...]:
    """Return the names of the peers that are lost for good; `replace_after` is by set.

    Its node has been silent for longer than that, and no peer that serves holds it alive.
    """
    return tuple(
        peer.name
        for peer in overlay
        if peer.node_state.unreachable_since is not None
        and peer.set_name in replace_after
        and now - peer.node_state.unreachable_since >= replace_after[peer.set_name]
        and health.is_told([other for other in overlay if other.name != peer.name])
        and not is_seen_alive(peer, overlay)
    )


def next_lost_at(
    overlay: Sequence[PeerView], replace_after: Mapping[str, float], now: float
) -> float | None:
    """Return the seconds until time alone may make a peer lost for good."""
    waits = [
        peer.node_state.unreachable_since + replace_after[peer.set_name] - now
        for peer in overlay
        if peer.node_state.unreachable_since is not None and peer.set_name in replace_after
    ]
    return min((wait for wait in waits if wait > 0), default=None)


def steps(
    own: Sequence[PeerView],
    overlay: Sequence[PeerView],
    lost_names: Collection[str],
    fenced: Collection[NodeId],
    replicas: int,
    *,
    removes_volume: bool,
) -> tuple[Lost, ...]:
    """Return the step of each lost peer of a set.

    Its objects go when as many peers as are wanted stand without it, and no copy is missing: until
    then its volume may be the last to hold one, for a person to recover.
    """
    standing = sum(1 for peer in own if peer.name not in lost_names and not peer.is_leaving)
    missing = health.copies_missing(overlay)
    found = []
    for peer in own:
        if peer.name not in lost_names:
            continue
        said = f"{peer.name} is lost with node {peer.pod.node if peer.pod else '?'}"
        if peer.node_id not in fenced:
            found.append(_lost(peer, "Fence", f"{said}: its identity is shut out"))
        elif standing < replicas and not peer.is_leaving:
            found.append(_lost(peer, "Succeed", f"{said}: a new peer takes its place"))
        elif missing:
            found.append(_lost(peer, "Wait", f"{said}: {missing} copies are being made anew"))
        else:
            # the pod before its claim, which cannot go while a pod has it
            objects: tuple[Object, ...] = ("PodDisruptionBudget", "StatefulSet", "Pod")
            if removes_volume:
                objects = (*objects, "PersistentVolumeClaim")
            found.append(_lost(peer, "Remove", f"{said}: it is removed", objects))
    return tuple(found)


def _lost(peer: PeerView, step: Step, why: str, remove: tuple[Object, ...] = ()) -> Lost:
    return Lost(name=peer.name, node_id=peer.node_id, step=step, remove=remove, why=why)
