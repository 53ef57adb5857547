"""Order, merging, markers, digests and the end of values (protocol.md §6)."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chordial_node.ids import NodeId, ResourceId
from chordial_node.overlay.kinds import order_of, precedence_of
from chordial_node.overlay.messages import Entry, ReplicaItem
from chordial_node.overlay.storage.values import (
    MARKER_MS,
    Values,
    is_live,
    item_of_record,
    larger,
    record_of,
    shrink,
)

RING = bytes(16)
NOW = 1_000_000
PLACES = [(ResourceId(bytes([high]) * 16), kind) for high in (1, 2, 200) for kind in (1, 2)]

entries = st.builds(
    lambda key, value, exists, time, life, keep, acceptor, precedence: Entry(
        key,
        value if exists else b"",
        exists,
        time,
        time + life,
        time + life + keep,
        NodeId(bytes([acceptor]) * 16),
        precedence_of(NOW, b"call", precedence) if precedence else b"",
    ),
    st.sampled_from([b"a", b"b"]),
    st.sampled_from([b"x", b"y", b""]),
    st.booleans(),
    st.integers(NOW - 3, NOW + 3),
    st.sampled_from([1, 5, 60_000]),
    st.sampled_from([0, 90_000]),
    st.integers(1, 2),
    st.integers(0, 2),
)
items = st.builds(
    lambda place, generation, entry: ReplicaItem(place[0], place[1], generation, entry),
    st.sampled_from(PLACES),
    st.integers(1, 4),
    entries,
)


def everything(values: Values) -> list[ReplicaItem]:
    resources = dict.fromkeys(place[0] for place in values.places(RING, RING))
    return [item for resource in resources for item in values.items(resource)]


def item(entry: Entry, generation: int = 1, place: int = 0) -> ReplicaItem:
    return ReplicaItem(*PLACES[place], generation, entry)


def value_at(time: int, value: bytes = b"v", life: int = 60_000, keep: int = 0) -> Entry:
    end = time + life
    return Entry(b"", value, True, time, end, max(end, keep), NodeId(b"\x01" * 16))


@given(st.lists(items, max_size=12), st.randoms(use_true_random=False), st.sampled_from([0, 2, 10]))
def test_merge_is_max(arrivals: list[ReplicaItem], random: Random, later: int) -> None:
    """MergeIsMax: any order, grouping and repetition gives the same store and digests."""
    now = NOW + later
    one = Values()
    one.merge(arrivals, now)
    other = Values()
    repeated = arrivals + random.sample(arrivals, len(arrivals) // 2)
    random.shuffle(repeated)
    while repeated:
        size = random.randint(1, 4)
        other.merge(repeated[:size], now)
        repeated = repeated[size:]
    assert everything(one) == everything(other)
    assert one.digests(RING, RING, 64) == other.digests(RING, RING, 64)
    third = Values()
    third.merge(everything(other), now)
    assert everything(third) == everything(one)


@given(st.lists(items, min_size=1, max_size=10))
def test_the_largest_order_wins(arrivals: list[ReplicaItem]) -> None:
    values = Values()
    values.merge(arrivals, NOW)
    for resource, kind in PLACES:
        for key in (b"a", b"b"):
            here = [
                each.entry
                for each in arrivals
                if (each.resource, each.kind, each.entry.key) == (resource, kind, key)
            ]
            held = values.entry(resource, kind, key)
            assert (held is None) == (not here)
            if held is not None:
                assert order_of(held) == max(map(order_of, here))
                assert held.keep_until_ms == max(each.keep_until_ms for each in here)


@given(st.lists(items, max_size=10), st.integers(0, 3))
def test_digests_kept_by_the_way_equal_those_made_anew(
    arrivals: list[ReplicaItem], watched_from: int
) -> None:
    """Digests of a range that is compared often are kept up to date, through expiry too."""
    kept = Values()
    for number, each in enumerate(arrivals):
        if number >= watched_from:
            kept.digests(RING, RING, 64)
        kept.merge([each], NOW)
    kept.expire(NOW + 30, 100)
    kept.expire(NOW + 70_000, 3)
    anew = Values()
    anew.load(everything(kept))
    assert kept.digests(RING, RING, 64) == anew.digests(RING, RING, 64)
    assert (kept.count, kept.live) == (anew.count, anew.live)


def test_fewer_buckets_are_xors_of_more() -> None:
    values = Values()
    values.merge([item(value_at(NOW), place=number) for number in range(6)], NOW)
    fine = [int.from_bytes(each, "big") for each in values.digests(RING, RING, 1024)]
    coarse = [int.from_bytes(each, "big") for each in values.digests(RING, RING, 512)]
    assert coarse == [fine[number] ^ fine[number + 512] for number in range(512)]


def test_a_marker_orders_like_the_value_that_it_stands_for() -> None:
    value = value_at(NOW, life=10)
    marker = shrink(value, NOW + 10)
    assert marker.value == b""
    assert order_of(marker) == order_of(value)
    assert not is_live(marker, NOW)
    assert larger(marker, value) == larger(value, marker) == value


def test_shrinking_changes_no_digest() -> None:
    """Two peers whose clocks differ by seconds do not repair each other around each expiry."""
    values = Values()
    values.merge([item(value_at(NOW, life=10))], NOW)
    before = values.digests(RING, RING, 64)
    records = values.expire(NOW + 10, 10)
    assert len(records) == 1
    assert values.digests(RING, RING, 64) == before
    assert (values.count, values.live) == (1, 0)


def test_a_marker_stays_until_all_that_it_superseded_is_past() -> None:
    """Register for an hour, then for a minute: a stale disk must not bring the first one back."""
    hour = value_at(NOW, b"hour", life=3_600_000)
    minute = value_at(NOW + 5, b"minute", life=60_000, keep=hour.keep_until_ms)
    values = Values()
    values.merge([item(hour), item(minute)], NOW + 5)
    values.expire(NOW + 61_000, 10)
    assert values.live == 0
    assert not values.merge([item(hour)], NOW + 61_000)
    last = hour.keep_until_ms + MARKER_MS
    values.expire(last - 1, 10)
    assert values.count == 1
    assert values.expire(last, 10) == [(record_of(item(minute))[0], None)]
    assert values.count == 0
    assert not values.merge([item(hour)], last)


def test_what_never_met_its_successor_is_kept_out_by_the_merged_keep_until() -> None:
    hour = value_at(NOW, b"hour", life=3_600_000)
    minute = value_at(NOW + 5, b"minute", life=60_000)
    assert larger(hour, minute).keep_until_ms == hour.keep_until_ms
    assert larger(minute, hour) == larger(hour, minute)


def test_two_histories_that_meet_get_a_generation_that_neither_had() -> None:
    values = Values()
    values.merge([item(value_at(NOW, b"here"), generation=7)], NOW)
    changed = values.merge([item(value_at(NOW + 1, b"there"), generation=7)], NOW, raising=True)
    assert [each.generation for each in changed] == [8]
    changed = values.merge([item(value_at(NOW + 2, b"later"), generation=9)], NOW, raising=True)
    assert [each.generation for each in changed] == [9]


def test_a_page_never_cuts_a_resource_and_tells_from_where_to_go_on() -> None:
    values = Values()
    stored = [item(replace(value_at(NOW), value=bytes(100)), place=number) for number in range(6)]
    values.merge(stored, NOW)
    found: list[ReplicaItem] = []
    cursor, pages = RING, 0
    while True:
        page = values.page(cursor, RING, tuple(range(64)), 64, 1)
        found.extend(page.items)
        pages += 1
        if not page.covered:
            break
        cursor = page.covered
    assert found == everything(values)
    assert pages == 3


def test_the_range_of_places_goes_round_the_ring() -> None:
    values = Values()
    values.merge([item(value_at(NOW), place=number) for number in (0, 2, 4)], NOW)
    first, second, third = (PLACES[number][0] for number in (0, 2, 4))
    assert [place[0] for place in values.places(second, first)] == [third, first]
    assert [place[0] for place in values.places(second, second)] == [third, first, second]
    assert values.next_resource(third) == first


@given(items)
def test_a_record_gives_back_its_item(each: ReplicaItem) -> None:
    key, value = record_of(each)
    assert value is not None
    assert item_of_record(key, value) == each


def test_the_heap_of_ends_stays_within_bounds() -> None:
    """A registration that is refreshed a thousand times leaves no thousand ends behind."""
    values = Values()
    for number in range(5_000):
        values.merge([item(value_at(NOW + number, life=600_000))], NOW + number)
    assert len(values.expire(NOW + 700_000, 10)) == 1
