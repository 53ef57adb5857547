"""Records merge in any order; only the subject raises its incarnation."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chordial_node.boundary.effects import Notice
from chordial_node.boundary.notices import PeerDied, PeerJoined
from chordial_node.ids import NodeId
from chordial_node.overlay.messages import MemberRecord, Rank
from chordial_node.overlay.ring.membership import (
    GRACE_SECONDS,
    NEW_SECONDS,
    REFUTE_SECONDS,
    TOMBSTONE_SECONDS,
    Membership,
)
from tests.node.overlay.rig import Station, member, node

OWN = node(1)

records = st.builds(
    member,
    st.integers(2, 6).map(node),
    st.integers(1, 3),
    st.sampled_from([int(rank) for rank in Rank]),
)


class Member:
    """A member of a ring that has no links."""

    def __init__(self, own: NodeId = OWN) -> None:
        station = Station(own, [])
        self.kernel = station.kernel
        self.table = station.table
        self.membership = Membership(self.kernel, station.links, self.table, member(own))
        self.membership.user = self
        self.raised: list[int] = []
        self.later: list[MemberRecord] = []
        self.membership.enter()

    def on_member_alive(self, record: MemberRecord) -> None:
        pass

    def on_member_dead(self, record: MemberRecord) -> None:
        pass

    def on_incarnation(self, incarnation: int) -> None:
        self.raised.append(incarnation)

    def on_later_life(self, record: MemberRecord) -> None:
        self.later.append(record)

    def notices(self) -> list[type[Notice]]:
        return [
            type(each) for each in self.kernel.take() if isinstance(each, PeerJoined | PeerDied)
        ]


@given(st.lists(records, max_size=12), st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_table(
    told: list[MemberRecord], random: Random
) -> None:
    one, other = Member(), Member()
    one.membership.announce(tuple(told))
    shuffled = [*told, *told]
    random.shuffle(shuffled)
    for record in shuffled:
        other.membership.announce((record,))
    assert one.table.records() == other.table.records()
    assert one.table.hashes == other.table.hashes
    largest: dict[NodeId, tuple[int, int]] = {}
    for record in told:
        key = (record.incarnation, record.rank)
        largest[record.node_id] = max(largest.get(record.node_id, key), key)
    merged = {each.node_id: (each.incarnation, each.rank) for each in one.table.records()}
    assert merged == {**largest, OWN: (1, 0)}


def test_a_peer_that_hears_itself_dead_raises_its_incarnation() -> None:
    peer = Member()
    peer.membership.announce((member(OWN, 1, Rank.DEAD),))
    assert peer.membership.record == member(OWN, 2)
    assert peer.raised == [2]
    own = peer.table.get(OWN)
    assert own is not None
    assert own.incarnation == 2


def test_a_peer_that_is_about_to_end_tells_so_in_a_new_incarnation() -> None:
    peer = Member()
    peer.membership.announce_end(can_store=False)
    own = peer.table.get(OWN)
    assert own is not None
    assert (own.incarnation, own.is_ending, own.can_store) == (2, True, False)
    assert peer.raised == [2]
    peer.membership.announce((member(OWN, 2, Rank.DEAD),))
    assert peer.membership.record.is_ending


def test_a_peer_in_no_ring_has_nobody_to_tell_that_it_ends() -> None:
    peer = Member()
    peer.membership.leave()
    peer.raised.clear()
    peer.membership.announce_end(can_store=True)
    assert peer.raised == []


def test_it_does_so_at_most_once_a_second() -> None:
    peer = Member()
    peer.membership.announce((member(OWN, 1, Rank.DEAD),))
    peer.membership.announce((member(OWN, 2, Rank.BACK),))
    assert peer.raised == [2]
    peer.kernel.begin(REFUTE_SECONDS + 0.01)
    assert peer.raised == [2, 3]


def test_old_rumors_about_oneself_change_nothing() -> None:
    peer = Member()
    peer.membership.announce((member(OWN, 0, Rank.DEAD), member(OWN, 1, Rank.ALIVE)))
    assert peer.raised == []


def test_a_later_life_of_oneself_is_told_but_for_the_first_seconds() -> None:
    peer = Member()
    peer.membership.announce((member(OWN, 5),))
    assert (peer.later, peer.raised) == ([], [6])
    peer.kernel.begin(GRACE_SECONDS + 1.0)
    peer.membership.announce((member(OWN, 9),))
    assert peer.later == [member(OWN, 9)]


def test_joins_and_deaths_are_told_once() -> None:
    peer = Member()
    peer.membership.announce((member(node(2)),))
    peer.membership.announce((member(node(2)),))
    assert peer.notices() == [PeerJoined]
    peer.membership.announce((member(node(2), 1, Rank.DEAD),))
    peer.membership.announce((member(node(2), 1, Rank.LEFT),))
    assert peer.notices() == [PeerDied]
    peer.membership.announce((member(node(2), 1, Rank.BACK),))
    assert peer.notices() == [PeerJoined]


def test_a_newcomer_is_told_once_and_an_old_member_never_again() -> None:
    peer = Member()
    before, newcomer, old = member(node(5)), member(node(2)), member(node(3))
    peer.membership.learn((before,))
    peer.membership.announce_new(node(5))
    assert not peer.membership.broadcast.has_seen(before)
    peer.kernel.begin(1.0)
    peer.membership.learn((newcomer, old))
    peer.membership.announce_new(node(2))
    assert peer.membership.broadcast.has_seen(newcomer)
    peer.kernel.begin(NEW_SECONDS + 2.0)
    peer.membership.announce_new(node(3))
    peer.membership.announce_new(node(4))
    assert not peer.membership.broadcast.has_seen(old)


def test_what_was_found_of_a_past_life_is_forgotten_with_it() -> None:
    peer = Member()
    peer.membership.learn((member(node(2)),))
    peer.table.add_avoid(node(2), 10.0)
    peer.membership.learn((member(node(2), 1, Rank.DEAD),))
    assert not peer.table.is_alive(node(2))
    peer.membership.learn((member(node(2), 2),))
    assert peer.table.is_alive(node(2))


def test_tombstones_of_strangers_are_not_learnt_and_old_ones_are_forgotten() -> None:
    peer = Member()
    dead = member(node(2), 1, Rank.DEAD)
    assert peer.membership.learn((dead,)) == []
    peer.membership.learn((member(node(2)),))
    assert peer.membership.learn((dead,)) == [dead]
    peer.membership.purge()
    assert peer.table.get(node(2)) == dead
    peer.kernel.begin(TOMBSTONE_SECONDS + 1.0)
    peer.membership.purge()
    assert peer.table.get(node(2)) is None


def test_nonsense_is_not_merged() -> None:
    peer = Member()
    wrong = [member(node(2), -1), member(node(2), 1 << 60), replace(member(node(2)), rank=9)]
    peer.membership.announce(tuple(wrong))
    assert peer.table.get(node(2)) is None
