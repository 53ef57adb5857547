"""The membership table: every peer known, sorted, with what is known of it.

protocol.md §2: the table is hearsay. It routes and offers candidates; it never moves a range. The
next hop of CHORD-RELOAD (RFC 6940 §10.3) over a full table is one bisect. No link, clock or
message belongs here.
"""

from bisect import bisect_left, insort
from collections.abc import Container, Iterable
from hashlib import blake2b

from chordial_node.ids import NodeId
from chordial_node.overlay.messages import MemberRecord, Rank

BUCKETS = 64
MOST_AVOIDED = 1024
_LIVE = (Rank.ALIVE, Rank.SUSPECT, Rank.BACK)


class Member:
    """Another peer as this one sees it, or this one itself."""

    __slots__ = ("learnt_at", "record")

    def __init__(self, record: MemberRecord, learnt_at: float) -> None:
        self.record = record
        self.learnt_at = learnt_at


class Table:
    """All members known, tombstones included; and, privately, whom to route around."""

    def __init__(self, own: NodeId) -> None:
        self.own = own
        self.hashes: list[int] = [0] * BUCKETS
        """The XOR of the hashes of all records in a bucket: what digests compare."""
        self.avoid: dict[NodeId, float] = {}
        """Peers whose link to us is broken, until this time; told to nobody."""
        self._members: dict[NodeId, Member] = {}
        self._order: list[NodeId] = []
        """All members by identifier."""
        self._live: list[NodeId] = []
        self._live_is_shared = False

    def __len__(self) -> int:
        return len(self._members)

    def get(self, node: NodeId) -> MemberRecord | None:
        """Return what is known of a peer, dead or alive."""
        member = self._members.get(node)
        return member.record if member else None

    def member(self, node: NodeId) -> Member | None:
        """Return the entry of a peer, with the time at which it was learnt."""
        return self._members.get(node)

    def records(self) -> list[MemberRecord]:
        """Return all records by identifier, tombstones included."""
        return [self._members[node].record for node in self._order]

    def records_in(self, buckets: Iterable[int]) -> list[MemberRecord]:
        """Return the records of some buckets, bucket by bucket, tombstones included."""
        order = self._order
        found = []
        for bucket in buckets:
            index = bisect_left(order, bytes((bucket << 2,)))
            while index < len(order) and bucket_of(order[index]) == bucket:
                found.append(self._members[order[index]].record)
                index += 1
        return found

    def live_digest(self) -> str:
        """Return a hash of everyone who lives and of their lives: equal where views are."""
        hashed = blake2b(digest_size=8)
        for node in self._live:
            hashed.update(node + b"%d;" % self._members[node].record.incarnation)
        return hashed.hexdigest()

    def live_ids(self) -> list[NodeId]:
        """Return the sorted identifiers of all that live; a snapshot, not to be changed."""
        self._live_is_shared = True
        return self._live

    def is_alive(self, node: NodeId) -> bool:
        """Tell whether a peer is held alive and our own link to it is not known broken."""
        member = self._members.get(node)
        return member is not None and member.record.rank in _LIVE and node not in self.avoid

    def is_dead(self, node: NodeId) -> bool:
        """Tell whether a peer is known, and known to be dead or to have left."""
        member = self._members.get(node)
        return member is not None and member.record.rank not in _LIVE

    def has_lasting(self) -> bool:
        """Tell whether another peer lives that is not about to end."""
        members = self._members
        return any(node != self.own and not members[node].record.is_ending for node in self._live)

    def find(self, prefix: bytes) -> NodeId | None:
        """Return the peer whose Node-ID begins so, a live one if there is one."""
        index = bisect_left(self._live, prefix)
        if index < len(self._live) and self._live[index].startswith(prefix):
            return self._live[index]
        return min((each for each in self._members if each.startswith(prefix)), default=None)

    # changes: only ring/membership.py makes them

    def merge(self, record: MemberRecord, now: float = 0.0) -> bool:
        """Keep the larger (incarnation, rank) and tell whether that changed anything."""
        node = record.node_id
        member = self._members.get(node)
        if member is None:
            self._members[node] = Member(record, now)
            insort(self._order, node)
        else:
            known = member.record
            if (record.incarnation, record.rank) <= (known.incarnation, known.rank):
                return False
            self.hashes[bucket_of(node)] ^= _hash(known)
            member.record = record
            member.learnt_at = now
        self.hashes[bucket_of(node)] ^= _hash(record)
        self._set_live(node, record.rank in _LIVE)
        return True

    def drop(self, node: NodeId) -> None:
        """Forget a peer altogether, tombstone included."""
        member = self._members.pop(node, None)
        if member is not None:
            del self._order[bisect_left(self._order, node)]
            self.hashes[bucket_of(node)] ^= _hash(member.record)
            self._set_live(node, False)
        self.avoid.pop(node, None)

    # private evidence: told to nobody

    def add_avoid(self, node: NodeId, until: float) -> None:
        """Route around a peer until a time."""
        if node in self.avoid or len(self.avoid) < MOST_AVOIDED:
            self.avoid[node] = until

    def clear_avoid(self, node: NodeId) -> None:
        """Route to a peer again."""
        self.avoid.pop(node, None)

    def expire_avoid(self, now: float) -> None:
        """Route again to those whose time is over."""
        for node in [node for node, until in self.avoid.items() if until <= now]:
            del self.avoid[node]

    # the ring, by hearsay

    def first_at_or_after(self, identifier: bytes, skip: Container[NodeId] = ()) -> NodeId | None:
        """Return the first live peer at or clockwise after an identifier, avoided ones left out."""
        live = self._live
        start = bisect_left(live, identifier)
        for index in range(start, start + len(live)):
            node = live[index if index < len(live) else index - len(live)]
            if node not in skip and node not in self.avoid:
                return node
        return None

    def next_live(self, node: NodeId, count: int) -> list[NodeId]:
        """Return the next live peers clockwise after one, nearest first, itself left out."""
        live = self._live
        start = bisect_left(live, node)
        around = live[start : start + count + 1]
        around += live[: min(start, count + 1 - len(around))]
        return [each for each in around if each != node][:count]

    def previous_live(self, node: NodeId, count: int) -> list[NodeId]:
        """Return the live peers before one, nearest first, itself left out."""
        live = self._live
        start = bisect_left(live, node)
        around = live[max(0, start - count) : start][::-1]
        if len(around) < count:
            around += live[start:][::-1][: count + 1 - len(around)]
        return [each for each in around if each != node][:count]

    def next_hop(
        self, destination: bytes, to_resource: bool, avoid: Container[NodeId] = ()
    ) -> tuple[NodeId, str] | None:
        """Return the peer to send to and the rule that chose it; `self` when it is this one.

        To a Node-ID that is not known alive the way leads to whoever would be responsible for
        it, which knows its neighbors best.
        """
        if not to_resource:
            if destination == self.own:
                return self.own, "self"
            node = NodeId(destination)
            if self.is_alive(node) and node not in avoid:
                return node, "table"
        candidate = self.first_at_or_after(destination, avoid)
        if candidate is None:
            return None
        if candidate == self.own:
            return self.own, "self"
        return candidate, "table" if to_resource else "successor"

    def _set_live(self, node: NodeId, is_live: bool) -> None:
        index = bisect_left(self._live, node)
        is_listed = index < len(self._live) and self._live[index] == node
        if is_live == is_listed:
            return
        if self._live_is_shared:
            self._live = self._live.copy()
            self._live_is_shared = False
        if is_live:
            self._live.insert(index, node)
        else:
            del self._live[index]


def bucket_of(node: NodeId) -> int:
    """Return the bucket of a peer: the first six bits of its identifier."""
    return node[0] >> 2


def _hash(record: MemberRecord) -> int:
    state = b"%b%d %d" % (record.node_id, record.incarnation, record.rank)
    return int.from_bytes(blake2b(state, digest_size=8).digest(), "big")
