"""What this peer knows of the others, and how it comes to know: the only writer of the table.

protocol.md §1 and §2: records merge by the larger (incarnation, rank), whatever their order;
only the subject raises its incarnation. Events come down the finger tree (`broadcast.py`), the
rest by digests (`digests.py`). All of it is hearsay: nothing here moves a range.
"""

from typing import Protocol

from msgspec.structs import replace

from chordial_node.boundary.notices import PeerDied, PeerJoined
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import DigestDiff, EventGroup, Events, MemberRecord, Rank
from chordial_node.overlay.ring.broadcast import Broadcast
from chordial_node.overlay.table import Table

TOMBSTONE_SECONDS = 900.0
"""A death is remembered for longer than ten minutes: no digest brings it back before."""
REFUTE_SECONDS = 1.0
"""The own incarnation is raised at most this often."""
NEW_SECONDS = 30.0
"""Who has been known for longer came before: digests have told it since."""
MOST_MEMBERS = 16_384
MOST_INCARNATION = 1 << 53
GRACE_SECONDS = 10.0
"""So long after its place was taken a higher life of ours may be one that nobody had told us."""
LIVE = (Rank.ALIVE, Rank.SUSPECT, Rank.BACK)


class MembershipUser(Protocol):
    """Who acts on what the table says."""

    def on_member_alive(self, record: MemberRecord) -> None:
        """A peer is alive that was not, or in a new life."""
        ...

    def on_member_dead(self, record: MemberRecord) -> None:
        """A peer is held dead, or has left."""
        ...

    def on_incarnation(self, incarnation: int) -> None:
        """Our own incarnation was raised; it is to be kept on disk."""
        ...

    def on_later_life(self, record: MemberRecord) -> None:
        """A later life of our Node-ID runs elsewhere."""
        ...


