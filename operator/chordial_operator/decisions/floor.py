"""The fewest peers and failure domains that an overlay keeps (fleet 2.3, step 2). Pure."""

from collections.abc import Collection, Iterable

import msgspec

from chordial_operator.decisions.views import PeerView


class Need(msgspec.Struct, frozen=True):
    """What copies and ring ask for."""

    copies: int
    successors: int

    @property
    def peers(self) -> int:
        """The fewest peers: one for each copy, and r + 1 for the ring."""
        return max(self.copies, self.successors + 1)


def problem(overlay: Iterable[PeerView], leaves: Collection[str], need: Need) -> str:
    """Return why these peers cannot leave as well, as a sentence; empty when they can.

    Counted over the whole overlay, and only peers that serve now and are to go on with it.
    """
    staying = [peer for peer in overlay if peer.stays]
    left = [peer for peer in staying if peer.name not in leaves]
    if len(left) < need.peers:
        return (
            f"{len(left)} serving peers of the overlay would be left, and {need.copies} copies with"
            f" {need.successors} successors need {need.peers}: add peers, or ask for fewer copies"
        )
    domains = len({peer.failure_domain for peer in staying})
    wanted = min(need.copies, domains)
    kept = len({peer.failure_domain for peer in left})
    if kept < wanted:
        return (
            f"the {len(left)} peers left would stand in {kept} failure domains, and the copies of"
            f" a value need {wanted}: add peers on other nodes"
        )
    return ""
