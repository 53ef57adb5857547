"""The end of a peer."""

from chordial_node.boundary.control import DrainAnswer, Refused
from chordial_node.boundary.effects import Answered, Stopped
from chordial_node.sip.message import Message
from chordial_node.usage.dialogs import Dialogs
from chordial_node.usage.drain import Drain
from tests.node.usage.solo import Solo
from tests.node.usage.test_dialogs import ANSWER, BYE, INVITE


def drain_of(solo: Solo, dialogs: Dialogs) -> Drain:
    return Drain(solo.kernel, dialogs, solo.peer.leave, 60.0)


def stopped(solo: Solo) -> list[Stopped]:
    return [each for each in solo.effects if isinstance(each, Stopped)]


def test_a_restart_stops_at_once_and_leaves_nobody() -> None:
    solo = Solo()
    drain_of(solo, Dialogs(solo.kernel)).stop(leave=False)
    solo.run(0.0)
    assert len(stopped(solo)) == 1
    assert not solo.peer.has_left


def test_a_leave_hands_over_and_then_stops() -> None:
    solo = Solo()
    drain = drain_of(solo, Dialogs(solo.kernel))
    drain.stop(leave=True)
    assert drain.is_draining
    solo.run(1.0)
    assert solo.peer.has_left
    assert [each.failed for each in stopped(solo)] == [False]


def test_a_leave_waits_for_calls_but_not_for_ever() -> None:
    solo = Solo()
    dialogs = Dialogs(solo.kernel)
    dialogs.note_answer(Message(INVITE), Message(ANSWER))
    drain_of(solo, dialogs).stop(leave=True)
    solo.run(29.0)
    assert not solo.peer.has_left
    solo.run(3.0)
    assert solo.peer.has_left


def test_a_leave_goes_on_when_the_last_call_ends() -> None:
    solo = Solo()
    dialogs = Dialogs(solo.kernel)
    dialogs.note_answer(Message(INVITE), Message(ANSWER))
    drain_of(solo, dialogs).stop(leave=True)
    solo.run(5.0)
    dialogs.note_bye(Message(BYE))
    solo.run(1.0)
    assert solo.peer.has_left


def test_everybody_who_asked_is_answered_when_all_is_handed_over() -> None:
    solo = Solo()
    drain = drain_of(solo, Dialogs(solo.kernel))
    drain.ask(3)
    drain.ask(4)
    solo.run(1.0)
    answers = [each for each in solo.effects if isinstance(each, Answered)]
    assert [each.call for each in answers] == [3, 4]
    assert all(isinstance(each.answer, DrainAnswer) for each in answers)
    assert len(stopped(solo)) == 1


def test_a_second_wish_to_stop_does_not_wait() -> None:
    solo = Solo()
    dialogs = Dialogs(solo.kernel)
    dialogs.note_answer(Message(INVITE), Message(ANSWER))
    drain = drain_of(solo, dialogs)
    drain.ask(3)
    drain.stop(leave=False)
    solo.run(1.0)
    answers = [each.answer for each in solo.effects if isinstance(each, Answered)]
    assert isinstance(answers[0], Refused)
    assert len(stopped(solo)) == 1


def test_the_last_step_before_the_end_is_to_go_unready() -> None:
    solo = Solo()
    drain = drain_of(solo, Dialogs(solo.kernel))
    reasons: list[str] = []
    drain.last_step = reasons.append
    drain.stop(leave=True)
    assert reasons == []
    solo.run(1.0)
    assert reasons == ["left"]
