"""Digests of the table: what the broadcast missed is found by comparing 64 hashes (protocol.md §2).

Every five seconds with a random finger, sooner again after an exchange that found much. Digests
cover tombstones. What a record means when it arrives is decided in `membership.py`.
"""

from collections.abc import Callable
from typing import Protocol

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import Digest, DigestDiff, MemberRecord
from chordial_node.overlay.ring.fingers import fingers
from chordial_node.overlay.table import BUCKETS, Table

PERIOD_SECONDS = 5.0
CHUNK_RECORDS = 256
MOST_WAITING = 64
_ALL = tuple(range(BUCKETS))


class Learner(Protocol):
    """Who takes in the records of an exchange."""

    def learn(self, records: tuple[MemberRecord, ...], node: NodeId) -> int:
        """Merge what a peer knows; return how much of it was news."""
        ...


class Digests:
    """The periodic exchange, and those that are asked for."""

    def __init__(self, kernel: Kernel, own: NodeId, links: Links, table: Table) -> None:
        self._kernel = kernel
        self._own = own
        self._links = links
        self._table = table
        self._waiting: dict[NodeId, None] = {}
        self._is_running = False
        self.learner: Learner
        self.on_period: Callable[[], None]
        """Called once with each periodic digest."""

    def start(self) -> None:
        """Exchange digests from now on."""
        self._is_running = True
        self._kernel.after(self._kernel.jittered(PERIOD_SECONDS), self._on_period)

    def stop(self) -> None:
        """Exchange no more."""
        self._is_running = False

    def exchange(self, node: NodeId) -> None:
        """Compare tables with a peer, as soon as it is linked."""
        if not self._links.send_control(node, Digest(hashes=tuple(self._table.hashes))):
            if len(self._waiting) < MOST_WAITING:
                self._waiting[node] = None
            self._links.ensure(node)

    def exchange_with_finger(self) -> None:
        """Compare tables with a random finger."""
        if not self._is_running:
            return
        chosen = fingers(self._table.live_ids(), self._own, self._table.avoid)
        if chosen:
            self.exchange(chosen[int(self._kernel.random.random() * len(chosen))])

    def on_link_up(self, node: NodeId) -> None:
        """Send the digest that waited for this link."""
        if node in self._waiting:
            del self._waiting[node]
            self.exchange(node)

    def on_link_lost(self, node: NodeId) -> None:
        """Give up the digest that waited for this link."""
        self._waiting.pop(node, None)

    def on_digest(self, node: NodeId, message: Digest) -> None:
        """Answer with our records of the buckets that differ, and ask for theirs."""
        theirs = message.hashes
        if len(theirs) != BUCKETS:
            return
        ours = self._table.hashes
        differing = tuple(index for index in _ALL if ours[index] != theirs[index])
        if differing:
            self._tell(node, differing, wanted=True)

    def on_diff(self, node: NodeId, message: DigestDiff) -> None:
        """Take in the other side's records; give ours when they are wanted."""
        wanted = tuple(index for index in _ALL if index in message.buckets)
        theirs = {(each.node_id, each.incarnation, each.rank) for each in message.records}
        if wanted:
            self._tell(node, wanted, wanted=False, known=theirs)
        news = self.learner.learn(message.records, node)
        if news > max(4, len(self._table) // 100) and self._is_running:
            self._kernel.after(self._kernel.jittered(0.75, 1 / 3), self.exchange_with_finger)

    def _tell(
        self,
        node: NodeId,
        buckets: tuple[int, ...],
        *,
        wanted: bool,
        known: set[tuple[NodeId, int, int]] | None = None,
    ) -> None:
        """Send records in chunks; the last chunk says which buckets are wanted back."""
        records = [
            record
            for record in self._table.records_in(buckets)
            if not known or (record.node_id, record.incarnation, record.rank) not in known
        ]
        chunks = [
            tuple(records[start : start + CHUNK_RECORDS])
            for start in range(0, len(records), CHUNK_RECORDS)
        ] or [()]
        for index, chunk in enumerate(chunks):
            is_last = index == len(chunks) - 1
            asked = buckets if wanted and is_last else ()
            if chunk or asked:
                self._links.send_control(node, DigestDiff(buckets=asked, records=chunk))

    def _on_period(self) -> None:
        if not self._is_running:
            return
        self._kernel.after(self._kernel.jittered(PERIOD_SECONDS), self._on_period)
        self.exchange_with_finger()
        self.on_period()
