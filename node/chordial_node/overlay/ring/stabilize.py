"""Ring maintenance: Zave's corrected Chord, and the only code that moves predecessor or successors.

P. Zave, "How to Make Chord Correct"; protocol.md §2; RFC 6940 §10.7 in its messages. A step is one
query of one live peer and one local update; full lists are copied; a candidate is asked before it
is adopted; the first successor is always notified. What the table says only offers candidates and
gives reasons to ask now. No timer of failure detection and no record of a member belongs here.
"""

from enum import Enum
from typing import Protocol

from chordial_node.boundary.notices import NeighborsChanged
from chordial_node.ids import NodeId, between, distance
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.messages import UpdateAnswer

MOST_CANDIDATES = 4
"""Hearsay candidates between us and our successor that are asked in one step, nearest first."""
MOST_GONE = 256
GONE_SECONDS = 10.0
"""How long an own finding of death outweighs the lists of others, unless it is seen alive."""
LEAST_PAUSE_SECONDS = 0.05
"""Between two steps that events ask for; the periodic one comes on top."""


class Unanswered(Enum):
    """Why a query has no answer."""

    GONE = "gone"
    """Own evidence: its link is refused or dead, or it is in no ring."""
    UNCLEAR = "unclear"
    """It may live: nothing changes, it is asked again."""


class Neighborhood(Protocol):
    """What stabilize needs of its surroundings."""

    async def query(self, node: NodeId, *, notify: bool) -> UpdateAnswer | Unanswered:
        """Ask a peer for its predecessor and successor list: a real round trip."""
        ...

    def candidates(self) -> list[NodeId]:
        """Return the next live peers by hearsay, nearest first."""
        ...

    def on_neighbors_changed(self) -> None:
        """Predecessor or successors have changed."""
        ...

    def on_rectified(self, node: NodeId) -> None:
        """A new predecessor was adopted."""
        ...


