"""Ranges: who owns what, who holds copies, and who must be asked before an answer.

`protocol.md` §5 and RFC 6940 §10.4. A range is named by its owner and begins after the owner's
predecessor. A `RangeSet` tells which peers hold copies of it: the set last declared in step, and
those announced since. It is what the range records of §5 (versions, confirmations, the right to
answer alone) will grow from; they change this file alone. No message is sent from here.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from chordial_node.boundary.notices import RangeDegraded
from chordial_node.config import OverlayConfig
from chordial_node.ids import RING_SIZE, NodeId, ResourceId, distance, within
from chordial_node.kernel.kernel import Kernel

STARTING_SECONDS = 30.0
"""Who has just started waits this long for members that are not back."""
DEGRADED_SECONDS = 30.0
"""A degraded range is declared in step again no sooner: returning members come first."""
_ROLE_SECONDS = 45.0
"""An owner that has not compared its range with us for so long does not count on us."""
DISK_PREFIX = b"range/"
_MAX_RECORDS = 64
_MAX_SETS = 8
_MAX_KEYS = 10_000
_MAX_CEDED = 8


class RingView(Protocol):
    """What is to be known of the ring."""

    @property
    def state(self) -> str:
        """The state of this peer's life; it owns something only when joined."""

    @property
    def predecessor(self) -> NodeId | None:
        """The predecessor."""

    @property
    def successors(self) -> list[NodeId]:
        """The successors, the nearest first."""

    def is_responsible_for(self, resource: ResourceId) -> bool:
        """Tell whether this peer is responsible for a resource."""

    def replica_candidates(self) -> list[NodeId]:
        """Return live successors, in the order in which they are to hold copies."""


class Memory(Protocol):
    """What the disk remembers."""

    def remember(self, key: bytes, value: bytes | None) -> None:
        """Write one record that nobody waits for."""


class RangeSet(msgspec.Struct, array_like=True, frozen=True):
    """Who holds copies of the range (after, owner]: the base set, then those announced since."""

    after: bytes
    owner: NodeId
    sets: tuple[tuple[NodeId, ...], ...]


class Criterion(msgspec.Struct, frozen=True):
    """So many of these members must have answered before nothing acknowledged can be missed."""

    members: tuple[NodeId, ...]
    needed: int


_decoder = msgspec.msgpack.Decoder(RangeSet)


