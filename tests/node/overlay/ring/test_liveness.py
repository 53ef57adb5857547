"""Failure detection between stations on a wire: gone, silent, dead."""

from functools import partial

from msgspec.structs import replace

from chordial_node.boundary.notices import PeerSuspected
from chordial_node.ids import NodeId
from chordial_node.overlay.messages import (
    Doubt,
    Envelope,
    Hello,
    LinkPing,
    LinkPong,
    MemberRecord,
    Rank,
    Report,
    decode_body,
)
from chordial_node.overlay.ring.liveness import SILENT_SECONDS, Liveness
from tests.node.overlay.rig import Station, Wire, call, member, node


class Watcher(Station):
    """A station that watches its neighbors; deaths reach its own table alone."""

    def __init__(self, own: NodeId, known: list[NodeId]) -> None:
        super().__init__(own, known)
        self.liveness = Liveness(self.kernel, own, self.links, self.table)
        self.liveness.announce = self._announce
        self.liveness.neighbors = list
        self.dead: list[tuple[float, MemberRecord]] = []
        self.life = 1
        self.asked = 0

    def _announce(self, records: tuple[MemberRecord, ...]) -> None:
        for record in records:
            self.table.merge(record)
            self.dead.append((self.kernel.now, record))

    def hello(self) -> Hello:
        hello = super().hello()
        return Hello(
            hello.version,
            hello.overlay_name,
            member(self.own, self.life),
            hello.wall_ms,
            self.in_ring,
        )

    def on_envelope(self, node: NodeId, envelope: Envelope) -> None:
        message = decode_body(envelope.method, envelope.body)
        match message:
            case LinkPing():
                self.asked += 1
                self.liveness.on_ping(node, message)
            case LinkPong():
                self.liveness.on_pong(node, message)
            case Report():
                self.liveness.on_report(node, message)
            case Doubt():
                self.liveness.on_doubt(node, message)
            case _:
                super().on_envelope(node, envelope)

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        self.liveness.on_link_up(node, hello)

    def on_link_lost(
        self, node: NodeId, refused: bool, reason: str, unsent: list[Envelope]
    ) -> None:
        self.liveness.on_link_lost(node, refused)


def watchers(count: int, seconds: float = 5.0) -> tuple[Wire, dict[int, Watcher]]:
    wire = Wire()
    numbers = [10 * (index + 1) for index in range(count)]
    known = [node(number) for number in numbers]
    all_of_them = {number: Watcher(node(number), known) for number in numbers}
    for watcher in all_of_them.values():
        wire.add(watcher)
        call(wire, watcher, watcher.liveness.start)
    wire.run(seconds)
    return wire, all_of_them


def deaths(everybody: dict[int, Watcher]) -> list[tuple[int, int]]:
    """Who declared whom dead."""
    return [
        (number, record.node_id[0])
        for number, watcher in everybody.items()
        for _, record in watcher.dead
    ]


def test_few_peers_watch_everybody_and_many_four_on_each_side() -> None:
    _, few = watchers(6, 0.0)
    assert few[10].liveness.watched() == [node(number) for number in (20, 30, 40, 50, 60)]
    _, many = watchers(16, 0.0)
    watched = sorted(each[0] for each in many[80].liveness.watched())
    assert watched == [40, 50, 60, 70, 90, 100, 110, 120]


def test_nobody_is_accused_while_all_is_well() -> None:
    wire, everybody = watchers(10, 30.0)
    assert deaths(everybody) == []
    assert wire.of(PeerSuspected) == []


def test_a_link_with_other_traffic_is_not_pinged_from_both_ends() -> None:
    wire, everybody = watchers(2)
    before = [watcher.asked for watcher in everybody.values()]
    wire.run(20.0)
    after = [watcher.asked for watcher in everybody.values()]
    assert sum(after) - sum(before) <= 26


def test_a_killed_peer_is_declared_dead_by_its_successor_at_once() -> None:
    wire, everybody = watchers(10)
    at = wire.now
    wire.kill(node(50))
    wire.run(0.1)
    assert deaths(everybody) == [(60, 50)]
    assert everybody[60].dead[0][0] - at < 0.02
    assert everybody[60].dead[0][1].accuser == node(60)


def test_others_say_so_when_the_successor_does_not() -> None:
    wire, everybody = watchers(10)
    wire.kill(node(60))
    wire.kill(node(50))
    wire.run(1.0)
    assert 50 in [subject for _, subject in deaths(everybody)]


def test_a_broken_link_alone_accuses_nobody() -> None:
    wire, everybody = watchers(10)
    wire.cut(node(50), node(60))
    wire.run(5.0)
    assert deaths(everybody) == []
    assert everybody[60].links.is_up(node(50))


def test_a_silent_peer_is_dead_after_two_reports_or_one_and_time() -> None:
    wire, everybody = watchers(10)
    at = wire.now
    wire.silent.append(node(50))
    wire.run(8.0)
    found = [
        (when - at, number)
        for number, watcher in everybody.items()
        if number != 50
        for when, record in watcher.dead
        if record.node_id == node(50)
    ]
    assert found[0][1] == 60
    assert SILENT_SECONDS < found[0][0] < 2.6


def test_who_hears_nobody_accuses_nobody_at_first() -> None:
    wire, everybody = watchers(10)
    wire.silent.append(node(50))
    wire.run(2.5)
    assert everybody[50].dead == []


def test_a_report_about_another_life_or_a_dead_peer_is_ignored() -> None:
    wire, everybody = watchers(10)
    successor = everybody[60]
    stale = Report(node(50), 0)
    for reporter in (20, 30):
        sender = node(reporter)
        call(wire, successor, partial(successor.liveness.on_report, sender, stale))
    wire.run(3.0)
    assert deaths(everybody) == []


def test_false_reports_are_dropped_while_the_peer_is_heard() -> None:
    wire, everybody = watchers(10)
    successor = everybody[60]
    report = Report(node(50), 1)
    for reporter in (20, 30):
        sender = node(reporter)
        call(wire, successor, partial(successor.liveness.on_report, sender, report))
    wire.run(5.0)
    assert deaths(everybody) == []


def test_a_later_life_at_the_other_end_means_the_old_one_died() -> None:
    wire, everybody = watchers(10)
    wire.kill(node(50))
    reborn = Watcher(node(50), [])
    reborn.life, reborn.in_ring = 2, False
    wire.add(reborn)
    wire.run(2.0)
    found = deaths(everybody)
    assert found
    assert {subject for _, subject in found} == {50}


def test_the_death_of_one_who_was_back_is_that_of_its_next_life() -> None:
    _, everybody = watchers(10, 0.0)
    watcher = everybody[60]
    watcher.table.merge(member(node(50), 1, Rank.BACK))
    watcher.liveness.declare_dead(node(50))
    expected = replace(member(node(50), 2, Rank.DEAD), accuser=node(60))
    assert watcher.table.get(node(50)) == expected
