"""The end of a peer: the order of its steps, and their bounds."""

from chordial_node.boundary.control import DrainAnswer, Refused
from chordial_node.boundary.effects import Answered, Stopped
from chordial_node.boundary.notices import DrainTimedOut, PhonesMoving, RangeDegraded
from chordial_node.config import Transport
from chordial_node.sip.flow import Flow
from chordial_node.sip.message import Message
from chordial_node.usage.dialogs import Dialogs
from chordial_node.usage.drain import Drain
from tests.node.usage.solo import Solo
from tests.node.usage.test_dialogs import ANSWER, BYE, INVITE

SHORT = 20


class FakePhones:
    """So many phones that only this edge reaches."""

    short_seconds = SHORT

    def __init__(self, waiting: int = 0, moving: int = 0) -> None:
        self.waiting = waiting
        self.moving = moving
        self.is_marked = False

        self.is_cut = False

    async def mark(self) -> int:
        self.is_marked = True
        return self.moving

    def cut(self) -> None:
        self.is_cut = True


class FakeFlows:
    """Connections with phones."""

    def __init__(self, count: int = 0) -> None:
        self.closed: list[Flow] = []
        self._flows = [Flow(1, Transport.TCP, ("10.0.0.9", n), 2 * n + 1) for n in range(count)]

    def phone_connections(self) -> list[Flow]:
        return self._flows

    def close(self, flow: Flow, reason: str) -> None:
        self.closed.append(flow)


class Ending:
    """A drain, and all it works with."""

    def __init__(self, *, calls: int = 0, waiting: int = 0, moving: int = 0, flows: int = 0):
        self.set_ups = 0
        self.solo = Solo()
        self.peer = self.solo.peer
        self.dialogs = Dialogs(self.solo.kernel)
        if calls:
            self.dialogs.note_answer(Message(INVITE), Message(ANSWER))
        self.phones = FakePhones(waiting, moving)
        self.flows = FakeFlows(flows)
        self.drain = Drain(
            self.solo.kernel,
            self.dialogs.__len__,
            lambda: self.set_ups,
            self.peer,
            self.phones,
            self.flows,
            60.0,
        )
        self.unready: list[str] = []
        self.drain.last_step = self.unready.append

    def run(self, seconds: float) -> None:
        self.solo.run(seconds)

    @property
    def stopped(self) -> list[Stopped]:
        return [each for each in self.solo.effects if isinstance(each, Stopped)]

    @property
    def answers(self) -> list[Answered]:
        return [each for each in self.solo.effects if isinstance(each, Answered)]

    def told(self, kind: type[object]) -> list[object]:
        return [each for each in self.solo.effects if isinstance(each, kind)]


def test_a_quick_stop_waits_for_nothing_and_leaves_nobody() -> None:
    ending = Ending(calls=1, waiting=3, moving=3)
    ending.drain.stop(leave=False)
    ending.run(0.0)
    assert len(ending.stopped) == 1
    assert not ending.peer.has_left
    assert ending.peer.ends == []


def test_a_leave_without_calls_and_phones_hands_over_at_once() -> None:
    ending = Ending()
    ending.drain.stop(leave=True)
    assert ending.drain.is_draining
    ending.run(1.0)
    assert ending.peer.ends == ["leave"]
    assert ending.peer.is_prepared
    assert ending.peer.has_left
    assert [each.failed for each in ending.stopped] == [False]


def test_a_restart_moves_phones_and_waits_for_calls_but_keeps_the_range() -> None:
    ending = Ending(calls=1, waiting=2, moving=2)
    ending.drain.stop(leave=False, restart=True)
    ending.run(5.0)
    ending.dialogs.note_bye(Message(BYE))
    ending.phones.waiting = 0
    ending.run(SHORT + 3.0)
    assert ending.peer.ends == ["restart"]
    assert ending.phones.is_marked
    assert not ending.peer.has_left
    assert not ending.peer.is_prepared
    assert [each.reason for each in ending.stopped] == ["restart: the range is kept"]


def test_a_drain_waits_for_calls_and_phones_but_not_for_ever() -> None:
    ending = Ending(calls=1, waiting=2)
    ending.drain.stop(leave=True)
    ending.run(59.0)
    assert not ending.peer.has_left
    ending.run(3.0)
    assert ending.peer.has_left
    assert ending.told(DrainTimedOut) == [DrainTimedOut(calls=1, phones=2)]


