"""How many peers the PodDisruptionBudget of an overlay guards (fleet H8). Pure.

An integer, because Kubernetes must not allow a second eviction while a peer that was chosen to
leave still drains: it counts until the operator has seen it gone.
"""

from collections.abc import Collection, Sequence

from chordial_operator.decisions.views import PeerView, is_known


def min_available(
    overlay: Sequence[PeerView],
    lost: Collection[str],
    max_unavailable: int,
    previous: int | None = None,
) -> int:
    """Return the budget: joined peers, leaving ones too, lost ones not, minus those it allows.

    `previous` is what stands in the cluster now: an operator that has just started and has heard
    nobody yet does not lower it.
    """
    joined = [peer for peer in overlay if peer.name not in lost and is_known(peer, overlay)]
    budget = max(0, len(joined) - max_unavailable)
    has_heard = any(peer.report is not None for peer in overlay) or not overlay
    if previous is not None and not has_heard:
        return max(previous, budget)
    return budget
