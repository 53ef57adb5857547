"""RFC 6940 §7.4: Store, Fetch, Stat and Find at the responsible peer."""

from collections.abc import Callable

import pytest

from chordial_node.ids import ResourceId
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import KindId, precedence_of
from chordial_node.overlay.messages import (
    NOTHING_THERE,
    FetchAnswer,
    FetchRequest,
    FetchSpecifier,
    FindAnswer,
    FindRequest,
    KindData,
    StatAnswer,
    StatRequest,
    StoreAnswer,
    StoreRequest,
    decode_body,
)
from tests.node.overlay.storage.rig import OPEN, REGISTRATION, Peers, resource_before, settled

UNKNOWN = 0x7777


@pytest.fixture
def peers() -> Peers:
    return settled(3)


@pytest.fixture
def resource(peers: Peers) -> ResourceId:
    return resource_before(peers, 1)


def code_of(work: Callable[[], object]) -> ErrorCode:
    with pytest.raises(OverlayError) as caught:
        work()
    return caught.value.code


def test_a_store_at_a_peer_that_is_not_responsible_is_rejected(
    peers: Peers, resource: ResourceId
) -> None:
    """RFC 6940 §7.4.1.1: the peer checks first that it is responsible for the resource."""
    work = lambda: peers.store(resource, peers.writer(), kind=UNKNOWN, at=0)  # noqa: E731
    assert code_of(work) is ErrorCode.NOT_FOUND


