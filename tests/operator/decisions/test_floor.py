"""The fewest peers and failure domains that an overlay keeps (fleet 2.3)."""

from chordial_operator.decisions.floor import Need, problem
from tests.operator.decisions.views_made import peer

THREE = Need(copies=3, successors=3)


def test_the_ring_needs_one_more_than_its_successors_and_one_peer_for_each_copy() -> None:
    assert THREE.peers == 4
    assert Need(copies=7, successors=3).peers == 7


def test_a_fifth_peer_may_leave_and_a_fourth_may_not() -> None:
    seeds = [peer(f"seeds-{number}") for number in range(5)]
    assert problem(seeds, {"seeds-4"}, THREE) == ""
    assert problem(seeds, {"seeds-3", "seeds-4"}, THREE) == (
        "3 serving peers of the overlay would be left, and 3 copies with 3 successors need 4:"
        " add peers, or ask for fewer copies"
    )


def test_peers_of_all_sets_count_but_not_those_that_leave_or_do_not_serve() -> None:
    others = [peer(f"edge-{number}") for number in range(4)]
    assert problem([peer("seeds-0"), *others], {"edge-0"}, THREE) == ""
    for away in (peer("seeds-0", leaving_since=1.0), peer("seeds-0", ready=False)):
        assert problem([away, *others], {"edge-0"}, THREE).startswith("3 serving peers")


def test_the_last_peer_of_a_failure_domain_stays_while_copies_need_it() -> None:
    seeds = [peer(f"seeds-{number}", domain="a") for number in range(4)]
    seeds += [peer("seeds-4", domain="b"), peer("seeds-5", domain="c")]
    assert problem(seeds, {"seeds-0"}, THREE) == ""
    assert "would stand in 2 failure domains" in problem(seeds, {"seeds-5"}, THREE)
    assert problem([*seeds, peer("seeds-6", domain="d")], {"seeds-5"}, THREE) == ""
