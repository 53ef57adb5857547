"""A lost peer is fenced, succeeded, then removed (fleet H6)."""

import msgspec

from chordial_operator.decisions.replacement import lost, next_lost_at, steps
from tests.operator.decisions.views_made import NOW, id_of, peer, report, seeing_each_other

AFTER = {"edge": 600.0, "seeds": 600.0}
CUT = peer("edge-1", ready=False, unreachable_since=NOW - 600, domain="node-b")
SEEDS = [peer(f"seeds-{number}") for number in range(4)]
EDGE = peer("edge-0")
OVERLAY = seeing_each_other(*SEEDS, EDGE, CUT)


def test_a_peer_is_lost_when_its_node_was_silent_for_long_and_the_ring_agrees() -> None:
    assert lost(OVERLAY, AFTER, NOW) == ("edge-1",)
    assert lost(OVERLAY, AFTER, NOW - 1) == ()
    assert next_lost_at(OVERLAY, AFTER, NOW - 1) == 1.0
    assert next_lost_at(OVERLAY, AFTER, NOW) is None


def test_a_peer_that_another_one_holds_alive_is_not_lost() -> None:
    sees = report(members_alive=(id_of("edge-1"),))
    partitioned = [msgspec.structs.replace(OVERLAY[0], report=sees), *OVERLAY[1:]]
    assert lost(partitioned, AFTER, NOW) == ()


def test_nobody_is_lost_while_nobody_can_tell() -> None:
    mute = [msgspec.structs.replace(each, report=None) for each in OVERLAY]
    assert lost(mute, AFTER, NOW) == ()


def test_a_lost_peer_is_fenced_then_succeeded_then_removed() -> None:
    own = [each for each in OVERLAY if each.set_name == "edge"]
    names, fenced = ("edge-1",), (id_of("edge-1"),)
    assert [each.step for each in steps(own, OVERLAY, names, (), 2, removes_volume=True)] == [
        "Fence"
    ]
    succeed = steps(own, OVERLAY, names, fenced, 2, removes_volume=True)
    assert [(each.step, each.why) for each in succeed] == [
        ("Succeed", "edge-1 is lost with node node-b: a new peer takes its place")
    ]
    with_successor = [*own, peer("edge-2")]
    (said,) = steps(with_successor, OVERLAY, names, fenced, 2, removes_volume=True)
    assert said.remove == ("PodDisruptionBudget", "StatefulSet", "Pod", "PersistentVolumeClaim")
    (said,) = steps(with_successor, OVERLAY, names, fenced, 2, removes_volume=False)
    assert said.remove == ("PodDisruptionBudget", "StatefulSet", "Pod")


def test_nothing_of_it_is_removed_while_a_copy_is_missing() -> None:
    own = [EDGE, CUT, peer("edge-2")]
    missing = [msgspec.structs.replace(SEEDS[0], report=report(copies_missing=2)), *own]
    (said,) = steps(own, missing, ("edge-1",), (CUT.node_id,), 2, removes_volume=True)
    assert (said.step, said.remove) == ("Wait", ())


def test_a_lost_peer_that_was_leaving_gets_no_successor() -> None:
    leaving = msgspec.structs.replace(CUT, leaving_since=NOW)
    (said,) = steps([EDGE, leaving], OVERLAY, ("edge-1",), (CUT.node_id,), 2, removes_volume=True)
    assert said.step == "Remove"
