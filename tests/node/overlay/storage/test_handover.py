"""Leaving: everything owned is acknowledged by those who hold it afterwards (protocol.md §5)."""

import pytest

from chordial_node.boundary.notices import RangeDegraded, RangeHandedOver
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import Answer, Message, RangeDigestRequest
from tests.node.overlay.storage.rig import Peers, resource_before, settled


class Count(Answer, frozen=True):
    """What a handover returned."""

    entries: int


def hand_over(peers: Peers, index: int, limit: float = 40.0) -> int:
    async def run() -> Count:
        return Count(await peers[index].storage.hand_over())

    return peers.call(peers[index], run(), limit).entries


def test_a_handover_leaves_everything_with_the_others() -> None:
    """LeaveKeepsAll: after it the disk may be erased."""
    peers = settled(5)
    resources = [resource_before(peers, 1, number) for number in range(20)]
    for number, resource in enumerate(resources):
        peers.store(resource, peers.writer(b"%d" % number))
    assert hand_over(peers, 1) == 20
    (told,) = peers[1].told(RangeHandedOver)
    assert (told.to, told.entries) == (peers.ids[2], 20)
    peers.crash(1)
    peers.arrange(0, 2, 3, 4)
    for number, resource in enumerate(resources):
        assert peers.values(resource) == [b"%d" % number]
    assert not peers[2].told(RangeDegraded)


def test_a_handover_survives_the_death_of_a_taker() -> None:
    peers = settled(5)
    resource = resource_before(peers, 1)
    peers.store(resource, peers.writer())
    assert hand_over(peers, 1) == 1
    peers.crash(1)
    peers.crash(2)
    peers.arrange(0, 3, 4)
    assert peers.values(resource) == [b"value"]


def test_a_handover_is_done_though_the_taker_dies_at_its_end() -> None:
    peers = settled(2)
    peers.store(resource_before(peers, 1), peers.writer())

    def die_at_the_last_word(request: Message) -> None:
        if isinstance(request, RangeDigestRequest) and request.sets == ((peers.ids[0],),):
            peers[1].ring.successors = []

    peers[0].scripted = die_at_the_last_word
    assert hand_over(peers, 1) == 1
    (told,) = peers[1].told(RangeHandedOver)
    assert told.to == peers.ids[0]


def test_after_a_handover_stores_are_refused() -> None:
    peers = settled(3)
    resource = resource_before(peers, 1)
    hand_over(peers, 1)
    with pytest.raises(OverlayError) as caught:
        peers.store(resource, peers.writer())
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


class IsHeld(Answer, frozen=True):
    """Whether a preparation has worked."""

    held: bool


def prepare(peers: Peers, index: int, seconds: float = 5.0) -> bool:
    async def run() -> IsHeld:
        return IsHeld(await peers[index].storage.prepare_handover(seconds))

    return peers.call(peers[index], run(), 40.0).held


def test_before_a_handover_others_hold_everything_and_stores_go_on() -> None:
    peers = settled(5)
    first, second = resource_before(peers, 1), resource_before(peers, 1, 7)
    peers.store(first, peers.writer())
    assert prepare(peers, 1)
    peers.store(second, peers.writer())
    assert not peers[1].told(RangeHandedOver)
    assert hand_over(peers, 1) == 2
    peers.crash(1)
    peers.arrange(0, 2, 3, 4)
    assert [peers.values(each) for each in (first, second)] == [[b"value"], [b"value"]]


def test_a_preparation_that_nobody_acknowledges_ends_in_time() -> None:
    peers = settled(3)
    peers.store(resource_before(peers, 1), peers.writer())
    peers[0].silent = peers[2].silent = True
    assert not prepare(peers, 1)


def test_the_last_peer_keeps_its_disk_and_says_so() -> None:
    peers = settled(1)
    peers.store(resource_before(peers, 0), peers.writer())
    assert hand_over(peers, 0) == 0
    (told,) = peers[0].told(RangeDegraded)
    assert "disk is kept" in told.reason
    assert any(key.startswith(b"value/") for key in peers[0].disk)


def test_a_handover_that_nobody_acknowledges_ends_in_time() -> None:
    peers = settled(3)
    peers.store(resource_before(peers, 1), peers.writer())
    peers[0].silent = peers[2].silent = True
    assert hand_over(peers, 1, limit=80.0) == 0
    assert peers[1].told(RangeDegraded)
    assert not peers[1].told(RangeHandedOver)
