"""Zave's steps with scripted answers: what is asked, what is adopted, and what is not."""

from collections.abc import Callable
from random import Random

from chordial_node.boundary.effects import Effect
from chordial_node.boundary.notices import NeighborsChanged, ProcedureFaulted
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.messages import UpdateAnswer
from chordial_node.overlay.ring.stabilize import Stabilizer, Unanswered

GONE, UNCLEAR = Unanswered.GONE, Unanswered.UNCLEAR


def node(number: int) -> NodeId:
    return NodeId(bytes([number]) + bytes(15))


def answer(predecessor: int | None, *successors: int) -> UpdateAnswer:
    before = None if predecessor is None else node(predecessor)
    return UpdateAnswer(before, tuple(map(node, successors)), True)


class Script:
    """A peer numbered 10 and the answers of those around it."""

    def __init__(self, length: int = 3) -> None:
        self.kernel = Kernel(Random(1))
        self.answers: dict[int, UpdateAnswer | Unanswered] = {}
        self.asked: list[tuple[int, bool]] = []
        self.hearsay: list[int] = []
        self.rectified: list[int] = []
        self.effects: list[Effect] = []
        self.during: Callable[[], None] = lambda: None
        self.stabilizer = Stabilizer(self.kernel, node(10), length, self)
        self.now = 0.0

    def place(self, predecessor: int | None, *successors: int) -> None:
        before = None if predecessor is None else node(predecessor)
        self.stabilizer.place(before, list(map(node, successors)))

    def run(self, action: Callable[[], None] = lambda: None, seconds: float = 1.0) -> None:
        self.kernel.begin(self.now)
        action()
        self.kernel.procedures.run()
        end = self.now + seconds
        while (due := self.kernel.deadline()) is not None and due <= end:
            self.kernel.begin(due)
            self.kernel.procedures.run()
        self.now = end
        self.effects += self.kernel.take()
        assert not [each for each in self.effects if isinstance(each, ProcedureFaulted)]

    @property
    def successors(self) -> list[int]:
        return [each[0] for each in self.stabilizer.successors]

    @property
    def predecessor(self) -> int | None:
        before = self.stabilizer.predecessor
        return before[0] if before is not None else None

    # Neighborhood

    async def query(self, asked: NodeId, *, notify: bool) -> UpdateAnswer | Unanswered:
        self.asked.append((asked[0], notify))
        await self.kernel.sleep(0.01)
        self.during()
        return self.answers.get(asked[0], GONE)

    def candidates(self) -> list[NodeId]:
        return list(map(node, self.hearsay))

    def on_neighbors_changed(self) -> None:
        pass

    def on_rectified(self, adopted: NodeId) -> None:
        self.rectified.append(adopted[0])


def test_the_whole_list_of_the_first_successor_is_copied() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: answer(10, 31, 41, 51)}
    script.run(script.stabilizer.stabilize)
    assert script.successors == [20, 31, 41]
    assert script.asked == [(20, True)]


def test_a_nearer_predecessor_of_the_successor_is_asked_then_adopted_with_its_list() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: answer(15, 30, 40, 50), 15: answer(5, 20, 30, 40)}
    script.run(script.stabilizer.stabilize)
    assert script.successors == [15, 20, 30]
    assert (15, True) in script.asked


def test_a_candidate_that_does_not_answer_is_not_adopted() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: answer(15, 30, 40, 50), 15: UNCLEAR}
    script.run(script.stabilizer.stabilize)
    assert script.successors == [20, 30, 40]


def test_after_a_dead_successor_is_dropped_the_next_one_is_notified() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: GONE, 30: answer(20, 40, 50, 60)}
    script.run(script.stabilizer.stabilize)
    assert script.successors == [30, 40, 50]
    assert (30, True) in script.asked


def test_a_successor_that_may_live_is_kept() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: UNCLEAR, 30: answer(10, 40, 50, 60)}
    script.run(script.stabilizer.stabilize)
    assert script.successors == [20, 30, 40]


