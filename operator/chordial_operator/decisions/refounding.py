"""Whether an overlay must be founded once more, as another one of its name (fleet H7). Pure.

Only a strict majority of the founders that the signed configuration names may form a ring where
none is. Once so many of them are gone for good that no majority is left, nobody ever would; where
every peer is up and none holds anything, nothing is lost by beginning anew. Doing it is a turn's.
"""

from collections.abc import Collection, Sequence

from chordial_node.ids import NodeId
from chordial_operator.decisions.health import has_word
from chordial_operator.decisions.views import PeerView
from chordial_operator.names import SEED

RINGLESS_SECONDS = 60.0
"""So long all of this must hold: a report is a moment's word."""


def founders_anew(
    peers: Sequence[PeerView], founders: Collection[NodeId], successors: int, now: float
) -> tuple[NodeId, ...]:
    """Return who is to found the overlay once more; empty while it need not, or must not, be."""
    left = [peer for peer in peers if peer.node_id in founders]
    if 2 * len(left) > len(founders):
        return ()
    ours = {peer.node_id for peer in peers}
    if not all(_is_up_and_empty(peer, ours, now) for peer in peers):
        return ()
    seeds = [peer.node_id for peer in peers if peer.role == SEED]
    if len(seeds) <= successors:
        return ()
    return tuple(seeds[: successors + 1])


def _is_up_and_empty(peer: PeerView, ours: Collection[NodeId], now: float) -> bool:
    """Tell whether a peer runs, is in no ring, holds no value and knows nobody that we do not see.

    One that is not heard may hold some.
    """
    if peer.is_leaving or peer.is_unreachable or peer.pod is None or peer.pod.is_terminating:
        return False
    report = peer.report
    if report is None or not has_word(peer, now) or report.is_ready:
        return False
    knows_others = any(node not in ours for node in report.members_alive)
    return report.state in ("starting", "joining") and report.entries == 0 and not knows_others
