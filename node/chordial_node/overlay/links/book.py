"""All links by number, and for each peer the one that carries everything.

A second link to the same peer is a rival until one of the two gives way. Which one does, and what
is told of it, is decided in `links.py`.
"""

from collections.abc import Callable

from chordial_node.ids import WILDCARD, NodeId
from chordial_node.overlay.links.link import Link, LinkState


class LinkBook:
    """Which links there are."""

    def __init__(self) -> None:
        self.by_number: dict[int, Link] = {}
        self.by_node: dict[NodeId, Link] = {}
        """The link to send on, dialing, open or up."""
        self.touched: dict[int, Link] = {}
        """Those that may have a frame to write at the end of the turn."""

    def up(self, node: NodeId) -> Link | None:
        """Return the link to a peer if it is up."""
        link = self.by_node.get(node)
        return link if link is not None and link.state is LinkState.UP else None

    def all_up(self) -> list[NodeId]:
        """Return all peers whose link is up, sorted."""
        return sorted(node for node, link in self.by_node.items() if link.state is LinkState.UP)

    def seeds(self) -> int:
        """Return how many dials go to whoever answers."""
        return sum(link.node == WILDCARD for link in self.by_number.values())

    def rival_of(self, link: Link) -> Link | None:
        """Return another link to the same peer that is not on its way out."""
        for other in self.by_number.values():
            is_rival = other.node == link.node and other is not link
            if is_rival and other.state is not LinkState.RETIRING:
                return other
        return None

    def is_alone(self, link: Link) -> bool:
        """Tell whether a peer is reached over this link or not at all."""
        return self.by_node.get(link.node) is link and self.rival_of(link) is None

    def replace(self, old: Link, new: Link) -> None:
        """Let another link to the same peer carry everything, what waits included."""
        for mine, theirs in zip(new.queues, old.queues, strict=True):
            mine.extend(theirs)
            theirs.clear()
        new.waiting, old.waiting = new.waiting + old.waiting, 0
        new.watched.update(old.watched)
        old.watched.clear()
        new.owed += old.owed + old.owed_before
        if old.round_trip.is_measured and not new.round_trip.is_measured:
            new.round_trip = old.round_trip
        new.used_at = max(new.used_at, old.used_at)
        self.by_node[new.node] = new
        self.touched[new.number] = new

    def step_aside(self, link: Link) -> None:
        """Carry nothing on a link any more."""
        self.touched.pop(link.number, None)
        if self.by_node.get(link.node) is link:
            del self.by_node[link.node]

    def forget(self, link: Link) -> None:
        """Know nothing of a link any more."""
        self.by_number.pop(link.number, None)
        self.step_aside(link)

    def least_used(self, before: float, is_needed: Callable[[NodeId], bool]) -> Link | None:
        """Return the idle link that was used least lately, before a time; needed ones stay."""
        idle = [
            link
            for link in self.by_node.values()
            if link.used_at <= before
            and link.state is LinkState.UP
            and not link.is_writing
            and not link.waiting
        ]
        for link in sorted(idle, key=lambda link: (link.used_at, link.node)):
            if not is_needed(link.node):
                return link
        return None
