"""Checkers of the ring: Zave's invariants at each step, ideal ring and true tables at the end.

Pamela Zave's proof of Chord ("Reasoning about identifier spaces", 2017) with r = 3; what it
presumes (no fault took the last live entry of a first-three list) is watched, not assumed.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

from chordial_node.boundary.control import StatusAnswer
from chordial_node.boundary.notices import PeerDied, RingFormed
from chordial_node.ids import NodeId, between
from chordial_node.simulation.agenda import MICROSECONDS
from chordial_node.simulation.checkers import Checker, Situation
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.views import RingView

REDUNDANCY = 3
"""r of the proof."""
LONGEST_STALL = 0.5
"""Who is silent for longer may be taken for dead: the proof presumes that nobody is wrongly."""
SETTLE_US = 30 * MICROSECONDS
_WHOLE_RING_EVERY_US = 100_000
"""Of large rings the whole is looked at only so often; each change is looked at by itself."""
_LARGE = 64


class ZaveChecker(Checker):
    """A checker that looks at each step, while the proof's precondition holds."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._broken_until_us = 0
        self._whole_at_us = -_WHOLE_RING_EVERY_US
        self.views.on_change.append(self._on_change)
        situation.before_fault.append(self._before_fault)
        situation.on_stall.append(self._on_stall)

    def _on_stall(self, seconds: float) -> None:
        if seconds > LONGEST_STALL:
            end_us = self.world.now_us + int(seconds * MICROSECONDS) + SETTLE_US
            self._broken_until_us = max(self._broken_until_us, end_us)

    def _before_fault(self, hosts: list[Host]) -> None:
        gone = [host.node_id for host in hosts]
        members = self.views.members
        for view in members.values():
            first = view.successors[:REDUNDANCY]
            left = [node for node in first if node in members and node not in gone]
            if view.host not in hosts and not left:
                self._broken_until_us = self.world.now_us + SETTLE_US
                return

    def _on_change(self, host: Host) -> None:
        if len(self.views.members) < REDUNDANCY + 1:
            self.skip("fewer than four members")
        elif self.world.is_split or self._is_healing():
            self.skip("the network is split, or was less than 30 s ago")
        elif self.views.is_forming:
            self.skip("a ring is being formed: not all of its members know it yet")
        elif self.world.now_us < self._broken_until_us:
            self.skip(
                "less than 30 s ago a fault took the last live successor of a peer, or a long stall"
            )
        else:
            view = self.views.members.get(host.node_id)
            if view is not None:
                self.look_at(view)
            self._look_at_whole()

    def _is_healing(self) -> bool:
        situation = self.situation
        return situation.was_cut and self.world.now_us < situation.last_fault_us + SETTLE_US

    def _look_at_whole(self) -> None:
        now_us = self.world.now_us
        is_large = len(self.views.members) > _LARGE
        if not is_large or now_us - self._whole_at_us >= _WHOLE_RING_EVERY_US:
            self._whole_at_us = now_us
            self.look_at_whole()

    def look_at(self, view: RingView) -> None:
        """Look at the member that changed."""

    def look_at_whole(self) -> None:
        """Look at all members together."""


class LiveSuccessor(ZaveChecker):
    """Each member has a live member among its first three successors."""

    name = "LiveSuccessor"

    def look_at_whole(self) -> None:
        """Check every member."""
        members = self.views.members
        for view in members.values():
            first = view.successors[:REDUNDANCY]
            is_live = first[:1] and first[0] in members
            is_live = is_live or any(node in members for node in first)
            self.check(bool(is_live), "none is live: {}", view)


class NoDuplicates(ZaveChecker):
    """No peer stands twice in an extended successor list."""

    name = "NoDuplicates"

    def look_at(self, view: RingView) -> None:
        """Check the member's list."""
        extended = (view.host.node_id, *view.successors)
        is_once = len(dict.fromkeys(extended)) == len(extended)
        self.check(is_once, "one stands twice: {}", view)


class OrderedSuccessorLists(ZaveChecker):
    """Each extended successor list is in ring order."""

    name = "OrderedSuccessorLists"

    def look_at(self, view: RingView) -> None:
        """Check the member's list."""
        extended = (view.host.node_id, *view.successors)
        is_ordered = all(
            between(extended[0], extended[index], extended[index + 1])
            for index in range(1, len(extended) - 1)
        )
        self.check(is_ordered, "out of order: {}", view)


class OneOrderedRing(ZaveChecker):
    """The first live successors form one ring, in order, which every member reaches."""

    name = "OneOrderedRing"

    def look_at_whole(self) -> None:
        """Follow first live successors from the lowest member; then from everyone else."""
        members = self.views.members
        best: dict[NodeId, NodeId] = {}
        for node, view in members.items():
            head = view.successors[0] if view.successors else None
            live = head if head in members else self._first_live(view)
            if live is None:
                return  # LiveSuccessor says it
            best[node] = live
        ring = self._ring_from(min(members), best)
        lowest = ring.index(min(ring))
        in_order = ring[lowest:] + ring[:lowest]
        ordered = in_order == sorted(ring)
        self.check(ordered, "not in order, from {}", members[ring[0]])
        on_ring = dict.fromkeys(ring)
        for start in members:
            at, steps = start, 0
            while at not in on_ring and steps <= len(members):
                at, steps = best[at], steps + 1
            self.check(at in on_ring, "on another ring: {}", members[start])
            on_ring[start] = None

    def _first_live(self, view: RingView) -> NodeId | None:
        members = self.views.members
        return next((each for each in view.successors if each in members), None)

    @staticmethod
    def _ring_from(start: NodeId, best: dict[NodeId, NodeId]) -> list[NodeId]:
        seen: dict[NodeId, None] = {}
        at = start
        while at not in seen:
            seen[at] = None
            at = best[at]
        path = list(seen)
        return path[path.index(at) :]


