"""Who lives: failure detection by levels (protocol.md §4).

A request that is not answered accuses nobody (level 1, `requests.py`). Here: gone (the stream broke
and the peer's own address refuses), silent (nothing read for long after a ping, reported to the
silent peer's successor), dead (two reports, or one and time). Deaths are announced; that moves no
range. Nothing of the ring's own state is read or written here.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from chordial_node.boundary.notices import PeerSuspected
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import (
    Doubt,
    Hello,
    LinkPing,
    LinkPong,
    MemberRecord,
    Rank,
    Report,
)
from chordial_node.overlay.table import Table

WATCHED_EACH_SIDE = 4
EVERYBODY_BELOW = 8
"""Fewer peers than this watch each other, all of them."""
TICK_SECONDS = 0.25
"""Between two looks while somebody is silent for too long."""
CALM_SECONDS = 0.5
"""Between two looks else; the moment at which a silence becomes too long is looked at as well."""
PING_SECONDS = 1.0
SILENT_SECONDS = 1.0
SILENT_ROUND_TRIPS = 6.0
DIAL_SECONDS = 2.0
"""A watched peer that could not be linked for so long is silent."""
SECOND_REPORT_SECONDS = 1.5
SUSPECT_SELF_SECONDS = 0.75
"""So much longer we wait while more than a third is silent: it may be us."""
REPORT_AGAIN_SECONDS = 3.0
LATE_SECONDS = 0.02
JUST_AFTER_SECONDS = 0.001
GONE_SECONDS = 30.0
"""A refusal within this time of a broken stream proves that the peer is gone."""
BACKUP_SECONDS = 0.3
"""Neighbors that found a peer gone wait this long for its successor to say so."""
MOST_BROKEN = 256
MOST_CASES = 64
MOST_LAG_SECONDS = 2.0


class _Case(msgspec.Struct):
    """Reports against one peer."""

    since: float
    incarnation: int
    reporters: list[NodeId]


class Liveness:
    """Watches ring neighbors, judges reports, and announces deaths."""

    def __init__(self, kernel: Kernel, own: NodeId, links: Links, table: Table) -> None:
        self._kernel = kernel
        self._own = own
        self._links = links
        self._table = table
        self._is_running = False
        self._expected = 0.0
        self._asked: dict[NodeId, float] = {}
        """When a watched peer was pinged that has not been heard since."""
        self._lag_of: dict[NodeId, float] = {}
        self._reported: dict[NodeId, float] = {}
        self._broken: dict[NodeId, float] = {}
        self._cases: dict[NodeId, _Case] = {}
        self._watched: list[NodeId] = []
        self._watched_of: tuple[list[NodeId], list[NodeId]] = ([], [])
        """What the choice was made from: live peers by the table, and the ring's own neighbors."""
        self.announce: Callable[[tuple[MemberRecord, ...]], None]
        """Tells deaths to the whole ring."""
        self.neighbors: Callable[[], list[NodeId]]
        """The ring's own predecessor and first successor, watched whatever the table says."""

    def start(self) -> None:
        """Watch from now on."""
        self._is_running = True
        self._expected = self._kernel.at_beat(TICK_SECONDS, self._on_tick).due

    def stop(self) -> None:
        """Watch and accuse nobody any longer."""
        self._is_running = False

    # link messages

    def on_ping(self, node: NodeId, message: LinkPing) -> None:
        """Give a sign of life."""
        lag_ms = int(self._kernel.lag * 1000)
        self._links.send_control(node, LinkPong(number=message.number, lag_ms=lag_ms))

    def on_pong(self, node: NodeId, message: LinkPong) -> None:
        """Measure the round trip; stretch limits by the other side's lag."""
        asked = self._asked.get(node)
        if asked is not None and message.number == _number(asked):
            self._links.measured(node, self._kernel.now - asked)
            self._lag_of[node] = min(max(0, message.lag_ms) / 1000, MOST_LAG_SECONDS)

    def on_report(self, node: NodeId, message: Report) -> None:
        """Judge a peer that another neighbor finds silent; we are its first live successor."""
        subject = message.node_id
        record = self._table.get(subject)
        if not self._is_running or record is None or self._table.is_dead(subject):
            return
        if subject == self._own or record.incarnation != message.incarnation:
            return
        case = self._cases.get(subject)
        if case is None or case.incarnation != record.incarnation:
            if len(self._cases) >= MOST_CASES:
                return
            case = _Case(self._kernel.now, record.incarnation, [])
            self._cases[subject] = case
            wait = SECOND_REPORT_SECONDS + self._kernel.lag
            opened = case
            self._kernel.after(wait, lambda: self._judge(subject, opened))
        if node not in case.reporters:
            case.reporters.append(node)
        self._ping(subject)
        if len(case.reporters) >= 2:
            self._judge(subject, case)

    def on_doubt(self, node: NodeId, message: Doubt) -> None:
        """Look at a peer at once that somebody could not reach."""
        if self._is_running and not self._table.is_dead(message.node_id):
            self._ping(message.node_id)

    # links

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        """Take a link as a sign of life; a later life at the other end means the old one died."""
        self._broken.pop(node, None)
        record = self._table.get(node)
        if not self._is_running or record is None or self._table.is_dead(node):
            return
        if not hello.in_ring and hello.member.incarnation > record.incarnation:
            self.declare_dead(node)

    def on_link_lost(self, node: NodeId, refused: bool) -> None:
        """Dial a watched peer again after its stream broke; a refusal then is the proof.

        Links to others also end for lack of use; they are dialed when they are needed.
        """
        if not self._is_running or not self._is_live(node):
            return
        if not refused:
            is_watched = node in self.watched()
            self._broken.pop(node, None)
            self._broken[node] = self._kernel.now
            if len(self._broken) > MOST_BROKEN:
                del self._broken[next(iter(self._broken))]
            if is_watched:
                self._links.ensure(node)
            return
        broken = self._broken.get(node)
        if broken is None or self._kernel.now - broken > GONE_SECONDS:
            return
        record = self._table.get(node)
        assert record is not None
        first = self._first_successor_of(node, [])
        if first == self._own:
            self.declare_dead(node)
        elif node in self.watched():
            life = record.incarnation
            self._kernel.after(BACKUP_SECONDS, lambda: self._bear_out(node, life))
        elif first is not None:
            self._links.ensure(first)
            doubt = Doubt(node_id=node, incarnation=record.incarnation)
            self._links.send_control(first, doubt)

    def declare_dead(self, node: NodeId) -> None:
        """Announce the death of a peer: of this life, or of the next if it had come back."""
        record = self._table.get(node)
        if record is None or self._table.is_dead(node):
            return
        life = record.incarnation + (1 if record.rank == Rank.BACK else 0)
        self._cases.pop(node, None)
        self._asked.pop(node, None)
        self.announce((replace(record, incarnation=life, rank=Rank.DEAD, accuser=self._own),))

    def watched(self) -> list[NodeId]:
        """Return the peers this one watches: four on each side, or everybody in a small ring."""
        live, near = self._table.live_ids(), self.neighbors()
        if live is not self._watched_of[0] or near != self._watched_of[1]:
            self._watched_of = (live, near)
            self._watched = self._choose(live, near)
        return self._watched

    def _choose(self, live: list[NodeId], near: list[NodeId]) -> list[NodeId]:
        if len(live) <= EVERYBODY_BELOW:
            return [node for node in live if node != self._own]
        after = self._table.next_live(self._own, WATCHED_EACH_SIDE)
        before = self._table.previous_live(self._own, WATCHED_EACH_SIDE)
        known = [node for node in near if self._is_live(node)]
        return list(dict.fromkeys([*after, *before, *known]))

    # the watch

    def _on_tick(self) -> None:
        if not self._is_running:
            return
        now = self._kernel.now
        is_late = now - self._expected > LATE_SECONDS
        self._table.expire_avoid(now)
        watched = self.watched()
        silent, limit = self._look_at(watched)
        if is_late:
            timer = self._kernel.after(LATE_SECONDS, self._on_tick)
        else:
            timer = self._kernel.at_beat(TICK_SECONDS if silent else CALM_SECONDS, self._on_tick)
            if limit < timer.due:
                timer.cancel()
                timer = self._kernel.after(limit + JUST_AFTER_SECONDS - now, self._on_tick)
        self._expected = timer.due
        if is_late or not silent:
            return
        patience = SUSPECT_SELF_SECONDS if 3 * len(silent) > len(watched) > 2 else 0.0
        for node in silent:
            if now - self._asked[node] > self._limit(node) + patience:
                self._report(node, silent)

    def _look_at(self, watched: list[NodeId]) -> tuple[list[NodeId], float]:
        """Ping who was not heard for a second; return who has been silent for too long since.

        And when the next of those who were pinged before, and are still to be heard, will have.
        """
        now = self._kernel.now
        silent: list[NodeId] = []
        asked: dict[NodeId, float] = {}
        next_limit = float("inf")
        for node in watched:
            heard = self._links.last_heard(node)
            since = self._asked.get(node)
            if since is not None and (heard is None or heard < since):
                asked[node] = since
                if heard is None:
                    self._links.ensure(node)
                limit = since + self._limit(node)
                if now > limit:
                    silent.append(node)
                else:
                    next_limit = min(next_limit, limit)
            elif heard is None or now - heard >= PING_SECONDS - CALM_SECONDS / 2:
                asked[node] = now
                self._send_ping(node, now)
        self._asked = asked
        if self._reported:
            self._reported = {node: at for node, at in self._reported.items() if node in asked}
        if len(self._lag_of) > len(watched):
            self._lag_of = {node: lag for node, lag in self._lag_of.items() if node in watched}
        return silent, next_limit

    def _limit(self, node: NodeId) -> float:
        lag = self._kernel.lag + self._lag_of.get(node, 0.0)
        if not self._links.is_up(node):
            return DIAL_SECONDS + lag
        return SILENT_SECONDS + SILENT_ROUND_TRIPS * self._links.round_trip(node).srtt + lag

    def _report(self, node: NodeId, silent: list[NodeId]) -> None:
        record = self._table.get(node)
        now = self._kernel.now
        if record is None or now - self._reported.get(node, float("-inf")) < REPORT_AGAIN_SECONDS:
            return
        judge = self._first_successor_of(node, silent)
        report = Report(node_id=node, incarnation=record.incarnation)
        if judge is None or (judge != self._own and not self._links.send_control(judge, report)):
            if judge is not None:
                self._links.ensure(judge)
            return
        self._reported[node] = now
        self._kernel.emit(PeerSuspected(node=node, reason="it is silent"))
        if judge == self._own:
            self.on_report(self._own, report)

    def _judge(self, subject: NodeId, case: _Case) -> None:
        """Declare a peer dead that others report, unless we have heard from it ourselves."""
        if self._cases.get(subject) is not case or not self._is_running:
            return
        record = self._table.get(subject)
        now = self._kernel.now
        heard = self._links.last_heard(subject)
        is_other_life = record is None or record.incarnation != case.incarnation
        if is_other_life or (heard is not None and heard > case.since):
            del self._cases[subject]
        elif heard is not None and now - heard < SILENT_SECONDS:
            wait = self._limit(subject) - (now - heard)
            self._kernel.after(wait, lambda: self._judge(subject, case))
        else:
            self.declare_dead(subject)

    def _bear_out(self, node: NodeId, incarnation: int) -> None:
        """Announce what a dead peer's successor has not: it may be dead itself."""
        record = self._table.get(node)
        if record is None or record.incarnation != incarnation or self._links.is_up(node):
            return
        if self._is_running:
            self.declare_dead(node)

    def _ping(self, node: NodeId) -> None:
        now = self._kernel.now
        if self._links.is_up(node):
            self._send_ping(node, self._asked.setdefault(node, now))
        else:
            self._links.ensure(node)

    def _send_ping(self, node: NodeId, asked: float) -> None:
        if not self._links.send_control(node, LinkPing(number=_number(asked))):
            self._links.ensure(node)

    def _first_successor_of(self, node: NodeId, silent: list[NodeId]) -> NodeId | None:
        for each in self._table.next_live(node, len(silent) + 8):
            if each == self._own or (each not in silent and each not in self._table.avoid):
                return each
        return None

    def _is_live(self, node: NodeId) -> bool:
        return self._table.get(node) is not None and not self._table.is_dead(node)


def _number(asked: float) -> int:
    return int(asked * 1_000_000)