def test_past_its_time_it_still_closes_in_a_moment_without_a_call_being_set_up() -> None:
    ending = Ending(calls=1, waiting=2, moving=2)
    ending.set_ups = 1
    ending.drain.stop(leave=True)
    ending.run(62.0)
    assert ending.told(DrainTimedOut) == [DrainTimedOut(calls=2, phones=2)]
    assert ending.phones.is_marked
    assert not ending.phones.is_cut
    ending.set_ups = 0
    ending.run(0.2)
    assert ending.phones.is_cut


def test_a_leave_goes_on_when_the_last_call_has_ended_and_the_last_phone_come() -> None:
    ending = Ending(calls=1, waiting=1)
    ending.drain.stop(leave=True)
    ending.run(5.0)
    ending.dialogs.note_bye(Message(BYE))
    ending.run(5.0)
    assert not ending.peer.has_left
    ending.phones.waiting = 0
    ending.run(2.0)
    assert ending.peer.has_left
    assert not ending.told(DrainTimedOut)


def test_it_is_ready_until_phones_are_marked_and_there_for_a_short_registration_more() -> None:
    ending = Ending(waiting=1, moving=1)
    ending.drain.stop(leave=True)
    ending.run(10.0)
    assert not ending.phones.is_marked
    assert ending.unready == []
    ending.phones.waiting = 0
    ending.run(2.0)
    assert ending.phones.is_marked
    assert ending.phones.is_cut
    assert ending.unready == ["the last steps of a drain"]
    assert ending.told(PhonesMoving) == [PhonesMoving(phones=1)]
    assert ending.peer.is_prepared
    assert not ending.peer.has_left
    ending.run(SHORT)
    assert ending.peer.has_left
    assert ending.unready == ["the last steps of a drain"]


def test_connections_are_closed_one_after_the_other() -> None:
    ending = Ending(moving=100, flows=100)
    ending.drain.stop(leave=True)
    ending.run(2.5)
    assert 30 < len(ending.flows.closed) < 70
    ending.run(5.0)
    assert sorted(flow.remote[1] for flow in ending.flows.closed) == list(range(100))


def test_everybody_who_asked_is_answered_when_all_is_handed_over() -> None:
    ending = Ending()
    ending.drain.ask(3)
    ending.drain.ask(4)
    ending.run(1.0)
    assert [each.call for each in ending.answers] == [3, 4]
    assert all(isinstance(each.answer, DrainAnswer) for each in ending.answers)
    assert len(ending.stopped) == 1


def test_a_sigterm_after_the_wish_to_leave_goes_on_with_it() -> None:
    ending = Ending(waiting=1)
    ending.drain.ask(3)
    ending.run(1.0)
    ending.drain.stop(leave=False, restart=True)
    ending.phones.waiting = 0
    ending.run(3.0)
    assert ending.peer.has_left
    assert ending.peer.ends == ["leave"]


def test_the_wish_to_leave_turns_a_restart_into_a_leave() -> None:
    ending = Ending(waiting=1)
    ending.drain.stop(leave=False, restart=True)
    ending.run(1.0)
    ending.drain.ask(3)
    ending.phones.waiting = 0
    ending.run(3.0)
    assert ending.peer.ends == ["restart", "leave"]
    assert ending.peer.has_left


def test_a_quick_stop_ends_a_drain() -> None:
    ending = Ending(calls=1)
    ending.drain.ask(3)
    ending.drain.stop(leave=False)
    ending.run(1.0)
    assert isinstance(ending.answers[0].answer, Refused)
    assert len(ending.stopped) == 1


def test_with_nobody_left_it_ends_within_a_second_and_says_so() -> None:
    ending = Ending(calls=1, waiting=3, moving=3)
    ending.drain.ask(3)
    ending.run(5.0)
    assert ending.stopped == []
    ending.peer.has_heirs = False
    ending.run(1.0)
    assert [each.failed for each in ending.stopped] == [False]
    assert ending.told(RangeDegraded)
    assert isinstance(ending.answers[0].answer, DrainAnswer)
    assert not ending.peer.has_left
    assert len(ending.unready) == 1


def test_a_handover_that_does_not_end_is_not_waited_for() -> None:
    ending = Ending()

    async def never() -> int:
        await ending.solo.kernel.sleep(1000.0)
        return 0

    ending.peer.leave = never  # type: ignore[method-assign]
    ending.drain.ask(3)
    ending.run(30.0)
    assert [each.failed for each in ending.stopped] == [True]
    assert ending.told(RangeDegraded)
    assert isinstance(ending.answers[0].answer, Refused)
