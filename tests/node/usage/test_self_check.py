"""Readiness is a latch."""

from chordial_node.boundary.notices import Ready
from chordial_node.usage.self_check import SelfCheck
from tests.node.usage.solo import Solo


def told(solo: Solo) -> list[bool]:
    return [each.is_ready for each in solo.effects if isinstance(each, Ready)]


def test_a_peer_is_ready_after_its_own_value_came_back() -> None:
    solo = Solo()
    check = SelfCheck(solo.kernel, solo.peer, solo.own, lambda: "")
    check.start(lambda: True)
    assert not check.is_ready
    solo.run(0.5)
    assert check.is_ready
    assert told(solo) == [True]


def test_nothing_is_asked_before_the_ring_is_joined() -> None:
    solo = Solo()
    joined: list[bool] = []
    check = SelfCheck(solo.kernel, solo.peer, solo.own, lambda: "")
    check.start(lambda: bool(joined))
    solo.run(5.0)
    assert solo.shared.stores == 0
    joined.append(True)
    solo.run(0.5)
    assert check.is_ready


def test_a_ring_in_trouble_takes_no_ready_peer_out() -> None:
    solo = Solo()
    check = SelfCheck(solo.kernel, solo.peer, solo.own, lambda: "")
    check.start(lambda: True)
    solo.run(0.5)
    solo.shared.is_silent = True
    solo.run(60.0)
    assert check.is_ready


def test_a_local_fault_does_and_its_end_brings_it_back() -> None:
    solo = Solo()
    faults: list[str] = []
    check = SelfCheck(solo.kernel, solo.peer, solo.own, lambda: faults[0] if faults else "")
    check.start(lambda: True)
    solo.run(0.5)
    faults.append("the disk refuses writes")
    solo.run(2.0)
    assert not check.is_ready
    assert check.reason == "the disk refuses writes"
    faults.clear()
    solo.run(2.0)
    assert told(solo) == [True, False, True]


def test_the_last_step_of_a_drain_is_for_good() -> None:
    solo = Solo()
    check = SelfCheck(solo.kernel, solo.peer, solo.own, lambda: "")
    check.start(lambda: True)
    solo.run(0.5)
    check.end("left")
    solo.run(10.0)
    assert told(solo) == [True, False]
