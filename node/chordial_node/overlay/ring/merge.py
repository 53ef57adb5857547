"""Lost peers, and rings that find each other again (protocol.md §2 and §7).

Peers that died are remembered for a day, founders for ever, and one of them is dialed with each
digest. On contact with a live peer that this ring holds dead, tables are exchanged; where one side
says alive and the other dead of the same life, each side tells its own members `back`, and the
subject answers with a new incarnation. The rings themselves join by Zave's steps alone.
"""

from msgspec.structs import replace

from chordial_node.boundary.events import Address
from chordial_node.boundary.notices import RingsMerging
from chordial_node.config import OverlayConfig
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import Hello, MemberRecord, Rank
from chordial_node.overlay.ring.digests import Digests
from chordial_node.overlay.ring.membership import LIVE, Membership
from chordial_node.overlay.table import Table

MOST_LOST = 1024
LOST_SECONDS = 86_400.0
MERGE_SECONDS = 10.0
"""After a contact, what the two peers tell each other is told to the whole of each side."""
MOST_MERGING = 64
MOST_SEEDS = 64
BACK_SECONDS = 3.0
NEWS_SECONDS = 1.0
"""A peer unknown here has most likely joined this very ring: the broadcast says so by then."""


class Merge:
    """Remembers who was lost, probes them, and merges with what they are part of."""

    def __init__(
        self,
        kernel: Kernel,
        config: OverlayConfig,
        own: NodeId,
        links: Links,
        table: Table,
        membership: Membership,
        digests: Digests,
    ) -> None:
        self._kernel = kernel
        self._own = own
        self._links = links
        self._table = table
        self._membership = membership
        self._digests = digests
        self._founders = config.founder_ids
        self._lost: dict[NodeId, tuple[MemberRecord, float]] = {}
        self._merging: dict[NodeId, float] = {}
        self._returning: dict[NodeId, None] = {}
        self._own_address = config.advertise.address
        self._fixed_seeds = tuple(seed.address for seed in config.seed_addresses)
        self._seeds: dict[Address, NodeId | None] = {}
        self.found_seeds(())
        self._turn = 0

    def lost(self) -> list[MemberRecord]:
        """Return the records of those who were lost."""
        return [record for record, _ in self._lost.values()]

    def remember(self, record: MemberRecord) -> None:
        """Remember a peer that was lost; the longest lost gives way, founders do not."""
        if record.rank == Rank.LEFT and record.node_id not in self._founders:
            return
        self._lost.pop(record.node_id, None)
        self._lost[record.node_id] = (record, self._kernel.now)
        if len(self._lost) > MOST_LOST:
            for node in self._lost:
                if node not in self._founders:
                    del self._lost[node]
                    break

    def found(self, record: MemberRecord) -> None:
        """Note that a peer lives, and who is at the address of a seed."""
        self._lost.pop(record.node_id, None)
        if record.overlay_address in self._seeds:
            self._seeds[record.overlay_address] = record.node_id

    def found_seeds(self, addresses: tuple[Address, ...]) -> None:
        """Take what the names among the seeds resolve to, and who is known to be there."""
        at = {each.overlay_address: each.node_id for each in self._table.records()}
        seeds = (*self._fixed_seeds, *addresses[:MOST_SEEDS])
        self._seeds = {each: at.get(each) for each in seeds if each != self._own_address}

    def probe(self) -> None:
        """Dial one of those who were lost, or a seed that nobody is known at."""
        before = self._kernel.now - LOST_SECONDS
        for node, (_, at) in list(self._lost.items()):
            if at < before and node not in self._founders:
                del self._lost[node]
        addresses = [record.overlay_address for record, _ in self._lost.values()]
        addresses += [
            address
            for address, node in self._seeds.items()
            if node is None or (self._table.is_dead(node) and address not in addresses)
        ]
        if addresses:
            self._turn += 1
            self._links.dial(addresses[self._turn % len(addresses)])

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        """See whether a peer that is in a ring is in ours."""
        if not hello.in_ring or hello.member.rank not in LIVE:
            return
        known = self._table.get(node)
        if known is not None and not self._table.is_dead(node):
            self._membership.learn((hello.member,))
            return
        if self._contradicts(hello.member):
            self._begin(node)
            return
        self._membership.learn((hello.member,))
        self._kernel.after(NEWS_SECONDS, lambda: self._consider(hello.member))

    def learn(self, records: tuple[MemberRecord, ...], node: NodeId) -> int:
        """Take in what a peer knows; between two rings, tell it on and settle contradictions."""
        if self._merging.get(node, 0.0) <= self._kernel.now:
            return len(self._membership.learn(records))
        agreed = tuple(record for record in records if not self._contradicts(record))
        news = self._membership.learn(agreed)
        if news:
            self._membership.announce(tuple(news))
        return len(news)

    def _consider(self, member: MemberRecord) -> None:
        """Merge with a peer in a ring that nobody of ours has announced."""
        if self._membership.is_member and not self._membership.broadcast.has_seen(member):
            self._membership.announce((member,))
            self._begin(member.node_id)

    def _begin(self, node: NodeId) -> None:
        if len(self._merging) >= MOST_MERGING:
            now = self._kernel.now
            self._merging = {each: until for each, until in self._merging.items() if until > now}
        if len(self._merging) < MOST_MERGING:
            self._merging[node] = self._kernel.now + MERGE_SECONDS
            self._kernel.emit(RingsMerging(node=node))
            self._digests.exchange(node)

    def _contradicts(self, record: MemberRecord) -> bool:
        """Tell whether the two sides call the same life alive and dead; then it comes back."""
        node = record.node_id
        known = self._table.get(node)
        if node == self._own or known is None or known.incarnation != record.incarnation:
            return False
        ranks = sorted((known.rank, record.rank))
        if ranks[0] not in (Rank.ALIVE, Rank.SUSPECT) or ranks[1] != Rank.DEAD:
            return False
        if node not in self._returning and len(self._returning) < MOST_LOST:
            self._returning[node] = None
            wait = self._kernel.random.random() * BACK_SECONDS
            self._kernel.after(wait, lambda: self._bring_back(node, record.incarnation))
        return True

    def _bring_back(self, node: NodeId, incarnation: int) -> None:
        self._returning.pop(node, None)
        known = self._table.get(node)
        if known is None or known.incarnation != incarnation or not self._membership.is_member:
            return
        if known.rank <= Rank.DEAD:
            self._membership.announce((replace(known, rank=Rank.BACK, accuser=None),))
