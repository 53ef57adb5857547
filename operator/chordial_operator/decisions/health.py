"""Whether an overlay is whole, as its peers tell it: what a restart or a removal waits for.

Fleet H16. Pure; what is done with the answer belongs to the decisions that ask.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from chordial_operator.decisions.views import PeerView

REPORT_SECONDS = 30.0
"""What a peer said longer ago than this is no longer its word."""


def problem(overlay: Sequence[PeerView], lost: Collection[str], now: float) -> str:
    """Return why the overlay is not whole, as a sentence; empty when it is.

    A lost peer is still one of the overlay: it must be replaced before anything else is risked.
    """
    absent = [_absence(peer, lost) for peer in overlay]
    first = next((text for text in absent if text), "")
    if first:
        return first
    for peer in overlay:
        if not has_word(peer, now):
            return f"{peer.name} does not answer the operator"
        if peer.report is not None and not peer.report.in_step:
            return f"{peer.name} is not in step with its neighbors"
    if copies_missing(overlay):
        return "some copies are missing"
    agree, asked = agreement(overlay)
    if agree != asked:
        return "peers do not agree on who is in the ring"
    return ""


def _absence(peer: PeerView, lost: Collection[str]) -> str:
    if peer.is_leaving:
        return f"{peer.name} is leaving"
    if peer.name in lost or peer.is_unreachable:
        return f"{peer.name} is lost with its node"
    if peer.pod is None:
        return f"{peer.name} has no pod"
    if peer.pod.is_terminating:
        return f"{peer.name} is stopping"
    if not peer.is_up:
        reason = f": {peer.pod.waiting}" if peer.pod.waiting else ""
        return f"{peer.name} is not ready{reason}"
    return ""


def has_word(peer: PeerView, now: float) -> bool:
    """Tell whether a peer has said something lately."""
    return peer.report is not None and now - peer.report.at <= REPORT_SECONDS


def is_told(peers: Sequence[PeerView]) -> bool:
    """Tell whether any peer that serves has said how it sees the overlay."""
    return any(peer.is_up and peer.report is not None for peer in peers)


def copies_missing(overlay: Sequence[PeerView]) -> int:
    """Return how many copies the serving peers miss, each of its own range."""
    return sum(peer.report.copies_missing for peer in overlay if peer.is_up and peer.report)


def agreement(overlay: Sequence[PeerView]) -> tuple[int, int]:
    """Return how many serving peers tell the commonest membership, and how many tell one."""
    counts = Counter(
        peer.report.membership_digest
        for peer in overlay
        if peer.is_up and peer.report and peer.report.membership_digest
    )
    return max(counts.values(), default=0), counts.total()
