"""Repair and strays: every range comes in step again, and nothing is silently dropped."""

import pytest

from chordial_node.boundary.notices import ProcedureFaulted, RangeInStep
from chordial_node.ids import ResourceId
from chordial_node.overlay.messages import (
    Answer,
    Message,
    RangeDigestAnswer,
    RangeDigestRequest,
    ReplicateRequest,
)
from tests.node.overlay.storage.rig import Peers, resource_before, settled


def resources(count: int) -> list[ResourceId]:
    return [ResourceId((number * 256 // count).to_bytes(1, "big") * 16) for number in range(count)]


def fill(peers: Peers, count: int, size: int = 10) -> None:
    for number, resource in enumerate(resources(count)):
        peers.store(resource, peers.writer(b"%d" % number + bytes(size)))


def are_equal(peers: Peers, owner: int, *others: int) -> bool:
    """ReplicasEqual: all members of a set have equal digests, markers included."""
    after = peers[owner].ring.predecessor or peers.ids[owner]
    digests = [
        peers[number].storage.range_digests(after, peers.ids[owner]) for number in (owner, *others)
    ]
    return all(each == digests[0] for each in digests)


def test_copies_are_made_anew_after_a_death() -> None:
    peers = settled(5)
    fill(peers, 64)
    peers.run(1.0)
    peers.crash(2)
    peers.arrange(0, 1, 3, 4)
    peers.run(5.0)
    for owner, *others in ((0, 1, 3), (1, 3, 4), (3, 4, 0), (4, 0, 1)):
        assert are_equal(peers, owner, *others)
        assert peers[owner].storage.in_step
    assert sum(peers[number].storage.owned_keys for number in (0, 1, 3, 4)) == 64


def test_a_replica_that_missed_a_store_gets_it_soon() -> None:
    peers = settled(5)
    peers[3].silent = True
    peers.store(resource_before(peers, 1), peers.writer())
    peers[3].silent = False
    assert not are_equal(peers, 1, 2, 3)
    peers.run(10.0)
    assert are_equal(peers, 1, 2, 3)


def test_only_what_differs_moves() -> None:
    peers = settled(5)
    fill(peers, 200)
    peers.run(1.0)
    peers[3].silent = True
    peers.store(resource_before(peers, 1), peers.writer())
    peers[3].silent = False
    before = len(peers.messages)
    peers.run(10.0)
    moved = [
        len(request.items)
        for _, _, request in peers.messages[before:]
        if isinstance(request, ReplicateRequest)
    ]
    assert 1 <= sum(moved) < 10


def test_a_ring_in_step_is_quiet() -> None:
    peers = settled(5)
    fill(peers, 64)
    peers.run(20.0)
    before = len(peers.messages)
    peers.run(100.0)
    spent = [request for _, _, request in peers.messages[before:]]
    assert all(isinstance(request, RangeDigestRequest) for request in spent)
    assert len(spent) / 5 / 10 <= 2.8


@pytest.mark.parametrize(("buckets", "is_stuck"), [((), True), ((-1000,), False), ((9999,), False)])
def test_a_peer_that_answers_nonsense_holds_nobody_up(
    buckets: tuple[int, ...], is_stuck: bool
) -> None:
    peers = settled(3)

    def nonsense(request: Message) -> Answer | None:
        if not isinstance(request, RangeDigestRequest):
            return None
        return RangeDigestAnswer(buckets, (), covered=request.after if is_stuck else b"")

    peers[2].scripted = nonsense
    peers.store(resource_before(peers, 1), peers.writer())
    before = len(peers.messages)
    peers.run(30.0)
    asked = [
        request
        for source, node, request in peers.messages[before:]
        if (source, node) == (peers.ids[1], peers.ids[2])
        and isinstance(request, RangeDigestRequest)
    ]
    assert 1 <= len(asked) < 40
    assert not peers[1].told(ProcedureFaulted)
    assert are_equal(peers, 1, 0)


def test_a_large_range_moves_in_bounded_messages() -> None:
    peers = Peers(5)
    peers.arrange(0, 2, 3, 4)
    peers.run(3.0)
    values = [resource_before(peers, 1, number) for number in range(60)]
    for resource in values:
        peers.store(resource, peers.writer(bytes(15_000)))
    peers.arrange(*range(5))
    before = len(peers.messages)
    peers.run(5.0)
    assert peers[1].storage.owned_keys == 60
    for _, _, request in peers.messages[before:]:
        if isinstance(request, ReplicateRequest):
            assert sum(len(item.entry.value) for item in request.items) <= 64 * 1024
    assert are_equal(peers, 1, 2, 3)


def test_in_step_is_told_once_per_change() -> None:
    peers = settled(5)
    peers.run(60.0)
    assert [len(peers[number].told(RangeInStep)) for number in range(5)] == [1] * 5
    peers.arrange(0, 1, 2, 3)
    assert not peers[3].storage.in_step
    peers.run(5.0)
    assert len(peers[3].told(RangeInStep)) == 2


def test_who_holds_a_range_it_is_no_member_of_offers_it_and_then_drops_it() -> None:
    peers = Peers(5)
    peers.arrange(0, 2, 3, 4)
    peers.run(3.0)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())
    peers.run(1.0)
    holding = [number for number in range(5) if peers[number].storage.keys]
    assert holding == [2, 3, 4]
    peers.arrange(*range(5))
    peers.run(70.0)
    holding = [number for number in range(5) if peers[number].storage.keys]
    assert holding == [1, 2, 3]
    assert not [key for key in peers[4].disk if key.startswith(b"value/")]


def test_a_peer_back_with_an_old_disk_brings_what_nobody_else_has() -> None:
    """NothingLost: two of the three holders died for good, the third comes back elsewhere."""
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer(b"only here"))
    peers.run(1.0)
    for index in (1, 2, 3):
        peers.crash(index)
    peers.arrange(0, 4)
    peers.run(80.0)
    assert peers.values(resource) == []
    peers.restart(3)
    peers.arrange(0, 3, 4)
    peers.run(70.0)
    assert peers.owner_of(resource) == peers.ids[3]
    assert peers.values(resource) == [b"only here"]


def test_a_stray_is_offered_to_an_owner_that_never_had_it() -> None:
    peers = settled(6, copies=2)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer(b"only here"))
    peers.run(1.0)
    for index in (1, 2):
        peers.crash(index)
    peers.arrange(0, 3, 4, 5)
    peers.run(40.0)
    peers.restart(2)
    peers.restart(1, blank=True)
    peers.arrange(*range(6))
    peers.run(60.0)
    assert peers.values(resource) == [b"only here"]


def test_two_sides_of_a_split_become_one_by_the_order() -> None:
    """Both sides went on; after the heal the larger order stands on every peer."""
    peers = settled(4)
    peers.run(40.0)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer(b"before"))
    peers.run(1.0)
    peers.arrange(0, 1)
    peers.run(35.0)
    peers.store(resource, peers.writer(b"one side"))
    peers.arrange(2, 3)
    peers.run(35.0)
    peers.store(resource, peers.writer(b"the other side, later"))
    generation = peers.fetch(resource).kinds[0].generation
    peers.arrange(*range(4))
    peers.run(60.0)
    assert peers.values(resource) == [b"the other side, later"]
    assert are_equal(peers, 1, 2, 3)
    assert peers.fetch(resource).kinds[0].generation >= generation
