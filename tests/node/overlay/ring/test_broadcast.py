"""The acknowledged broadcast between stations on a wire."""

from itertools import pairwise

from chordial_node.ids import NodeId
from chordial_node.overlay.messages import (
    Envelope,
    EventGroup,
    Events,
    EventsAck,
    Hello,
    MemberRecord,
    Rank,
    decode_body,
)
from chordial_node.overlay.ring.broadcast import FRAME_SECONDS, Broadcast
from tests.node.overlay.rig import Station, Wire, call, member, node

NUMBERS = list(range(10, 170, 10))
NEWS = member(node(200), 3)


class Branch(Station):
    """A station of the tree: takes events, serves its arc."""

    def __init__(self, own: NodeId, known: list[NodeId]) -> None:
        super().__init__(own, known)
        self.broadcast = Broadcast(self.kernel, own, self.links, self.table)
        self.taken: list[tuple[float, NodeId, MemberRecord]] = []
        self.frames_at: list[float] = []
        self.is_deaf = False

    def on_envelope(self, node: NodeId, envelope: Envelope) -> None:
        if self.is_deaf:
            return
        message = decode_body(envelope.method, envelope.body)
        if isinstance(message, EventsAck):
            self.broadcast.on_ack(node, message.number)
        elif isinstance(message, Events):
            self.frames_at.append(self.kernel.now)
            for group in self.broadcast.accept(node, message):
                for record in group.records:
                    self.taken.append((self.kernel.now, group.arc_end, record))
                self.broadcast.forward(group)

    def on_link_up(self, node: NodeId, hello: Hello) -> None:
        self.broadcast.on_link_up(node)

    def on_link_lost(
        self, node: NodeId, refused: bool, reason: str, unsent: list[Envelope]
    ) -> None:
        self.broadcast.on_gone(node)


def tree() -> tuple[Wire, dict[int, Branch]]:
    wire = Wire()
    known = [node(number) for number in NUMBERS]
    branches = {number: Branch(node(number), known) for number in NUMBERS}
    for branch in branches.values():
        wire.add(branch)
    return wire, branches


def announce(wire: Wire, branch: Branch, *records: MemberRecord) -> None:
    call(wire, branch, lambda: branch.broadcast.announce(records))


def test_everybody_takes_an_event_once() -> None:
    wire, branches = tree()
    announce(wire, branches[10], NEWS)
    wire.run(1.0)
    taken = {number: len(branch.taken) for number, branch in branches.items()}
    assert taken == {number: int(number != 10) for number in NUMBERS}
    assert sum(branch.kernel.counters.events_duplicate for branch in branches.values()) == 0


def test_an_event_is_announced_once() -> None:
    wire, branches = tree()
    announce(wire, branches[10], NEWS)
    wire.run(1.0)
    announce(wire, branches[10], NEWS)
    assert branches[10].broadcast.has_seen(NEWS)
    wire.run(1.0)
    assert all(len(branch.taken) <= 1 for branch in branches.values())


def test_what_a_deaf_child_does_not_acknowledge_goes_to_the_next_of_its_arc() -> None:
    wire, branches = tree()
    announce(wire, branches[10], member(node(200), 1))
    wire.run(1.0)
    branches[90].is_deaf = True
    at = wire.now
    announce(wire, branches[10], NEWS)
    wire.run(1.0)
    late = [branches[number].taken[-1] for number in range(100, 170, 10)]
    assert all(record == NEWS and when - at < 0.3 for when, _, record in late)


def test_what_a_dead_child_owed_goes_to_the_next_of_its_arc() -> None:
    wire, branches = tree()
    announce(wire, branches[10], member(node(200), 1))
    wire.run(1.0)
    wire.kill(node(90))
    announce(wire, branches[10], NEWS)
    wire.run(1.0)
    living = [branch for number, branch in branches.items() if number not in (10, 90)]
    assert all(branch.taken[-1][2] == NEWS for branch in living)


def test_a_child_whose_own_link_is_dead_is_skipped() -> None:
    wire, branches = tree()
    origin = branches[10]
    origin.table.add_avoid(node(90), 100.0)
    announce(wire, origin, NEWS)
    wire.run(1.0)
    assert branches[100].taken
    assert all(branch.taken[0][2] == NEWS for number, branch in branches.items() if number > 90)


def test_frames_to_one_link_keep_their_distance() -> None:
    wire, branches = tree()
    announce(wire, branches[10], NEWS)
    wire.run(1.0)
    for incarnation in range(10, 15):
        announce(wire, branches[10], member(node(200), incarnation))
        wire.run(0.01)
    wire.run(1.0)
    at = branches[20].frames_at
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert len(at) == 3
    assert min(gaps) >= FRAME_SECONDS - 0.002
    assert branches[20].taken[-1][2].incarnation == 14


def test_a_known_event_for_a_larger_arc_is_served_and_for_a_smaller_one_dropped() -> None:
    _, branches = tree()
    branch = branches[10]
    groups = [EventGroup(arc_end=node(end), records=(NEWS,)) for end in (30, 50, 40)]
    accepted = [branch.broadcast.accept(node(160), Events(1, (group,))) for group in groups]
    assert [len(each) for each in accepted] == [1, 1, 0]
    assert branch.kernel.counters.events_duplicate == 1


def test_a_death_and_its_refutation_are_two_events() -> None:
    wire, branches = tree()
    announce(wire, branches[10], member(node(90), 1, Rank.DEAD))
    announce(wire, branches[90], member(node(90), 2))
    wire.run(1.0)
    assert [record.incarnation for _, _, record in branches[50].taken] in ([1, 2], [2, 1])
