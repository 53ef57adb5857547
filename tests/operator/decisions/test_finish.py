"""A chosen peer drains, is waited for, and goes object by object (fleet 2.3)."""

import msgspec

from chordial_operator.decisions.finish import Finish, next_step
from chordial_operator.decisions.views import PeerReport, PeerView
from tests.operator.decisions.views_made import id_of, peer, report, seeing_each_other

SEEDS = seeing_each_other(*(peer(f"seeds-{number}") for number in range(4)))
LEAVES = peer("edge-1", leaving_since=1.0)
PODLESS = msgspec.structs.replace(LEAVES, pod=None, report=None)


def told(said: PeerReport) -> list[PeerView]:
    return [msgspec.structs.replace(SEEDS[0], report=said), *SEEDS[1:]]


def finish(who: PeerView, others: list[PeerView], *, removes_volume: bool = True) -> Finish:
    return next_step(who, [*others, who], removes_volume=removes_volume)


def test_a_chosen_peer_is_told_to_drain_and_then_waited_for() -> None:
    chosen = msgspec.structs.replace(LEAVES, stateful_set_replicas=1)
    assert finish(chosen, SEEDS).step == "Drain"
    assert finish(LEAVES, SEEDS) == Finish(name="edge-1", step="Wait", why="edge-1 drains")


def test_when_pod_and_ring_are_without_it_budget_volume_and_then_the_stateful_set_go() -> None:
    said = finish(PODLESS, SEEDS)
    assert said.remove == ("PodDisruptionBudget", "PersistentVolumeClaim", "StatefulSet")
    assert (said.step, said.outcome) == ("Remove", "DrainCompleted")
    kept = finish(PODLESS, SEEDS, removes_volume=False)
    assert kept.remove == ("PodDisruptionBudget", "StatefulSet")


def test_what_was_left_at_the_end_of_the_drain_is_told() -> None:
    late = msgspec.structs.replace(PODLESS, report=report(calls=2))
    said = finish(late, SEEDS)
    assert (said.outcome, said.why) == (
        "DrainTimedOut",
        "edge-1 left at the end of its drain with 2 calls and 0 phones",
    )


def test_while_the_ring_still_sees_it_or_nobody_can_tell_its_objects_stay() -> None:
    sees = told(report(members_alive=(id_of("edge-1"),)))
    assert finish(PODLESS, sees).step == "Wait"
    mute = [msgspec.structs.replace(seed, report=None) for seed in SEEDS]
    assert finish(PODLESS, mute).step == "Wait"


def test_the_volume_of_one_that_died_midway_is_kept_until_no_copy_is_missing() -> None:
    dead = report(members_known=(id_of("edge-1"),), copies_missing=3)
    said = finish(PODLESS, told(dead))
    assert (said.step, said.why) == (
        "Wait",
        "edge-1 ended before it had left: 3 copies are being made anew",
    )
    whole = msgspec.structs.replace(dead, copies_missing=0)
    assert finish(PODLESS, told(whole)).step == "Remove"


def test_the_last_peer_of_an_overlay_waits_for_nobody() -> None:
    assert finish(PODLESS, []).step == "Remove"
