"""The pump alone, with a clock of numbers and a core that notes what it is told."""

from collections.abc import Callable

import pytest

from chordial_node.boundary.effects import CloseLink, Effect, Notice, WriteFrame
from chordial_node.boundary.events import (
    ClockStepped,
    DeadlineReached,
    Event,
    FrameReceived,
    FrameWritten,
    LinkLost,
    LoopLagged,
    Started,
)
from chordial_node.boundary.notices import StateChanged
from chordial_node.driver import Driver

STARTED = Started(1_000.0, ())


class Timer:
    def __init__(self, due: float, ring: Callable[[], None]) -> None:
        self.due = due
        self.ring = ring
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class NotingCore:
    """Answers each kind of event with the effects that a test names, and notes all."""

    def __init__(self) -> None:
        self.told: list[tuple[float, Event]] = []
        self.answers: dict[type[Event], list[Effect]] = {}
        self.due: float | None = None
        self.fault: Exception | None = None

    def handle(self, now: float, event: Event) -> list[Effect]:
        if self.fault is not None:
            raise self.fault
        self.told.append((now, event))
        return self.answers.pop(type(event), [])

    def deadline(self) -> float | None:
        return self.due


class Rig:
    """A driver whose world is this object."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wall_offset = 1_000.0
        self.core = NotingCore()
        self.timers: list[Timer] = []
        self.performed: list[Effect] = []
        self.notices: list[Notice] = []
        self.faults: list[Exception] = []
        self.driver = Driver(
            self.core,
            {WriteFrame: self.on_write, CloseLink: self.on_close},
            self.notices.append,
            self.faults.append,
            self.call_later,
            clock=lambda: self.now,
            wall_clock=lambda: self.now + self.wall_offset,
        )
        self.driver.begin(STARTED)

    def call_later(self, delay: float, ring: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + delay, ring))
        return self.timers[-1]

    def on_write(self, effect: WriteFrame) -> None:
        self.performed.append(effect)
        self.driver.tell(FrameWritten(effect.link))

    def on_close(self, effect: CloseLink) -> None:
        self.performed.append(effect)

    @property
    def armed(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def ring(self, late: float = 0.0) -> None:
        timer = self.armed[0]
        self.timers.remove(timer)
        self.now = timer.due + late
        timer.ring()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_effects_are_performed_in_order_and_notices_observed(rig: Rig) -> None:
    effects: list[Effect] = [WriteFrame(2, b"a"), StateChanged("joined"), CloseLink(4)]
    rig.core.answers[LinkLost] = list(effects)
    rig.driver.tell(LinkLost(4, "gone"))
    assert rig.performed == [effects[0], effects[2]]
    assert rig.notices == [effects[1]]


def test_an_event_told_by_an_effect_waits_until_the_turn_is_performed(rig: Rig) -> None:
    rig.core.answers[LinkLost] = [WriteFrame(2, b"a"), CloseLink(4)]
    rig.core.answers[FrameWritten] = [CloseLink(2)]
    rig.driver.tell(LinkLost(4, "gone"))
    assert [event for _, event in rig.core.told[1:]] == [LinkLost(4, "gone"), FrameWritten(2)]
    assert rig.performed == [WriteFrame(2, b"a"), CloseLink(4), CloseLink(2)]


def test_one_timer_rings_for_the_nearest_deadline(rig: Rig) -> None:
    rig.core.due = 105.0
    rig.driver.tell(FrameReceived(1, b""))
    rig.core.due = 102.0
    rig.driver.tell(FrameReceived(1, b""))
    assert [timer.due for timer in rig.armed] == [102.0]
    rig.ring()
    assert rig.core.told[-1] == (102.0, DeadlineReached())


def test_a_deadline_that_moved_away_costs_no_new_timer_until_the_old_one_rings(rig: Rig) -> None:
    rig.core.due = 102.0
    rig.driver.tell(FrameReceived(1, b""))
    rig.core.due = 110.0
    rig.driver.tell(FrameReceived(1, b""))
    assert len(rig.timers) == 1
    rig.ring()
    assert [timer.due for timer in rig.armed] == [110.0]
    assert not [event for _, event in rig.core.told if isinstance(event, DeadlineReached)]


def test_a_late_deadline_is_told_as_lag_before_anything_due_can_fire(rig: Rig) -> None:
    rig.core.due = 102.0
    rig.driver.tell(FrameReceived(1, b""))
    rig.ring(late=0.5)
    (first, lagged), (second, reached) = rig.core.told[2:]
    assert lagged == LoopLagged(0.5)
    assert first < 102.0
    assert (second, reached) == (102.5, DeadlineReached())


def test_what_arrives_after_a_stall_finds_the_lag_told(rig: Rig) -> None:
    rig.core.due = 102.0
    rig.driver.tell(FrameReceived(1, b""))
    rig.now = 103.0
    rig.driver.tell(FrameReceived(1, b"x"))
    assert [event for _, event in rig.core.told[2:]] == [LoopLagged(1.0), FrameReceived(1, b"x")]


def test_a_deadline_met_within_the_allowance_is_no_lag(rig: Rig) -> None:
    rig.core.due = 102.0
    rig.driver.tell(FrameReceived(1, b""))
    rig.ring(late=0.015)
    assert [event for _, event in rig.core.told[2:]] == [DeadlineReached()]


def test_a_set_wall_clock_is_told_once(rig: Rig) -> None:
    for step in (0.4, 30.0, 0.0):
        rig.wall_offset += step
        rig.core.due = rig.now + 1.0
        rig.driver.tell(FrameReceived(1, b""))
        rig.ring()
    steps = [event for _, event in rig.core.told if isinstance(event, ClockStepped)]
    assert steps == [ClockStepped(1_030.4)]
    assert rig.driver.wall_offset == 1_030.4


def test_a_fault_of_the_core_stops_the_pump_and_is_handed_on(rig: Rig) -> None:
    rig.core.due = 105.0
    rig.driver.tell(FrameReceived(1, b""))
    rig.core.fault = fault = RuntimeError("bug")
    rig.driver.tell(FrameReceived(1, b""))
    rig.driver.tell(FrameReceived(1, b""))
    assert rig.faults == [fault]
    assert rig.armed == []


def test_a_stopped_pump_tells_nothing_more(rig: Rig) -> None:
    rig.core.due = 105.0
    rig.driver.tell(FrameReceived(1, b""))
    rig.driver.stop()
    rig.driver.tell(FrameReceived(1, b"late"))
    assert len(rig.core.told) == 2
    assert rig.armed == []


def test_what_is_told_before_the_beginning_follows_the_first_event() -> None:
    core = NotingCore()
    timer = Timer(0.0, lambda: None)
    driver = Driver(core, {}, print, print, lambda _, __: timer, clock=lambda: 1.0)
    driver.tell(FrameReceived(1, b"early"))
    assert core.told == []
    driver.begin(STARTED)
    assert core.told == [(1.0, STARTED), (1.0, FrameReceived(1, b"early"))]