class Membership:
    """The table's writer, and this peer's own record."""

    user: MembershipUser

    def __init__(self, kernel: Kernel, links: Links, table: Table, record: MemberRecord) -> None:
        self.record = record
        """What we say of ourselves; in the table once we are in a ring."""
        self.broadcast = Broadcast(kernel, record.node_id, links, table)
        self.is_member = False
        self._kernel = kernel
        self._links = links
        self._table = table
        self._entered_at = 0.0
        self._raised_at = float("-inf")
        self._raise_to = 0

    # ourselves

    def set_incarnation(self, incarnation: int) -> None:
        """Begin a life; before it is told to anybody."""
        assert not self.is_member
        self.record = replace(self.record, incarnation=incarnation, rank=Rank.ALIVE)

    def enter(self) -> None:
        """Be a member: our record is in the table from now on."""
        assert not self.is_member
        self.is_member = True
        self._entered_at = self._kernel.now
        self._table.drop(self.record.node_id)
        self._table.merge(self.record, self._kernel.now)

    def announce_self(self) -> None:
        """Tell the whole ring that we live, unless somebody has done so."""
        if self.is_member and not self.broadcast.has_seen(self.record):
            self.broadcast.announce((self.record,))

    def announce_end(self, *, can_store: bool) -> None:
        """Tell the whole ring that we are about to end."""
        if not self.is_member:
            return
        life = max(self.record.incarnation, self._raise_to) + 1
        self.record = replace(
            self.record, incarnation=life, rank=Rank.ALIVE, can_store=can_store, is_ending=True
        )
        self._table.merge(self.record, self._kernel.now)
        self.broadcast.announce((self.record,))
        self.user.on_incarnation(life)

    def leave(self) -> None:
        """Tell the whole ring that we leave."""
        if self.is_member:
            self.record = replace(self.record, rank=Rank.LEFT)
            self._table.merge(self.record, self._kernel.now)
            self.broadcast.announce((self.record,))
            self.is_member = False

    # others

    def announce(self, records: tuple[MemberRecord, ...]) -> None:
        """Tell the whole ring, ourselves first."""
        for record in records:
            self._merge(record)
        self.broadcast.announce(record for record in records if self._is_current(record))

    def announce_new(self, node: NodeId) -> None:
        """Tell the whole ring of a live peer that came a moment ago, unless somebody has.

        Whom a joiner learnt of with its place was there before it.
        """
        member = self._table.member(node)
        if member is None or self._table.is_dead(node):
            return
        is_new = max(self._kernel.now - NEW_SECONDS, self._entered_at) < member.learnt_at
        if is_new and not self.broadcast.has_seen(member.record):
            self.announce((member.record,))

    def learn(self, records: tuple[MemberRecord, ...]) -> list[MemberRecord]:
        """Merge hearsay without telling it on; return what was news.

        The tombstone of a peer that is not known at all is not taken: it would never end.
        """
        news = []
        for record in records:
            is_ghost = record.rank not in LIVE and self._table.get(record.node_id) is None
            if not is_ghost and self._merge(record):
                news.append(record)
        return news

    def on_events(self, node: NodeId, message: Events) -> None:
        """Merge events that came down the tree, then serve the arc they came for."""
        for group in self.broadcast.accept(node, message):
            for record in group.records:
                self._merge(record)
            current = tuple(record for record in group.records if self._is_current(record))
            self.broadcast.forward(EventGroup(arc_end=group.arc_end, records=current))

    def purge(self) -> None:
        """Forget deaths that are long past."""
        before = self._kernel.now - TOMBSTONE_SECONDS
        for record in self._table.records():
            if record.rank not in LIVE:
                member = self._table.member(record.node_id)
                if member is not None and member.learnt_at < before:
                    self._table.drop(record.node_id)

    # merging

    def _is_current(self, record: MemberRecord) -> bool:
        known = self._table.get(record.node_id)
        return known is None or (known.incarnation, known.rank) == (record.incarnation, record.rank)

    def _merge(self, record: MemberRecord) -> bool:
        node = record.node_id
        if node == self.record.node_id:
            self._hear_of_self(record)
            return False
        if not 0 <= record.incarnation < MOST_INCARNATION or not 0 <= record.rank <= Rank.BACK:
            return False
        before = self._table.get(node)
        if before is None and len(self._table) >= MOST_MEMBERS:
            return False
        if not self._table.merge(record, self._kernel.now):
            return False
        was_live = before is not None and before.rank in LIVE
        if record.rank in LIVE:
            if before is not None and record.incarnation > before.incarnation:
                self._table.clear_avoid(node)  # what was found of its last life says nothing
            if not was_live:
                self._kernel.emit(PeerJoined(node=node, incarnation=record.incarnation))
            self.user.on_member_alive(record)
        elif was_live:
            self._bury(record)
        return True

    def _bury(self, record: MemberRecord) -> None:
        node = record.node_id
        has_left = record.rank == Rank.LEFT
        accuser = record.accuser.hex()[:8] if record.accuser else "itself"
        self._kernel.emit(
            PeerDied(
                node=node,
                incarnation=record.incarnation,
                left=has_left,
                reason="it left" if has_left else f"declared dead by {accuser}",
            )
        )
        self.broadcast.on_gone(node)
        heard = self._links.last_heard(node)
        if not has_left and heard is not None and self._kernel.now - heard < 1.0:
            self._links.send_control(node, DigestDiff(buckets=(), records=(record,)))
        self.user.on_member_dead(record)

    def _hear_of_self(self, record: MemberRecord) -> None:
        """Refute what is wrong about us; end ourselves before a later life of ours."""
        own = self.record
        if not self.is_member or record.incarnation < own.incarnation:
            return
        is_later = record.incarnation > own.incarnation and record.rank == Rank.ALIVE
        if is_later and self._kernel.now - self._entered_at > GRACE_SECONDS:
            self.user.on_later_life(record)
            return
        if not is_later and record.rank == Rank.ALIVE:
            return
        self._raise_to = max(self._raise_to, record.incarnation + 1)
        wait = self._raised_at + REFUTE_SECONDS - self._kernel.now
        if wait <= 0.0:
            self._refute()
        else:
            self._kernel.after(wait, self._refute)

    def _refute(self) -> None:
        if not self.is_member or self._raise_to <= self.record.incarnation:
            return
        self._raised_at = self._kernel.now
        self.record = replace(self.record, incarnation=self._raise_to, rank=Rank.ALIVE)
        self._table.merge(self.record, self._kernel.now)
        self.broadcast.announce((self.record,))
        self.user.on_incarnation(self.record.incarnation)