class Principals(ZaveChecker):
    """At least r + 1 members are skipped by no successor list.

    It presumes that there were so many, and that no departure took one of too few.
    """

    name = "Principals"

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._is_founded = False
        self._lacking_until_us = 0

    def _on_change(self, host: Host) -> None:
        if len(self.views.members) <= REDUNDANCY:
            self._is_founded = False
        has_gone = host.node_id not in self.views.members
        if has_gone and self._count() <= REDUNDANCY:
            self._lacking_until_us = self.world.now_us + SETTLE_US
        super()._on_change(host)

    def look_at_whole(self) -> None:
        """Count them."""
        principals = self._count()
        enough = principals > REDUNDANCY
        lists = [view.successors for view in self.views.members.values()]
        are_full = all(len(successors) >= REDUNDANCY for successors in lists)
        self._is_founded = self._is_founded or (enough and are_full)
        if not self._is_founded:
            self.skip("there are not yet r + 1 principals since the ring was smaller")
        elif self.situation.leaving and not enough:
            self.skip("a peer that leaves is passed over already")
        elif self.world.now_us < self._lacking_until_us:
            self.skip("a departure left fewer than r + 1 principals, less than 30 s ago")
        else:
            self.check(
                enough, "{} of {} members are principals", principals, len(self.views.members)
            )

    def _count(self) -> int:
        members = self.views.members
        order = sorted(members)
        following = dict(zip(order, [*order[1:], *order[:1]], strict=True))
        skipped: dict[NodeId, None] = {}
        for view in members.values():
            extended = (view.host.node_id, *view.successors[:REDUNDANCY])
            for one, other in pairwise(extended):
                if following.get(one) == other:
                    continue  # neighbors: nobody is between them
                index = bisect_right(order, one) % len(order)
                while between(one, order[index], other):
                    skipped[order[index]] = None
                    index = (index + 1) % len(order)
        return len(order) - len(skipped)


class RingIdeal(Checker):
    """At the end predecessors and successors are the sorted list of the living, all in step."""

    name = "RingIdeal"

    def at_end(self, statuses: dict[Host, StatusAnswer]) -> None:
        """Check every peer's neighbors."""
        order = sorted(host.node_id for host in statuses)
        for host, status in statuses.items():
            index = order.index(host.node_id)
            others = order[index + 1 :] + order[:index]
            wanted = tuple(others[: len(status.successors)])
            length = min(len(others), REDUNDANCY)
            ideal = status.successors == wanted and len(status.successors) >= length
            self.check(ideal, "{}: its successors are not the ideal", host.name)
            predecessor = others[-1] if others else status.predecessor
            is_true = status.predecessor == predecessor
            self.check(is_true, "{}: not its true predecessor", host.name)
            in_step = status.in_step and not status.is_degraded
            self.check(in_step, "{}: its range is not in step", host.name)


class TableTrue(Checker):
    """At the end every table equals the living."""

    name = "TableTrue"

    def at_end(self, statuses: dict[Host, StatusAnswer]) -> None:
        """Check every peer's table."""
        living = sorted(host.node_id for host in statuses)
        for host, status in statuses.items():
            told = [
                member.node_id
                for member in status.members
                if member.state in ("alive", "suspect", "back")
            ]
            seen = sorted(dict.fromkeys([*told, host.node_id]))
            extra = [node for node in seen if node not in living]
            missing = [node for node in living if node not in seen]
            self.check(
                seen == living,
                "{}: {} too many, {} missing",
                host.name,
                len(extra),
                len(missing),
            )


class NoFalseDeath(Checker):
    """With stalls to half a second, loss to 1 % and no resets, no living peer is declared dead."""

    name = "NoFalseDeath"

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self.world.listen(PeerDied, self._on_died)

    def _is_mild(self) -> bool:
        faults = self.world.network.faults
        return (
            faults.stall <= LONGEST_STALL and faults.loss <= 0.01 and faults.reset_per_minute == 0.0
        )

    def _on_died(self, host: Host, notice: PeerDied) -> None:
        if self.situation.was_cut:
            self.skip("the network was split: who is cut off is rightly held dead")
            return
        if not self._is_mild():
            self.skip("stalls, loss or resets beyond what detection promises to bear")
            return
        is_false = self.views.is_running_life(notice.node, notice.incarnation)
        subject = self.situation.population.by_node[notice.node]
        self.check(
            notice.left or not is_false,
            "{} holds {} dead, which lives: {}",
            host.name,
            subject.name,
            notice.reason,
        )

    def at_end(self, statuses: dict[Host, StatusAnswer]) -> None:
        """Check that nobody who lives is still held dead."""
        living = [host.node_id for host in statuses]
        for host, status in statuses.items():
            dead = [
                member.name
                for member in status.members
                if member.state in ("dead", "left") and member.node_id in living
            ]
            self.check(not dead, "{} still holds {} dead, who live", host.name, dead)


class OneFormation(Checker):
    """Two formations of one overlay never both complete.

    Who forms a ring says so when a majority of the founders has its place in it.
    """

    name = "OneFormation"

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._lives: dict[Host, int] = {}
        """The life in which each member of a complete formation took its place."""
        self.world.listen(RingFormed, self._on_formed)

    def _on_formed(self, host: Host, notice: RingFormed) -> None:
        others = [
            other.name
            for other, life in self._lives.items()
            if other.process is not None
            and other.lives == life
            and other.node_id not in notice.members
        ]
        self.check(
            not others,
            "{} forms a ring without {}, who are in one that was formed before",
            host.name,
            others,
        )
        for node in notice.members:
            member = self.situation.population.by_node[node]
            self._lives[member] = member.lives
