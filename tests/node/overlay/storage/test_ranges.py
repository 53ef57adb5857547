"""Who owns, who holds copies, who must be asked (protocol.md §5), without any message."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from chordial_node.ids import NodeId, ResourceId, within
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.storage.ranges import DISK_PREFIX, Ranges, covers
from tests.node.overlay.storage.rig import ScriptedRing, make_config


def node(number: int) -> NodeId:
    return NodeId(bytes([number]) * 16)


def resource(number: int) -> ResourceId:
    return ResourceId(bytes([number]) * 16)


class Disk:
    """Remembers what it is told to."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}

    def remember(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.records.pop(key, None)
        else:
            self.records[key] = value


class Place:
    """Ranges of peer 50 in a scripted ring."""

    def __init__(self, disk: Disk | None = None, *, is_damaged: bool = False) -> None:
        self.kernel = Kernel(Random(1))
        self.kernel.begin(0.0)
        self.ring = ScriptedRing(node(50))
        self.disk = disk or Disk()
        self.ranges = Ranges(self.kernel, make_config(), node(50), self.ring, self.disk)
        self.ranges.start(dict(self.disk.records), is_damaged=is_damaged)

    def arrange(self, predecessor: int, *successors: int) -> None:
        self.ring.state = "joined"
        self.ring.predecessor = node(predecessor)
        self.ring.successors = [node(number) for number in successors]
        self.ranges.refresh()

    def come_in_step(self) -> None:
        others = list(self.ring.successors[:2])
        assert self.ranges.conclude(dict.fromkeys(others, False), others)
        assert self.ranges.in_step


@given(st.tuples(*[st.integers(0, 7)] * 4))
def test_covers_agrees_with_going_through_all_points(ends: tuple[int, int, int, int]) -> None:
    """The dumb model: a ring of which every point is looked at."""
    step = 1 << 125
    outer_after, outer_last, after, last = ((end * step).to_bytes(16, "big") for end in ends)
    points = [(at * step // 2).to_bytes(16, "big") for at in range(16)]
    inner = [point for point in points if within(after, point, last)]
    outer = [point for point in points if within(outer_after, point, outer_last)]
    expected = all(point in outer for point in inner)
    if after == last and outer_after == outer_last:
        expected = outer_after == after  # both are the whole ring, cut at one point or at two
    assert covers(outer_after, outer_last, after, last) == expected


def test_nothing_is_answered_alone_before_the_range_is_complete() -> None:
    place = Place()
    place.arrange(40, 60, 70)
    assert not place.ranges.may_answer_alone(resource(45))
    place.come_in_step()
    assert place.ranges.may_answer_alone(resource(45))
    assert not place.ranges.may_answer_alone(resource(35))


def test_a_range_that_grows_is_answered_alone_only_in_its_old_part() -> None:
    place = Place()
    place.arrange(40, 60, 70)
    place.come_in_step()
    place.arrange(30, 60, 70)
    assert place.ranges.may_answer_alone(resource(45))
    assert not place.ranges.may_answer_alone(resource(35))
    assert not place.ranges.in_step


def test_a_part_that_is_ceded_is_still_known_until_its_owner_is_in_step() -> None:
    place = Place()
    place.arrange(30, 60, 70)
    place.come_in_step()
    place.arrange(40, 60, 70)
    assert place.ranges.knows_all(resource(35))
    assert place.ranges.knows_range(bytes(node(30)), bytes(node(40)))
    sets = ((node(40), node(50), node(60)),)
    place.ranges.note(node(40), bytes(node(30)), (*sets, *sets))
    assert place.ranges.knows_all(resource(35))
    place.ranges.note(node(40), bytes(node(30)), sets)
    assert not place.ranges.knows_all(resource(35))


def test_a_former_owner_s_set_is_asked_and_our_own_copy_counts() -> None:
    place = Place()
    place.arrange(40, 60, 70)
    place.come_in_step()
    place.ranges.note(node(40), bytes(node(30)), ((node(40), node(50), node(60)),))
    place.arrange(30, 60, 70)
    (criterion,) = place.ranges.criteria(resource(35))
    assert (criterion.members, criterion.needed) == ((node(40), node(60)), 1)
    assert place.ranges.to_ask([criterion]) == [node(60)]
    assert not place.ranges.are_met([criterion], {node(70): False})
    assert place.ranges.are_met([criterion], {node(60): False})


def test_each_set_since_the_last_one_in_step_is_asked() -> None:
    place = Place()
    old, new = (node(40), node(50), node(60)), (node(40), node(45), node(50))
    place.ranges.note(node(40), bytes(node(30)), (old, new))
    place.arrange(30, 60, 70)
    criteria = place.ranges.criteria(resource(35))
    assert [each.members for each in criteria] == [(node(40), node(60)), (node(40), node(45))]
    assert not place.ranges.are_met(criteria, {node(60): False})
    assert place.ranges.are_met(criteria, {node(60): False, node(45): False})


def test_who_ceded_the_range_in_step_counts_for_all() -> None:
    place = Place()
    place.arrange(40, 60, 70, 80)
    criteria = place.ranges.criteria(resource(45))
    assert criteria[0].needed == 2
    assert not place.ranges.are_met(criteria, {node(60): False})
    assert place.ranges.are_met(criteria, {node(60): True})


def test_sets_outlive_a_restart_and_a_damaged_store_is_no_member() -> None:
    place = Place()
    place.arrange(40, 60, 70)
    place.come_in_step()
    assert DISK_PREFIX + node(50) in place.disk.records
    again = Place(place.disk)
    again.arrange(40, 70, 80)
    assert again.ranges.criteria(resource(45))[0].needed == 1
    damaged = Place(place.disk, is_damaged=True)
    damaged.arrange(40, 60, 70)
    assert damaged.ranges.criteria(resource(45))[0].needed == 2


def test_records_of_others_stay_within_bounds() -> None:
    place = Place()
    place.arrange(40, 60, 70)
    place.come_in_step()
    for number in range(200):
        place.kernel.begin(float(number))
        owner = NodeId(number.to_bytes(16, "big"))
        place.ranges.note(owner, bytes(node(250)), ((owner, node(50)), (owner,)))
    assert len(place.disk.records) == 64
    assert DISK_PREFIX + node(50) in place.disk.records


def test_a_range_that_grew_comes_in_step_anew_though_its_set_is_the_same() -> None:
    """Whoever ran it before is dead; the members are to hear that the older set counts no more."""
    place = Place()
    place.arrange(40, 60, 70)
    place.come_in_step()
    place.arrange(30, 60, 70)
    assert not place.ranges.in_step
    place.come_in_step()
    assert not place.ranges.conclude(dict.fromkeys([node(60), node(70)], False), [node(60)])
