"""Storage between peers: majorities, disks, asking first, restarts (protocol.md §5 and §7)."""

from collections.abc import Callable

import pytest

from chordial_node.boundary.notices import (
    DiskFailed,
    DiskRecovered,
    RangeDegraded,
    StoreAcknowledged,
)
from chordial_node.ids import ResourceId
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.kinds import order_of, precedence_of
from chordial_node.overlay.messages import (
    Answer,
    FetchRequest,
    FetchSpecifier,
    FindRequest,
    KindData,
    Message,
    Request,
    StatRequest,
    StoreRequest,
)
from chordial_node.overlay.requests import RequestContext
from chordial_node.overlay.storage.storage import STORE_ID_KEY
from tests.node.overlay.storage.rig import (
    OPEN,
    REGISTRATION,
    Peers,
    entry,
    resource_before,
    settled,
)


def test_a_store_is_acknowledged_by_a_majority_on_disk() -> None:
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers[3].silent = True
    answer = peers.store(resource, peers.writer())
    assert answer.replicas == (peers.ids[1], peers.ids[2])
    for index in (1, 2):
        assert any(key.startswith(b"value/" + resource) for key in peers[index].disk)
    (told,) = peers[1].told(StoreAcknowledged)
    held = peers[1].storage.held(0xF0000003)
    assert (told.copies, told.order) == (2, order_of(held[0][1]))


def test_a_store_that_no_majority_takes_fails_in_time() -> None:
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers[2].silent = peers[3].silent = True
    before = peers.now
    with pytest.raises(OverlayError) as caught:
        peers.store(resource, peers.writer())
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert peers.now - before < 4.2
    assert not peers[1].told(StoreAcknowledged)


def test_the_owner_is_always_among_the_majority() -> None:
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers[1].disk_fails = True
    with pytest.raises(OverlayError) as caught:
        peers.store(resource, peers.writer())
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


def test_a_failing_disk_refuses_stores_and_serves_fetches() -> None:
    peers = settled(3)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer(b"before"))
    peers[1].disk_fails = True
    for _ in range(2):
        with pytest.raises(OverlayError) as caught:
            peers.store(resource, peers.writer(b"after"))
        assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert peers.values(resource)
    assert len(peers[1].told(DiskFailed)) == 1
    peers[1].disk_fails = False
    peers.run(2.0)
    assert len(peers[1].told(DiskRecovered)) == 1
    peers.store(resource, peers.writer(b"again"))
    assert peers.values(resource) == [b"again"]


def test_an_identical_store_is_a_success_and_changes_nothing() -> None:
    peers = settled(3)
    resource = resource_before(peers, 1)
    register = peers.writer(key=b"device", precedence=precedence_of(5, b"call", 1))
    first = peers.store(resource, register, kind=REGISTRATION)
    peers.run(1.0)
    again = peers.store(resource, register, kind=REGISTRATION)
    assert (again.generations, again.storage_time_ms) == (first.generations, first.storage_time_ms)


def test_a_repeated_store_with_a_generation_is_a_success() -> None:
    """Its answer was lost: it must not fail by its own effect."""
    peers = settled(3)
    resource = resource_before(peers, 1)
    first = peers.store(resource, peers.writer(b"1")).generations[0][1]
    second = peers.store(resource, peers.writer(b"2"), generation=first)
    again = peers.store(resource, peers.writer(b"2"), generation=first)
    assert again.generations == second.generations


def test_a_ring_of_one_stores_alone() -> None:
    peers = settled(1)
    resource = resource_before(peers, 0)
    assert peers.store(resource, peers.writer()).replicas == (peers.ids[0],)
    assert peers.values(resource) == [b"value"]
    assert peers[0].storage.owned_keys == peers[0].storage.keys == 1


def test_two_peers_need_both() -> None:
    peers = settled(2)
    resource = resource_before(peers, 1)
    assert len(peers.store(resource, peers.writer()).replicas) == 2
    peers[0].silent = True
    with pytest.raises(OverlayError):
        peers.store(resource, peers.writer())


def test_values_end_on_every_peer() -> None:
    peers = settled(3)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer(lifetime=60.0))
    peers.run(59.0)
    assert peers.values(resource) == [b"value"]
    peers.run(1.1)
    assert peers.values(resource) == []
    peers.run(12.0)
    assert [peers[number].storage.keys for number in range(3)] == [0, 0, 0]
    assert not [key for number in range(3) for key in peers[number].disk if key[:6] == b"value/"]


def test_a_new_owner_asks_the_other_copies_first() -> None:
    """The predecessor died: what only the other replica holds is in the first answer."""
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers[2].silent = True
    peers.store(resource, peers.writer(b"missed by 2"))
    peers[2].silent = False
    peers.crash(1)
    peers.arrange(0, 2, 3, 4)
    before = len(peers.messages)
    assert peers.values(resource) == [b"missed by 2"]
    asked = [
        node
        for source, node, request in peers.messages[before:]
        if isinstance(request, FetchRequest) and source == peers.ids[2]
    ]
    assert peers.ids[3] in asked
    assert not peers[2].told(RangeDegraded)