def test_an_unknown_kind_is_told_by_its_kind_id(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.1: an unknown Kind gets Error_Unknown_Kind with the list of Kind-IDs."""
    with pytest.raises(OverlayError) as caught:
        peers.store(resource, peers.writer(bytes(10**6)), kind=UNKNOWN, generation=5)
    assert caught.value.code is ErrorCode.UNKNOWN_KIND
    assert caught.value.data == UNKNOWN.to_bytes(4, "big")


def test_a_generation_that_is_not_the_current_one_gets_the_current_ones(
    peers: Peers, resource: ResourceId
) -> None:
    """RFC 6940 §7.4.1.1: Error_Generation_Counter_Too_Low carries a StoreAns with the counters."""
    first = peers.store(resource, peers.writer())
    too_large = peers.writer(bytes(10**6))
    with pytest.raises(OverlayError) as caught:
        peers.store(resource, too_large, generation=first.generations[0][1] + 1)
    assert caught.value.code is ErrorCode.GENERATION_COUNTER_TOO_LOW
    told = decode_body(StoreAnswer.CODE, caught.value.data)
    assert isinstance(told, StoreAnswer)
    assert told.generations == first.generations


def test_the_current_generation_is_accepted_and_rises(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.1: the counter rises with each change; 0 in a request does not check."""
    first = peers.store(resource, peers.writer(b"1")).generations[0][1]
    second = peers.store(resource, peers.writer(b"2"), generation=first).generations[0][1]
    assert second > first > 0
    assert code_of(lambda: peers.store(resource, peers.writer(b"3"), generation=first)) is (
        ErrorCode.GENERATION_COUNTER_TOO_LOW
    )


def test_a_store_may_ask_that_nothing_is_there(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.1, and ours: of two first Stores that compare, one finds the other."""
    peers.store(resource, peers.writer(b"1"), generation=NOTHING_THERE)
    assert code_of(lambda: peers.store(resource, peers.writer(b"2"), generation=NOTHING_THERE)) is (
        ErrorCode.GENERATION_COUNTER_TOO_LOW
    )


def test_an_older_version_is_too_old(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.1: Error_Data_Too_Old; registrations order by protocol.md §6."""
    newer = peers.writer(key=b"device", precedence=precedence_of(5, b"call", 3))
    older = peers.writer(bytes(10**6), key=b"device", precedence=precedence_of(5, b"call", 2))
    peers.store(resource, newer, kind=REGISTRATION)
    work = lambda: peers.store(resource, older, kind=REGISTRATION)  # noqa: E731
    assert code_of(work) is ErrorCode.DATA_TOO_OLD
    assert peers.values(resource, REGISTRATION) == [newer.value]


def test_a_late_version_changes_nothing_after_a_removal(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.3: a removal is a value, and orders like one."""
    place = {"key": b"device"}
    first = peers.writer(precedence=precedence_of(5, b"call", 1), **place)
    removal = peers.writer(b"", exists=False, precedence=precedence_of(5, b"call", 2), **place)
    peers.store(resource, first, kind=REGISTRATION)
    peers.store(resource, removal, kind=REGISTRATION)
    assert peers.values(resource, REGISTRATION) == []
    work = lambda: peers.store(resource, first, kind=REGISTRATION)  # noqa: E731
    assert code_of(work) is ErrorCode.DATA_TOO_OLD


@pytest.mark.parametrize("offset", [-5.5, 5.5])
def test_a_clock_that_is_off_is_told(peers: Peers, resource: ResourceId, offset: float) -> None:
    """RFC 6940 §7.4.1.1 with protocol.md §6: more than 5 s off is refused with the offset."""
    peers.run(0.1)
    writer = peers.writer()
    shifted = type(writer)(
        writer.key,
        writer.value,
        True,
        writer.storage_time_ms + int(offset * 1000),
        writer.expires_at_ms,
        writer.keep_until_ms,
        writer.acceptor,
    )
    with pytest.raises(OverlayError, match=r"[+-]5\.\d s off our clock") as caught:
        peers.store(resource, shifted)
    assert caught.value.code is ErrorCode.DATA_TOO_OLD


def test_a_value_larger_than_its_kind_allows_is_too_large(
    peers: Peers, resource: ResourceId
) -> None:
    """RFC 6940 §7.4.1.1: max-size of the Kind, Error_Data_Too_Large."""
    work = lambda: peers.store(resource, peers.writer(bytes(20 * 1024 + 1), lifetime=-1))  # noqa: E731
    assert code_of(work) is ErrorCode.DATA_TOO_LARGE


def test_more_values_than_the_kind_allows_are_too_many(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.1: max-count of the Kind; what was removed makes room again."""
    entries = [peers.writer(key=b"device-%d" % number) for number in range(11)]
    peers.store(resource, *entries[:10], kind=REGISTRATION)
    work = lambda: peers.store(resource, entries[10], kind=REGISTRATION)  # noqa: E731
    assert code_of(work) is ErrorCode.DATA_TOO_LARGE
    peers.store(resource, peers.writer(b"", key=b"device-0", exists=False), kind=REGISTRATION)
    peers.store(resource, entries[10], kind=REGISTRATION)
    assert len(peers.values(resource, REGISTRATION)) == 10


@pytest.mark.parametrize("lifetime", [0.0, -1.0, 8 * 86_400.0])
def test_a_lifetime_that_the_kind_does_not_allow_is_refused(
    peers: Peers, resource: ResourceId, lifetime: float
) -> None:
    """RFC 6940 §7.4.1.1: the lifetime is checked last."""
    work = lambda: peers.store(resource, peers.writer(lifetime=lifetime))  # noqa: E731
    assert code_of(work) is ErrorCode.INVALID_MESSAGE


def test_a_store_is_all_or_nothing(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.1: if one value fails, none is stored."""
    request = StoreRequest(
        resource,
        (
            KindData(OPEN, 0, (peers.writer(b"good"),)),
            KindData(KindId.CREDENTIALS, 0, (peers.writer(bytes(4096)),)),
        ),
    )
    work = lambda: peers.ask_owner(request, StoreAnswer, None)  # noqa: E731
    assert code_of(work) is ErrorCode.DATA_TOO_LARGE
    assert peers.values(resource) == []
    assert peers.fetch(resource).kinds[0].generation == 0


def test_a_kind_stands_at_most_once_in_a_store(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.1: a Kind-ID appears at most once in a request."""
    data = KindData(OPEN, 0, (peers.writer(),))
    work = lambda: peers.ask_owner(StoreRequest(resource, (data, data)), StoreAnswer, None)  # noqa: E731
    assert code_of(work) is ErrorCode.INVALID_MESSAGE


def test_the_owner_stamps_a_time_later_than_the_one_before(
    peers: Peers, resource: ResourceId
) -> None:
    """RFC 6940 §7 with protocol.md §6: storage time = max(now, previous + 1 ms)."""
    early = peers.writer(b"1")
    first = peers.store(resource, early).storage_time_ms
    peers[1].kernel.set_wall_offset(1_700_000_000.0 - 3.0)
    second = peers.store(resource, peers.writer(b"2")).storage_time_ms
    assert second == first + 1
    assert peers.values(resource) == [b"2"]


def test_the_answer_names_the_replicas(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.2: StoreAns lists who holds it; a majority of three had it on disk."""
    answer = peers.store(resource, peers.writer())
    assert answer.replicas[0] == peers.ids[1]
    assert len(answer.replicas) >= 2


def test_removing_stores_a_value_that_does_not_exist(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.1.3: exists = false, kept at least as long as what it removes."""
    peers.store(resource, peers.writer(lifetime=3600.0))
    peers.store(resource, peers.writer(b"", exists=False, lifetime=1.0))
    assert peers.values(resource) == []
    peers.run(3000.0)
    held = peers.ask_owner(FetchRequest(resource, (), from_replica=True), FetchAnswer, None)
    assert [each.exists for each in held.kinds[0].entries] == [False]
    peers.run(700.0)
    held = peers.ask_owner(FetchRequest(resource, (), from_replica=True), FetchAnswer, None)
    assert held.kinds == ()


def test_fetching_some_keys_and_fetching_all(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.2.1: a dictionary specifier without keys means all of them."""
    entries = [peers.writer(b"v-" + key, key=key) for key in (b"a", b"b", b"c")]
    peers.store(resource, *entries, kind=REGISTRATION)
    some = FetchRequest(resource, (FetchSpecifier(REGISTRATION, 0, (b"a", b"c", b"x")),))
    fetched = peers.ask_owner(some, FetchAnswer, None).kinds[0]
    assert [each.value for each in fetched.entries] == [b"v-a", b"v-c"]
    assert peers.values(resource, REGISTRATION) == [b"v-a", b"v-b", b"v-c"]


def test_an_equal_generation_means_not_modified(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.2.1: with the current generation the answer is empty."""
    generation = peers.store(resource, peers.writer()).generations[0][1]
    request = FetchRequest(resource, (FetchSpecifier(OPEN, generation),))
    data = peers.ask_owner(request, FetchAnswer, None).kinds[0]
    assert (data.generation, data.entries) == (generation, ())


def test_stat_tells_everything_but_the_value(peers: Peers, resource: ResourceId) -> None:
    """RFC 6940 §7.4.3: metadata and the digest of the value."""
    stored = peers.store(resource, peers.writer(b"twelve bytes"))
    request = StatRequest(resource, (FetchSpecifier(OPEN),))
    kind, generation, stats = peers.ask_owner(request, StatAnswer, None).kinds[0]
    assert (kind, generation) == stored.generations[0]
    assert [(each.size, each.storage_time_ms) for each in stats] == [(12, stored.storage_time_ms)]


def test_find_tells_the_closest_resource_that_the_owner_holds(peers: Peers) -> None:
    """RFC 6940 §7.4.4: the closest at or after the resource, zeros where there is none."""
    first, second = resource_before(peers, 1, 50), resource_before(peers, 1, 40)
    peers.store(first, peers.writer())
    peers.store(second, peers.writer())

    def found(start: ResourceId) -> FindAnswer:
        return peers.ask_owner(FindRequest(start, (OPEN, REGISTRATION)), FindAnswer, None)

    nothing = ResourceId(bytes(16))
    assert found(first).closest == ((OPEN, first), (REGISTRATION, nothing))
    assert found(resource_before(peers, 1, 49)).closest[0] == (OPEN, second)
    assert found(resource_before(peers, 1, 39)).closest[0] == (OPEN, nothing)


def test_find_at_a_peer_that_is_not_responsible_is_not_found(
    peers: Peers, resource: ResourceId
) -> None:
    """RFC 6940 §7.4.4: Error_Not_Found from a peer that is not responsible."""
    work = lambda: peers.ask_owner(FindRequest(resource, (OPEN,)), FindAnswer, at=0)  # noqa: E731
    assert code_of(work) is ErrorCode.NOT_FOUND


def test_copies_are_on_the_next_two_successors(peers: Peers) -> None:
    """RFC 6940 §10.4: the responsible peer and its two successors hold a value."""
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())
    peers.run(0.1)
    holding = [number for number in range(5) if peers[number].storage.keys]
    assert holding == [1, 2, 3]
