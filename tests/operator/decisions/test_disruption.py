"""The budget guards every joined peer but those that may be away (fleet H8)."""

import msgspec

from chordial_operator.decisions.disruption import min_available
from tests.operator.decisions.views_made import id_of, peer, report, seeing_each_other


def test_all_joined_peers_but_one_are_guarded() -> None:
    assert min_available([peer(f"seeds-{number}") for number in range(5)], (), 1) == 4


def test_a_leaving_peer_counts_until_it_is_gone() -> None:
    seeds = [peer(f"seeds-{number}") for number in range(5)]
    leaving = peer("seeds-5", leaving_since=1.0)
    assert min_available([*seeds, leaving], (), 1) == 5
    assert min_available(seeds, (), 1) == 4


def test_a_lost_peer_and_a_newcomer_do_not_count_but_one_that_is_away_does() -> None:
    seeds = [peer(f"seeds-{number}") for number in range(4)]
    newcomer = peer("seeds-4", ready=False)
    assert min_available([*seeds, newcomer], (), 1) == 3
    knows = report(members_known=(id_of("seeds-4"),))
    seeds[0] = msgspec.structs.replace(seeds[0], report=knows)
    assert min_available([*seeds, newcomer], (), 1) == 4
    assert min_available([*seeds, newcomer], ("seeds-4",), 1) == 3


def test_an_operator_that_has_heard_nobody_yet_lowers_nothing() -> None:
    seeds = seeing_each_other(*(peer(f"seeds-{number}") for number in range(4)))
    deaf = [msgspec.structs.replace(seed, report=None) for seed in seeds]
    deaf[3] = msgspec.structs.replace(deaf[3], pod=None)
    assert min_available(deaf, (), 1, previous=4) == 4
    assert min_available(deaf, (), 1) == 2


def test_an_empty_overlay_guards_nothing() -> None:
    assert min_available([], (), 1, previous=4) == 0
    assert min_available([peer("seeds-0")], (), 2) == 0