def test_a_joiner_asks_its_successor_first() -> None:
    peers = Peers(5)
    peers.arrange(0, 2, 3, 4)
    peers.run(3.0)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer(b"before the join"))
    peers.arrange(0, 1, 2, 3, 4)
    assert peers.owner_of(resource) == peers.ids[1]
    assert peers.values(resource) == [b"before the join"]
    peers.run(3.0)
    assert all(peers[number].storage.in_step for number in range(5))


def test_many_joins_at_once_lose_nothing() -> None:
    peers = Peers(6)
    peers.arrange(0, 3)
    peers.run(3.0)
    resources = [ResourceId(bytes([number * 16 + 8]) * 16) for number in range(16)]
    for number, resource in enumerate(resources):
        peers.store(resource, peers.writer(b"%d" % number))
    peers.arrange(*range(6))
    for number, resource in enumerate(resources):
        assert peers.values(resource) == [b"%d" % number]


def changes_while_asked(peers: Peers, change: Callable[[], None]) -> None:
    """Let the ring of peer 2, which has just started, change while it asks peer 3."""
    asked: list[Message] = []

    def change_once(request: Message) -> None:
        if isinstance(request, FetchRequest) and request.from_replica and not asked:
            asked.append(request)
            peers.at(peers.now, peers[2], change)

    for index in (1, 2):
        peers.crash(index)
    peers.restart(2)
    peers.arrange(0, 2, 3, 4)
    peers[3].scripted = change_once


@pytest.mark.parametrize("request_type", [FetchRequest, StatRequest, FindRequest])
def test_who_lost_a_resource_while_it_asked_does_not_answer(
    request_type: Callable[[ResourceId, tuple[object, ...]], Request],
) -> None:
    """A joiner may have acknowledged something newer meanwhile."""
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())

    def cede() -> None:
        peers[2].ring.predecessor = peers.ids[1]
        peers[2].storage.on_neighbors_changed()

    changes_while_asked(peers, cede)
    named = OPEN if request_type is FindRequest else FetchSpecifier(OPEN)
    with pytest.raises(OverlayError) as caught:
        peers.ask_owner(request_type(resource, (named,)), Answer, 2)
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert caught.value.retry_after > 0


def test_what_was_asked_before_the_ring_changed_is_asked_again() -> None:
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())

    def lose_a_neighbor() -> None:
        peers[2].ring.successors.remove(peers.ids[4])
        peers[2].storage.on_neighbors_changed()

    changes_while_asked(peers, lose_a_neighbor)
    before = len(peers.messages)
    assert [each.value for each in peers.fetch(resource, at=2).kinds[0].entries] == [b"value"]
    asked = [
        node
        for _, node, request in peers.messages[before:]
        if isinstance(request, FetchRequest) and request.resource == resource
    ]
    assert asked.count(peers.ids[3]) == 2


def stored_in_the_stead_of_its_owner(peers: Peers, resource: ResourceId) -> float:
    """Store at the first successor, as one does that cannot reach peer 1; return the seconds."""
    request = StoreRequest(resource, (KindData(OPEN, 0, (peers.writer(b"in its stead"),)),))
    context = RequestContext(source=peers.ids[4], trace=None, hops=1, stand_in=True)
    before = peers.now
    peers.call(peers[2], peers[2].storage.on_store(request, context))
    return peers.now - before


def test_an_owner_that_lives_has_what_was_stored_in_its_stead() -> None:
    """Only the link between it and whoever asked was broken: others ask it, and it alone."""
    peers = settled(5)
    resource = resource_before(peers, 1)
    stored_in_the_stead_of_its_owner(peers, resource)
    assert peers.values(resource) == [b"in its stead"]
    assert any(key.startswith(b"value/" + resource) for key in peers[1].disk)


def test_an_owner_that_is_silent_is_told_in_vain_for_two_seconds() -> None:
    peers = settled(5)
    peers.crash(1)
    assert stored_in_the_stead_of_its_owner(peers, resource_before(peers, 1)) < 2.5


def test_silent_members_degrade_the_range_after_two_seconds() -> None:
    peers = settled(5)
    peers.run(40.0)  # nobody has just started
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())
    peers.crash(1)
    peers[3].silent = peers[4].silent = True
    peers.arrange(0, 2, 3, 4)
    before = peers.now
    assert peers.values(resource) == [b"value"]
    assert 1.9 < peers.now - before < 2.5
    assert len(peers[2].told(RangeDegraded)) == 1
    assert peers[2].storage.is_degraded
    assert peers.fetch(resource).is_degraded


def test_lost_members_are_not_waited_for() -> None:
    peers = settled(5)
    peers.run(40.0)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())
    peers.run(1.0)
    for index in (1, 3):
        peers.crash(index)
    peers.arrange(0, 2, 4)
    before = peers.now
    assert peers.values(resource) == [b"value"]
    assert peers.now - before < 0.2
    assert peers[2].storage.is_degraded
    peers.run(60.0)
    assert not peers[2].storage.is_degraded
    assert peers[2].storage.in_step


