"""Rings of whole peers: formed, joined, left, killed, restarted, split and merged."""

import pytest

from chordial_node.boundary.notices import PeerDied, RingFormed, RingsMerging
from tests.node.overlay.ring.rings import Rings, formed


def test_five_founders_form_one_ring() -> None:
    rings = Rings(5)
    told = rings.count(RingFormed)
    rings.start(*rings.hosts)
    assert rings.become_ideal(10.0), rings.faults
    assert len(told) == 1


def test_a_majority_of_founders_forms_without_the_others_which_join_later() -> None:
    rings = Rings(5)
    rings.start(*rings.hosts[:3])
    assert rings.become_ideal(15.0), rings.faults
    rings.start(*rings.hosts[3:])
    assert rings.become_ideal(15.0), rings.faults


def test_a_minority_of_founders_forms_nothing() -> None:
    rings = Rings(5)
    rings.start(*rings.hosts[:2])
    rings.world.run_for(30.0)
    assert {rings.status(host).state for host in rings.hosts[:2]} <= {"starting", "forming"}


def test_a_single_founder_forms_a_ring_of_itself() -> None:
    rings = Rings(1)
    rings.start(rings.hosts[0])
    assert rings.become_ideal(10.0), rings.faults


@pytest.mark.parametrize("count", [2, 3])
def test_rings_of_fewer_than_four_peers_work(count: int) -> None:
    rings = formed(count)
    rings.world.crash(rings.hosts[-1])
    assert rings.become_ideal(10.0), rings.faults


def test_a_killed_peer_is_out_of_all_views_within_a_second() -> None:
    rings = formed(5)
    rings.world.crash(rings.hosts[2])
    assert rings.become_ideal(1.0), rings.faults


def test_a_silent_peer_is_out_of_all_views_within_seconds() -> None:
    rings = formed(5)
    rings.world.run_for(5.0)
    rings.world.crash(rings.hosts[2], silently=True)
    assert rings.become_ideal(6.0), rings.faults


def test_a_peer_comes_back_in_a_later_life() -> None:
    rings = formed(5)
    host = rings.hosts[2]
    before = rings.status(host).incarnation
    rings.world.crash(host)
    assert rings.become_ideal(5.0), rings.faults
    rings.start(host)
    assert rings.become_ideal(5.0), rings.faults
    assert rings.status(host).incarnation > before


def test_a_peer_restarted_at_once_comes_back() -> None:
    rings = formed(5)
    rings.world.restart(rings.hosts[1])
    rings.world.run_for(0.2)
    assert rings.become_ideal(5.0), rings.faults


def test_a_peer_with_a_blank_disk_takes_more_than_the_highest_life_known() -> None:
    rings = formed(5)
    host = rings.hosts[3]
    for _ in range(2):
        rings.world.restart(host)
        rings.world.run_for(5.0)
    before = rings.status(host).incarnation
    rings.world.crash(host)
    host.disk.wipe()
    rings.start(host)
    assert rings.become_ideal(10.0), rings.faults
    assert rings.status(host).incarnation > before


def test_all_killed_and_started_again_have_the_same_ranges() -> None:
    rings = formed(5)
    rings.world.run_for(3.0)
    before = [rings.predecessor(host) for host in rings.hosts]
    for host in rings.hosts:
        rings.world.crash(host)
    rings.world.run_for(1.0)
    rings.start(*rings.hosts)
    assert rings.become_ideal(15.0), rings.faults
    assert [rings.predecessor(host) for host in rings.hosts] == before


def test_all_killed_one_by_one_and_started_again_find_each_other() -> None:
    rings = formed(8)
    rings.world.run_for(12.0)
    for host in rings.hosts:
        rings.world.crash(host)
        rings.world.run_for(3.0)
    rings.start(*rings.hosts)
    assert rings.become_ideal(20.0), rings.faults


def test_a_peer_that_leaves_is_gone_at_once_and_not_called_dead() -> None:
    rings = formed(6)
    rings.world.run_for(5.0)
    died = rings.count(PeerDied)
    leaver = rings.hosts[5]
    rings.world.stop(leaver, leave=True)
    assert rings.world.run_until(lambda: leaver.process is None, 30.0)
    assert rings.become_ideal(5.0), rings.faults
    assert all(notice.left for _, notice in died if isinstance(notice, PeerDied))


def test_fifty_peers_join_one_after_another() -> None:
    rings = Rings(50)
    rings.start(*rings.hosts[:5])
    assert rings.become_ideal(10.0), rings.faults
    for host in rings.hosts[5:]:
        rings.start(host)
        rings.world.run_for(0.2)
    assert rings.become_ideal(15.0), rings.faults


def test_forty_peers_join_at_once() -> None:
    rings = Rings(45)
    rings.start(*rings.hosts[:5])
    assert rings.become_ideal(10.0), rings.faults
    rings.start(*rings.hosts[5:])
    assert rings.become_ideal(60.0), rings.faults


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_halves_of_a_split_go_on_and_merge_when_it_heals(seed: int) -> None:
    rings = formed(10, seed)
    rings.world.run_for(12.0)
    merging = rings.count(RingsMerging)
    one, other = rings.hosts[:5], rings.hosts[5:]
    rings.world.partition(other, 1)
    both = lambda: rings.is_ideal(one) and rings.is_ideal(other)  # noqa: E731
    assert rings.world.run_until(both, 30.0), rings.faults
    rings.world.run_for(30.0)
    rings.world.heal()
    assert rings.become_ideal(40.0), rings.faults
    assert merging


def test_a_stalled_peer_is_not_called_dead() -> None:
    rings = formed(10)
    rings.world.run_for(5.0)
    died = rings.count(PeerDied)
    for host in rings.hosts:
        rings.world.stall(host, 0.5)
        rings.world.run_for(0.7)
    assert died == []


def test_a_peer_wrongly_called_dead_comes_back_with_a_higher_incarnation() -> None:
    rings = formed(10)
    rings.world.run_for(5.0)
    died = rings.count(PeerDied)
    host = rings.hosts[4]
    before = rings.status(host).incarnation
    rings.world.stall(host, 5.0)
    rings.world.run_for(5.0)
    assert died
    assert rings.become_ideal(15.0), rings.faults
    assert rings.status(host).incarnation > before


def test_of_two_lives_of_one_node_id_the_lower_ends_itself() -> None:
    rings = formed(6)
    rings.world.run_for(15.0)
    host = rings.hosts[3]
    copy = rings.world.add(
        host.node_id, host.factory, name="copy", address=("10.9.9.9", 6084), listeners=()
    )
    rings.start(copy)
    assert rings.world.run_until(lambda: host.process is None or copy.process is None, 60.0)
    assert host.has_failed or copy.has_failed