class Ranges:
    """The own range and the ranges of which copies are held here."""

    def __init__(
        self, kernel: Kernel, config: OverlayConfig, own: NodeId, ring: RingView, memory: Memory
    ) -> None:
        self._kernel = kernel
        self._copies = config.copies
        self._own = own
        self._ring = ring
        self._memory = memory
        self._started = 0.0
        self._is_damaged = False
        self._records: dict[NodeId, RangeSet] = {}
        self._heard: dict[NodeId, float] = {}
        self._after: bytes | None = None
        self._members: tuple[NodeId, ...] = (own,)
        self._complete_after: bytes | None = None
        self._ceded: list[tuple[bytes, bytes]] = []
        self._keys: dict[ResourceId, None] = {}
        self._in_step_with: tuple[NodeId, ...] = ()
        self._held_by: tuple[NodeId, ...] = ()
        self._degraded_at: float | None = None
        self.epoch = 0
        """Raised whenever the own range or its set changes: what was found before may not hold."""

    def start(self, records: Mapping[bytes, bytes], *, is_damaged: bool) -> None:
        """Take up the sets that the disk remembers; a damaged store does not count as a member."""
        self._started = self._kernel.now
        self._is_damaged = is_damaged
        for key, value in records.items():
            if key.startswith(DISK_PREFIX):
                try:
                    record = _decoder.decode(value)
                except msgspec.MsgspecError:
                    self._is_damaged = True
                    continue
                self._records[record.owner] = record

    # ownership and sets

    def own_range(self) -> tuple[bytes, bytes] | None:
        """Return (after, last] of this peer, the whole ring when it is alone; None: not known."""
        ring = self._ring
        if ring.state != "joined" or (ring.predecessor is None and ring.successors):
            return None
        return (self._own if ring.predecessor is None else ring.predecessor, self._own)

    def members(self) -> tuple[NodeId, ...]:
        """Return the set of the own range, the owner first; fewer than wanted in a small ring."""
        candidates = [node for node in self._ring.replica_candidates() if node != self._own]
        return (self._own, *candidates[: self._copies - 1])

    def quorum(self) -> int:
        """Return how many of the set, the owner among them, make an acknowledgement."""
        return len(self.members()) // 2 + 1

    def copies_missing(self) -> int:
        """Return how many of the present set are not known to have everything of the own range."""
        return sum(node not in self._held_by for node in self.members()[1:])

    def is_reachable(self, node: NodeId) -> bool:
        """Tell whether a peer is in the ring around us; else a member is known to be lost."""
        ring = self._ring
        return node == ring.predecessor or node in ring.successors or node in self._members

    def refresh(self) -> bool:
        """Look at the ring again; True when the own range or its set is not what it was."""
        own_range = self.own_range()
        if own_range is None:
            return False
        members = self.members()
        if (own_range[0], members) == (self._after, self._members):
            return False
        self.epoch += 1
        self._keys.clear()
        self._cede(own_range[0])
        self._after = own_range[0]
        self._members = members
        record = self._records.get(self._own)
        if record is not None:
            after = record.after
            if covers(after, self._own, own_range[0], self._own):
                after = own_range[0]
            sets = record.sets if record.sets[-1] == members else (*record.sets, members)
            self._keep(RangeSet(after, self._own, (sets[0], *sets[1:][1 - _MAX_SETS :])))
        return True

    def announcement(self) -> tuple[tuple[NodeId, ...], ...]:
        """Return the sets to tell the members; one alone says that the range is in step."""
        members = self._members
        if self.in_step:
            return (members,)
        record = self._records.get(self._own)
        return (*record.sets, members) if record is not None else (members, members)

    def note(self, owner: NodeId, after: bytes, sets: tuple[tuple[NodeId, ...], ...]) -> None:
        """Remember what an owner announced about its whole range."""
        if owner == self._own or not sets:
            return
        self._heard[owner] = self._kernel.now
        unique = tuple(dict.fromkeys(sets[:1] + sets[1:][1 - _MAX_SETS :]))
        self._keep(RangeSet(after, owner, unique))
        if len(sets) == 1:
            self._forget_inside(after, owner)
            self._ceded = [part for part in self._ceded if not covers(after, owner, *part)]
        while len(self._records) > _MAX_RECORDS:
            others = [node for node in self._records if node != self._own]
            self._forget(min(others, key=lambda node: (self._heard.get(node, 0.0), node)))

    def role(self, resource: bytes) -> NodeId | None:
        """Return the owner that lately counted on our copy of a resource, or None."""
        for owner, record in self._records.items():
            heard = self._heard.get(owner)
            if heard is None or self._kernel.now - heard > _ROLE_SECONDS:
                continue
            if self._own in record.sets[-1] and within(record.after, resource, owner):
                return owner
        return None

    # the right to answer

    @property
    def is_starting(self) -> bool:
        """Tell whether this peer has just started: members may still come back."""
        return self._kernel.now - self._started < STARTING_SECONDS

    @property
    def is_degraded(self) -> bool:
        """Tell whether answers rest on fewer copies than could have told everything."""
        return self._degraded_at is not None

    @property
    def is_complete(self) -> bool:
        """Tell whether everything acknowledged in the own range is here."""
        return self._after is not None and self._complete_after == self._after

    @property
    def in_step(self) -> bool:
        """Tell whether every entry of the own range is on a majority of its present set."""
        return self.is_complete and not self.is_degraded and self._in_step_with == self._members

    def may_answer_alone(self, resource: ResourceId) -> bool:
        """Tell whether nobody must be asked before this resource is answered."""
        if resource in self._keys:
            return True
        after = self._complete_after
        return (
            after is not None
            and within(after, resource, self._own)
            and self._ring.is_responsible_for(resource)
        )

    def knows_all(self, resource: ResourceId) -> bool:
        """Tell whether nobody knows more of a resource: owned, or ceded and not yet taken over."""
        parts = list(self._ceded)
        if self._complete_after is not None:
            parts.append((self._complete_after, self._own))
        return any(within(after, resource, last) for after, last in parts)

    def knows_range(self, after: bytes, last: bytes) -> bool:
        """Tell whether nobody knows more of a whole range."""
        parts = list(self._ceded)
        if self._complete_after is not None:
            parts.append((self._complete_after, self._own))
        return any(covers(*part, after, last) for part in parts)

    def criteria(self, resource: ResourceId) -> list[Criterion]:
        """Return who must have answered before a resource is answered."""
        covering = [r for r in self._records.values() if within(r.after, resource, r.owner)]
        return self._criteria(covering, is_covered=bool(covering))

    def range_criteria(self) -> list[Criterion]:
        """Return who must have been compared with before the own range is complete."""
        if self._after is None:
            return []
        last = self._own if self.is_degraded else self._complete_after or self._own
        overlapping = [
            record
            for record in self._records.values()
            if within(self._after, record.owner, last) or within(record.after, last, record.owner)
        ]
        cursor: bytes = self._after
        is_covered = False
        for _ in range(len(overlapping)):
            ahead = [r for r in overlapping if covers(r.after, r.owner, cursor, r.owner)]
            reach = max((distance(cursor, r.owner) or RING_SIZE for r in ahead), default=0)
            if reach >= (distance(cursor, last) or RING_SIZE):
                is_covered = True
                break
            cursor = next((r.owner for r in ahead if distance(cursor, r.owner) == reach), cursor)
        return self._criteria(overlapping, is_covered=is_covered)

    def are_met(self, criteria: list[Criterion], answered: Mapping[NodeId, bool]) -> bool:
        """Tell whether enough have answered; True in `answered`: that peer knows everything."""
        return any(answered.values()) or all(
            sum(node in answered for node in criterion.members) >= criterion.needed
            for criterion in criteria
        )

    def to_ask(self, criteria: list[Criterion]) -> list[NodeId]:
        """Return the peers to ask: the first successor, which ceded this to us, and members."""
        nodes = [*self._ring.successors[:1]]
        for criterion in criteria:
            nodes.extend(criterion.members)
        return [n for n in dict.fromkeys(nodes) if n != self._own and self.is_reachable(n)]

    def to_compare(self) -> list[NodeId]:
        """Return the peers to compare the own range with, the one that ceded it to us first."""
        criteria = [] if self.is_complete and not self.is_degraded else self.range_criteria()
        nodes = self.to_ask(criteria) if criteria else []
        return list(dict.fromkeys((*nodes, *self._members[1:])))

    def note_key(self, resource: ResourceId) -> None:
        """Remember that an own resource was asked for: until the ring changes nobody knows more."""
        own_range = self.own_range()
        if own_range is None or not within(own_range[0], resource, self._own):
            return  # who stands in for another asks each time
        if len(self._keys) >= _MAX_KEYS:
            self._keys.clear()
        self._keys[resource] = None

    def degrade(self, reason: str) -> None:
        """Go on with the copies that can be had."""
        if self._degraded_at is None:
            self._degraded_at = self._kernel.now
            self._kernel.emit(RangeDegraded(reason=reason))

    def conclude(self, compared: Mapping[NodeId, bool], held_by: list[NodeId]) -> bool:
        """Judge the own range after a round of repair; True when it has just come in step.

        `compared`: peers whose entries of the whole range are all here. `held_by`: those that
        have all of ours on their disks.
        """
        if self._after is None:
            return False
        self._held_by = tuple(held_by)
        was_in_step = self.in_step
        if not self.is_complete or self.is_degraded:
            if self.are_met(self.range_criteria(), compared):
                self._degraded_at = None
            elif self.is_starting:
                return False
            else:
                self.degrade("members of a former set are lost or silent")
            self._complete_after = self._after
        holding = 1 + sum(node in held_by for node in self._members[1:])
        if holding < len(self._members) // 2 + 1 or self._is_waiting_for_the_lost():
            return False
        self._degraded_at = None
        self._is_damaged = False
        self._in_step_with = self._members
        self._keep(RangeSet(self._after, self._own, (self._members,)))
        self._forget_inside(self._after, self._own)
        return not was_in_step

    def _is_waiting_for_the_lost(self) -> bool:
        at = self._degraded_at
        return at is not None and self._kernel.now - at < DEGRADED_SECONDS

    def _criteria(self, records: list[RangeSet], *, is_covered: bool) -> list[Criterion]:
        sets = [members for record in records for members in record.sets]
        criteria = [self._criterion(members) for members in dict.fromkeys(sets)]
        if not is_covered:  # our store is no known member: whoever held this lies ahead of us
            criteria.append(self._criterion(tuple(self._ring.successors[: self._copies])))
        return criteria

    def _criterion(self, members: tuple[NodeId, ...]) -> Criterion:
        needed = len(members) - (len(members) // 2 + 1) + 1 if members else 0
        if self._own in members and not self._is_damaged:
            needed -= 1
        return Criterion(tuple(node for node in members if node != self._own), needed)

    def _cede(self, after: bytes) -> None:
        """The own range now begins elsewhere: what it lost, complete, is remembered as ceded."""
        complete = self._complete_after
        if complete is None or complete == after:
            return
        if covers(complete, self._own, after, self._own):
            self._ceded = [*self._ceded, (complete, after)][-_MAX_CEDED:]
            self._complete_after = after
        else:
            self._ceded = [part for part in self._ceded if not covers(after, complete, *part)]

    def _keep(self, record: RangeSet) -> None:
        if self._records.get(record.owner) != record:
            self._records[record.owner] = record
            self._memory.remember(DISK_PREFIX + record.owner, msgspec.msgpack.encode(record))

    def _forget(self, owner: NodeId) -> None:
        del self._records[owner]
        self._heard.pop(owner, None)
        self._memory.remember(DISK_PREFIX + owner, None)

    def _forget_inside(self, after: bytes, owner: NodeId) -> None:
        """Forget the records of former owners whose ranges an owner in step has taken over."""
        for other in [node for node in self._records if node not in (owner, self._own)]:
            if within(after, other, owner):
                self._forget(other)


def covers(outer_after: bytes, outer_last: bytes, after: bytes, last: bytes) -> bool:
    """Tell whether (after, last] lies wholly inside of (outer_after, outer_last]."""
    end = distance(outer_after, last) or RING_SIZE
    return distance(outer_after, after) < end <= (distance(outer_after, outer_last) or RING_SIZE)