def test_everything_restarts_with_its_disks() -> None:
    peers = settled(5)
    resources = [ResourceId(bytes([number * 16 + 8]) * 16) for number in range(16)]
    for number, resource in enumerate(resources):
        peers.store(resource, peers.writer(b"%d" % number))
    store_ids = [peers[number].storage.store_id for number in range(5)]
    for index in range(5):
        peers.crash(index)
    for index in range(5):
        peers.restart(index)
    peers.arrange(*range(5))
    for number, resource in enumerate(resources):
        assert peers.values(resource) == [b"%d" % number]
    assert [peers[number].storage.store_id for number in range(5)] == store_ids
    assert not any(peers[number].told(RangeDegraded) for number in range(5))


def test_who_has_just_started_refuses_while_members_may_come_back() -> None:
    """protocol.md §7: a range that is not back does not say "not found"."""
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())
    for index in range(5):
        peers.crash(index)
    for index in (0, 1, 4):
        peers.restart(index)
    peers.arrange(0, 1, 4)
    with pytest.raises(OverlayError) as caught:
        peers.fetch(resource)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert caught.value.retry_after > 0
    for index in (2, 3):
        peers.restart(index)
    peers.arrange(*range(5))
    assert peers.values(resource) == [b"value"]
    assert not peers[1].told(RangeDegraded)


def test_a_range_whose_members_stay_away_is_degraded_after_thirty_seconds() -> None:
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())
    for index in range(5):
        peers.crash(index)
    for index in (0, 1, 4):
        peers.restart(index)
    peers.arrange(0, 1, 4)
    with pytest.raises(OverlayError):
        peers.fetch(resource)
    peers.run(31.0)
    assert peers.values(resource) == [b"value"]
    assert len(peers[1].told(RangeDegraded)) == 1


def test_a_blank_disk_is_no_copy() -> None:
    """protocol.md §1: a peer back with a blank disk is a new, empty member."""
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers[3].silent = True
    peers.store(resource, peers.writer(b"on 1 and 2"))
    peers[3].silent = False
    peers.crash(1)
    store_id = peers[1].storage.store_id
    peers.restart(1, blank=True)
    peers.arrange(*range(5))
    assert peers[1].storage.store_id != store_id
    assert peers.values(resource) == [b"on 1 and 2"]


def test_a_damaged_row_is_counted_and_left_on_disk() -> None:
    peers = settled(3)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer(b"good"))
    (key,) = [key for key in peers[1].disk if key.startswith(b"value/")]
    peers[1].disk[key] = b"\xc1 not msgpack"
    peers[1].disk[b"value/short"] = b""
    peers.crash(1)
    peers.restart(1)
    assert peers[1].kernel.counters.values_damaged == 2
    peers.arrange(0, 1, 2)
    assert peers.values(resource) == [b"good"]
    assert peers[1].disk[b"value/short"] == b""
    assert STORE_ID_KEY in peers[1].disk


def test_many_values_that_end_together_make_room_soon() -> None:
    peers = settled(1)
    for number in range(2_000):
        peers.store(resource_before(peers, 0, number), peers.writer(lifetime=60.0))
    peers.run(61.2)
    assert peers[0].storage.keys == 0
    peers.run(11.2)
    assert not any(key.startswith(b"value/") for key in peers[0].disk)


def test_a_full_store_says_busy() -> None:
    peers = settled(3, max_entries=2)
    for number in range(2):
        peers.store(resource_before(peers, 1, number), peers.writer())
    with pytest.raises(OverlayError) as caught:
        peers.store(resource_before(peers, 1, 9), peers.writer())
    assert caught.value.code is ErrorCode.BUSY
    assert caught.value.retry_after > 0
    peers.store(resource_before(peers, 1, 0), peers.writer(b"over"))


def test_what_a_peer_owns_and_what_it_holds() -> None:
    peers = settled(3)
    mine, other = resource_before(peers, 1), resource_before(peers, 0)
    peers.store(mine, peers.writer(b"mine"))
    peers.store(other, peers.writer(b"other"))
    peers.run(0.1)
    storage = peers[1].storage
    assert [(each[0], each[1].value) for each in storage.owned(0xF0000003)] == [(mine, b"mine")]
    assert len(storage.held(0xF0000003)) == storage.keys == 2
    assert storage.owned_keys == 1


def test_before_it_joined_a_peer_answers_nothing() -> None:
    peers = Peers(1)
    with pytest.raises(OverlayError) as caught:
        peers.store(resource_before(peers, 0), entry(), at=0)
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert peers[0].storage.owned_keys == 0


def test_a_joiner_owns_nothing_until_it_knows_its_predecessor() -> None:
    """It has a place and successors, but not yet a range: it is no owner of the whole ring."""
    peers = settled(3)
    peers.store(resource_before(peers, 1), peers.writer())
    peers.crash(0)
    peers.restart(0)
    peers[0].ring.state = "joined"
    peers[0].ring.successors = [peers.ids[1], peers.ids[2]]
    peers[0].turn(peers[0].storage.on_neighbors_changed)
    peers.run(3.0)
    assert peers[0].storage.owned_keys == 0
    assert not peers[0].storage.in_step