class Stabilizer:
    """This peer's predecessor and successor list."""

    def __init__(self, kernel: Kernel, own: NodeId, length: int, around: Neighborhood) -> None:
        self.predecessor: NodeId | None = None
        self.successors: list[NodeId] = []
        self.is_placed = False
        """We are in a ring: steps may be taken, notifications are heard."""
        self._kernel = kernel
        self._own = own
        self._length = length
        self._around = around
        self._gone: dict[NodeId, float] = {}
        """Found dead by own evidence, until this time; not copied from others meanwhile."""
        self._is_running = False
        self._is_wanted = False
        self._last_start = float("-inf")
        self._is_rectifying = False
        self._notifier: NodeId | None = None
        self._checking: dict[NodeId, None] = {}

    # place and leave

    def place(self, predecessor: NodeId | None, successors: list[NodeId]) -> None:
        """Take the place that a join or a formation gives."""
        assert not self.is_placed
        self.is_placed = True
        self._gone.clear()
        self._update(predecessor, successors)

    def displace(self) -> None:
        """Be in no ring any longer."""
        self.is_placed = False
        self._update(None, [])

    # reasons to take a step

    def stabilize(self) -> None:
        """Ask the first successor now, or as soon as the running step has ended."""
        self._is_wanted = True
        if self._is_running or not self.is_placed:
            return
        self._is_running = True
        self._kernel.start(self._run())

    def on_alive(self, node: NodeId) -> None:
        """Ask now if a peer came up between us and one of our neighbors."""
        self._gone.pop(node, None)
        if node == self._own or not self.is_placed:
            return
        head = self.successors[0] if self.successors else self._own
        before = self.predecessor
        if between(self._own, node, head) or (before and between(before, node, self._own)):
            self.stabilize()

    def on_dead(self, node: NodeId) -> None:
        """Ask a peer now that is said to be dead; its place changes only by what we find."""
        if not self.is_placed or node not in self.successors:
            return
        if node == self.successors[0]:
            self.stabilize()
        elif node not in self._checking:
            self._checking[node] = None
            self._kernel.start(self._check(node))

    def on_left(self, node: NodeId) -> None:
        """Take the word of a peer that itself says it leaves: it acts as a failure."""
        self._drop(node)
        self.stabilize()

    def on_notify(self, node: NodeId) -> None:
        """Rectify: a peer takes us for its first successor."""
        if not self.is_placed or node == self._own or node == self.predecessor:
            return
        before = self.predecessor
        if before is None or self._is_gone(before) or between(before, node, self._own):
            self._adopt_predecessor(node)
            return
        self._notifier = node
        if not self._is_rectifying:
            self._is_rectifying = True
            self._kernel.start(self._rectify())

    # the steps

    async def _run(self) -> None:
        try:
            while self._is_wanted and self.is_placed:
                pause = self._last_start + LEAST_PAUSE_SECONDS - self._kernel.now
                if pause > 0:
                    await self._kernel.sleep(pause)
                self._is_wanted = False
                self._last_start = self._kernel.now
                await self._stabilize()
        finally:
            self._is_running = False

    async def _stabilize(self) -> None:
        """Find a live first successor, copy its list, then see whether somebody is nearer."""
        refused: list[NodeId] = []
        for _ in range(self._length + MOST_CANDIDATES):
            head = self.successors[0] if self.successors else self._candidate(refused)
            if head is None:
                self._be_alone()
                return
            answer = await self._around.query(head, notify=True)
            if not self.is_placed:
                return
            if isinstance(answer, Unanswered):
                if answer is Unanswered.UNCLEAR and head in self.successors:
                    return
                refused.append(head)
                if answer is Unanswered.GONE:
                    self._drop(head)
            elif not self.successors or self.successors[0] == head:
                self._update(self.predecessor, [head, *answer.successors])
                await self._improve(head, answer.predecessor)
                return

    async def _improve(self, head: NodeId, predecessor: NodeId | None) -> None:
        """Ask who is said to lie between us and our successor; adopt the nearest that answers.

        Any live member of the ring that lies there may be adopted with its whole list: its own
        list skips nobody, and the pair (we, it) is narrower than the pair (we, successor).
        """
        offered = [*self._around.candidates(), *([predecessor] if predecessor else [])]
        nearer = [
            node
            for node in dict.fromkeys(offered)
            if between(self._own, node, head) and not self._is_gone(node)
        ]
        nearer.sort(key=lambda node: distance(self._own, node))
        for candidate in nearer[:MOST_CANDIDATES]:
            answer = await self._around.query(candidate, notify=True)
            if not self.is_placed or self.successors[:1] != [head]:
                self._is_wanted = True
                return
            if answer is Unanswered.GONE:
                self._forget(candidate)
            elif isinstance(answer, UpdateAnswer):
                self._is_wanted = True
                self._update(self.predecessor, [candidate, *answer.successors])
                return

    async def _rectify(self) -> None:
        """Ask the predecessor, and take the notifier in its place if it is found dead."""
        try:
            before = self.predecessor
            if before is None:
                return
            answer = await self._around.query(before, notify=False)
            notifier = self._notifier
            if not self.is_placed or notifier is None or self.predecessor != before:
                return
            if answer is Unanswered.GONE or between(before, notifier, self._own):
                self._adopt_predecessor(notifier)
        finally:
            self._is_rectifying = False

    async def _check(self, node: NodeId) -> None:
        """Ask an entry of the list that is not its head; drop it if it is found dead.

        Dropping a dead entry joins two neighboring pairs into one that skips nobody alive.
        """
        try:
            answer = await self._around.query(node, notify=False)
        finally:
            self._checking.pop(node, None)
        if answer is Unanswered.GONE and self.is_placed:
            self._drop(node)

    # local updates

    def _candidate(self, refused: list[NodeId]) -> NodeId | None:
        """Return whom to ask when the list has run dry: the table's next live peers."""
        offered = [*self._around.candidates(), *([self.predecessor] if self.predecessor else [])]
        for node in offered:
            if node != self._own and node not in refused and not self._is_gone(node):
                return node
        return None

    def _be_alone(self) -> None:
        """Be our own successor, and so our own notifier: a dead predecessor gives way."""
        if self.predecessor is not None and self._is_gone(self.predecessor):
            self._update(None, [])

    def _adopt_predecessor(self, node: NodeId) -> None:
        self._gone.pop(node, None)
        self._update(node, self.successors)
        self._around.on_rectified(node)
        if not self.successors:
            self.stabilize()

    def _drop(self, node: NodeId) -> None:
        self._forget(node)
        self._update(self.predecessor, self.successors)

    def _forget(self, node: NodeId) -> None:
        self._gone.pop(node, None)
        self._gone[node] = self._kernel.now + GONE_SECONDS
        if len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]

    def _is_gone(self, node: NodeId) -> bool:
        return self._gone.get(node, 0.0) > self._kernel.now

    def _update(self, predecessor: NodeId | None, successors: list[NodeId]) -> None:
        if predecessor == self.predecessor and self._is_as_before(successors):
            return
        taken = self._in_order(successors)
        if predecessor == self.predecessor and taken == self.successors:
            return
        self.predecessor = predecessor
        self.successors = taken
        self._kernel.emit(NeighborsChanged(predecessor=predecessor, successors=tuple(taken)))
        self._around.on_neighbors_changed()

    def _is_as_before(self, successors: list[NodeId]) -> bool:
        """Tell whether a list is the present one, of which nobody has gone."""
        if self._gone and any(self._is_gone(node) for node in self.successors):
            return False
        return successors[: self._length] == self.successors

    def _in_order(self, successors: list[NodeId]) -> list[NodeId]:
        """Return a list up to its full length, ending before it has come round to ourselves."""
        taken: list[NodeId] = []
        reach = 0
        for node in successors:
            gap = distance(self._own, node)
            if gap <= reach:
                break
            reach = gap
            if not self._is_gone(node):
                taken.append(node)
        return taken[: self._length]
