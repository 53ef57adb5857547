"""How many disks a Store waits for: `overlay.acknowledge`."""

import pytest

from chordial_node.boundary.notices import StoreAcknowledged
from chordial_node.config import Acknowledge
from chordial_node.ids import ResourceId
from chordial_node.overlay.errors import ErrorCode, OverlayError
from tests.node.overlay.storage.rig import Peers, resource_before, settled


def ring(acknowledge: Acknowledge, copies: int = 3) -> tuple[Peers, ResourceId]:
    peers = settled(6, copies, acknowledge=acknowledge)
    return peers, resource_before(peers, 1)


def has(peers: Peers, index: int, resource: ResourceId) -> bool:
    return any(key.startswith(b"value/" + resource) for key in peers[index].disk)


def refused(peers: Peers, resource: ResourceId) -> OverlayError:
    with pytest.raises(OverlayError) as caught:
        peers.store(resource, peers.writer())
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert not peers[1].told(StoreAcknowledged)
    return caught.value


def test_primary_waits_for_the_owner_alone_and_the_others_follow() -> None:
    peers, resource = ring("primary")
    peers[2].silent = peers[3].silent = True
    before = peers.now
    answer = peers.store(resource, peers.writer())
    assert answer.replicas == (peers.ids[1],)
    assert peers.now - before < 0.05
    assert has(peers, 1, resource)
    peers[2].silent = peers[3].silent = False
    peers.run(20.0)
    assert has(peers, 2, resource)
    assert has(peers, 3, resource)


def test_primary_sends_the_copies_at_once() -> None:
    peers, resource = ring("primary")
    peers.store(resource, peers.writer())
    peers.run(0.05)
    assert has(peers, 2, resource)
    assert has(peers, 3, resource)


@pytest.mark.parametrize("acknowledge", ["primary", "quorum", "all"])
def test_nothing_is_acknowledged_without_the_owners_disk(acknowledge: Acknowledge) -> None:
    peers, resource = ring(acknowledge)
    peers[1].disk_fails = True
    refused(peers, resource)


@pytest.mark.parametrize(("copies", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_quorum_waits_for_a_majority(copies: int, needed: int) -> None:
    peers, resource = ring("quorum", copies)
    for index in range(1 + needed, 1 + copies):
        peers[index].silent = True
    assert len(peers.store(resource, peers.writer()).replicas) == needed


@pytest.mark.parametrize("copies", [1, 2, 3, 5])
def test_all_waits_for_every_copy(copies: int) -> None:
    peers, resource = ring("all", copies)
    answer = peers.store(resource, peers.writer())
    assert sorted(answer.replicas) == peers.ids[1 : 1 + copies]
    for index in range(1, 1 + copies):
        assert has(peers, index, resource)


def test_all_fails_in_time_while_one_of_the_set_is_silent() -> None:
    peers, resource = ring("all")
    peers[3].silent = True
    before = peers.now
    assert "only 1 of 2 copies beside ours" in str(refused(peers, resource))
    assert peers.now - before < 4.2


def test_all_waits_for_whoever_takes_the_place_of_a_member_that_died() -> None:
    peers, resource = ring("all")
    peers.crash(3)
    peers.at(peers.now + 1.0, peers[1], lambda: peers.arrange(0, 1, 2, 4, 5))
    before = peers.now
    answer = peers.store(resource, peers.writer())
    assert answer.replicas == (peers.ids[1], peers.ids[2], peers.ids[4])
    assert 1.0 <= peers.now - before < 1.1
    assert has(peers, 4, resource)


def test_all_asks_a_member_again_whose_disk_fails_for_a_moment() -> None:
    peers, resource = ring("all")
    peers[2].disk_fails = True
    peers.at(peers.now + 1.0, peers[2], lambda: setattr(peers[2], "disk_fails", False))
    assert len(peers.store(resource, peers.writer()).replicas) == 3


def test_all_in_a_small_ring_is_all_that_are_there() -> None:
    peers = settled(2, acknowledge="all")
    assert len(peers.store(resource_before(peers, 1), peers.writer()).replicas) == 2
