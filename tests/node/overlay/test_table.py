"""The table against a sorted list that is searched from the start each time."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chordial_node.ids import NodeId, distance
from chordial_node.overlay.messages import MemberRecord, Rank
from chordial_node.overlay.table import Table, bucket_of

OWN = NodeId(bytes([9]) * 16)
LIVE = (Rank.ALIVE, Rank.SUSPECT, Rank.BACK)


def node(number: int) -> NodeId:
    return NodeId(bytes([number]) * 16)


def record(number: int, incarnation: int = 0, rank: int = Rank.ALIVE) -> MemberRecord:
    return MemberRecord(
        node(number), incarnation, rank, f"peer-{number}", ("::1", number), ("::1", 1), "", True
    )


records = st.builds(record, st.integers(0, 15), st.integers(0, 3), st.sampled_from(list(Rank)))
nodes = st.builds(node, st.integers(0, 15))
identifiers = st.binary(min_size=16, max_size=16)


def clockwise(start: bytes, among: list[NodeId]) -> list[NodeId]:
    return sorted(among, key=lambda each: distance(start, each))


def merged(of: list[MemberRecord]) -> tuple[Table, dict[NodeId, MemberRecord]]:
    table, model = Table(OWN), dict[NodeId, MemberRecord]()
    for each in of:
        known = model.get(each.node_id)
        is_newer = known is None or (each.incarnation, each.rank) > (known.incarnation, known.rank)
        assert table.merge(each) is is_newer
        if is_newer:
            model[each.node_id] = each
    return table, model


def living(model: dict[NodeId, MemberRecord]) -> list[NodeId]:
    return sorted(each.node_id for each in model.values() if each.rank in LIVE)


@given(st.lists(records, max_size=40))
def test_the_larger_incarnation_and_rank_is_kept(of: list[MemberRecord]) -> None:
    table, model = merged(of)
    assert table.records() == [model[each] for each in sorted(model)]
    assert table.live_ids() == living(model)
    assert [table.is_alive(each) for each in sorted(model)] == [
        model[each].rank in LIVE for each in sorted(model)
    ]


@given(st.lists(records, max_size=20), st.lists(nodes), st.sets(st.integers(0, 5)))
def test_the_records_of_buckets_are_those_whose_identifiers_begin_so(
    of: list[MemberRecord], dropped: list[NodeId], buckets: set[int]
) -> None:
    table, _ = merged(of)
    for each in dropped:
        table.drop(each)
    wanted = sorted(buckets)
    assert table.records_in(wanted) == [
        each for each in table.records() if bucket_of(each.node_id) in wanted
    ]


@given(st.lists(records, max_size=20), st.lists(nodes))
def test_equal_tables_have_equal_hashes_whatever_came_first(
    of: list[MemberRecord], dropped: list[NodeId]
) -> None:
    one, _ = merged(of)
    other, _ = merged(sorted(of, key=lambda each: (-each.incarnation, each.rank, each.node_id)))
    assert one.hashes == other.hashes
    for each in dropped:
        one.drop(each)
        other.drop(each)
    assert one.hashes == other.hashes
    assert [bool(part) for part in one.hashes] == [
        any(bucket_of(each.node_id) == bucket for each in one.records()) for bucket in range(64)
    ]


@given(st.lists(records, max_size=20), identifiers, st.lists(nodes), st.lists(nodes))
def test_the_first_at_or_after_is_the_first_of_the_circle(
    of: list[MemberRecord], start: bytes, skip: list[NodeId], avoided: list[NodeId]
) -> None:
    table, model = merged(of)
    for each in avoided:
        table.add_avoid(each, until=1.0)
    circle = [
        each for each in clockwise(start, living(model)) if each not in skip and each not in avoided
    ]
    assert table.first_at_or_after(start, skip) == (circle[0] if circle else None)
    table.expire_avoid(1.0)
    assert not table.avoid


@given(st.lists(records, max_size=20), nodes, st.integers(1, 20))
def test_neighbors_are_cut_from_the_circle(
    of: list[MemberRecord], around: NodeId, count: int
) -> None:
    table, model = merged(of)
    circle = [each for each in clockwise(around, living(model)) if each != around]
    assert table.next_live(around, count) == circle[:count]
    assert table.previous_live(around, count) == circle[::-1][:count]


@given(st.lists(records, max_size=20), identifiers, st.lists(nodes, max_size=3))
def test_a_resource_is_sent_to_the_first_live_peer_at_or_after_it(
    of: list[MemberRecord], resource: bytes, avoid: list[NodeId]
) -> None:
    table, _ = merged(of)
    first = table.first_at_or_after(resource, avoid)
    hop = table.next_hop(resource, to_resource=True, avoid=avoid)
    assert hop == (None if first is None else (first, "self" if first == OWN else "table"))


def test_a_peer_that_is_not_known_alive_is_asked_for_at_its_place() -> None:
    table, _ = merged([record(3), record(5, rank=Rank.DEAD), record(7), record(9)])
    assert table.next_hop(node(3), to_resource=False) == (node(3), "table")
    assert table.next_hop(node(5), to_resource=False) == (node(7), "successor")
    assert table.next_hop(OWN, to_resource=False) == (OWN, "self")
    assert table.next_hop(node(8), to_resource=False) == (OWN, "self")


def test_a_snapshot_of_the_living_does_not_change() -> None:
    table, _ = merged([record(3), record(5)])
    before = table.live_ids()
    table.merge(record(4))
    table.merge(record(3, rank=Rank.DEAD))
    assert before == [node(3), node(5)]
    assert table.live_ids() == [node(4), node(5)]


def test_a_peer_is_found_by_the_first_bytes_of_its_node_id() -> None:
    table, _ = merged([record(3, rank=Rank.DEAD), record(5), record(7)])
    assert table.find(node(5)[:6]) == node(5)
    assert table.find(node(3)[:6]) == node(3)
    assert table.find(node(4)[:6]) is None


def test_whoever_is_about_to_end_is_nobody_to_rely_on() -> None:
    table = Table(OWN)
    for each in (record(9), record(1), record(2, 0, Rank.DEAD)):
        table.merge(each)
    assert table.has_lasting()
    table.merge(replace(record(1, 1), is_ending=True))
    assert not table.has_lasting()
    table.merge(record(1, 2))
    assert table.has_lasting()