def test_hearsay_of_a_death_drops_nobody() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: answer(10, 30, 40, 50), 30: answer(20, 40, 50, 60)}
    script.run(lambda: script.stabilizer.on_dead(node(30)))
    assert (30, False) in script.asked
    assert script.successors == [20, 30, 40]


def test_an_entry_found_dead_is_dropped_and_not_copied_again_soon() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: answer(10, 30, 40, 50)}
    script.run(lambda: script.stabilizer.on_dead(node(30)))
    assert script.successors == [20, 40]
    script.run(script.stabilizer.stabilize)
    assert script.successors == [20, 40, 50]
    script.run(lambda: script.stabilizer.on_alive(node(30)))
    script.run(script.stabilizer.stabilize)
    assert script.successors == [20, 30, 40]


def test_when_the_list_runs_dry_the_next_of_the_table_are_asked_first() -> None:
    script = Script()
    script.place(5, 20)
    script.hearsay = [50, 60]
    script.answers = {60: answer(5, 70, 80, 90)}
    script.run(script.stabilizer.stabilize)
    assert script.successors == [60, 70, 80]
    assert [asked for asked, _ in script.asked[:3]] == [20, 50, 60]


def test_a_live_peer_by_hearsay_between_us_and_the_successor_is_asked() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.hearsay = [12, 20]
    script.answers = {20: answer(10, 30, 40, 50), 12: answer(3, 20, 30, 40)}
    script.run(lambda: script.stabilizer.on_alive(node(12)))
    assert script.successors == [12, 20, 30]


def test_rectify_adopts_when_there_is_no_predecessor() -> None:
    script = Script()
    script.place(None, 20)
    script.run(lambda: script.stabilizer.on_notify(node(3)))
    assert script.predecessor == 3
    assert script.rectified == [3]


def test_rectify_adopts_a_nearer_notifier_without_a_question() -> None:
    script = Script()
    script.place(3, 20)
    script.run(lambda: script.stabilizer.on_notify(node(7)))
    assert script.predecessor == 7
    assert script.asked == []


def test_rectify_asks_the_predecessor_before_a_farther_notifier_takes_its_place() -> None:
    script = Script()
    script.place(7, 20)
    script.answers = {7: answer(3, 10, 20)}
    script.run(lambda: script.stabilizer.on_notify(node(3)))
    assert script.predecessor == 7
    script.answers = {7: GONE}
    script.run(lambda: script.stabilizer.on_notify(node(3)))
    assert script.predecessor == 3
    assert script.asked == [(7, False), (7, False)]


def test_a_predecessor_that_may_live_stays() -> None:
    script = Script()
    script.place(7, 20)
    script.answers = {7: UNCLEAR}
    script.run(lambda: script.stabilizer.on_notify(node(3)))
    assert script.predecessor == 7


def test_a_survivor_without_anybody_forgets_its_dead_predecessor() -> None:
    script = Script()
    script.place(20, 20)
    script.run(script.stabilizer.stabilize)
    assert (script.predecessor, script.successors) == (None, [])


def test_a_list_out_of_order_is_cut_where_the_order_ends() -> None:
    script = Script(length=6)
    script.place(5, 20)
    script.answers = {20: answer(10, 30, 25, 40)}
    script.run(script.stabilizer.stabilize)
    assert script.successors == [20, 30]


def test_an_answer_that_comes_after_the_place_was_given_up_changes_nothing() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: answer(10, 31, 41, 51)}
    script.during = script.stabilizer.displace
    script.run(script.stabilizer.stabilize)
    assert script.successors == []


def test_changes_are_told_once() -> None:
    script = Script()
    script.place(5, 20, 30, 40)
    script.answers = {20: answer(10, 30, 40, 50)}
    script.run(script.stabilizer.stabilize)
    script.run(script.stabilizer.stabilize)
    assert len([each for each in script.effects if isinstance(each, NeighborsChanged)]) == 1
