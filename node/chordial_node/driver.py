"""The pump: events into the core, effects out to whoever performs them, and one timer.

It owns the core's clock readings and nothing else: no socket, loop or file is known here, so that
the same pump is tested with a clock of numbers. What an event means is never looked at.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Never, Protocol, cast

from chordial_node.boundary.effects import Effect, Notice
from chordial_node.boundary.events import ClockStepped, DeadlineReached, Event, LoopLagged

LAG_SECONDS = 0.02
"""A deadline that is noticed later than this means that the loop, not the world, was slow."""
STEP_SECONDS = 0.5
"""The wall clock was set when its offset moved by more; less is slewing, and of no use to tell."""

Perform = Mapping[type[Effect], Callable[[Never], None]]
"""For each kind of effect what performs it: a method that takes that kind."""


class Driven(Protocol):
    """The contract of a core (style: A1)."""

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take one event, return what is to be done about it."""
        ...

    def deadline(self) -> float | None:
        """Return when the next event is due at the latest."""
        ...


class Armed(Protocol):
    """A timer of the loop."""

    def cancel(self) -> None:
        """Forget it."""
        ...


class Driver:
    """Feeds one core, and has its effects performed in order.

    An effect that is performed at once may tell the next event: it waits for its turn, and all
    that were told during one turn share one arming of the timer.
    """

    def __init__(
        self,
        core: Driven,
        perform: Perform,
        observe: Callable[[Notice], None],
        on_fault: Callable[[Exception], None],
        call_later: Callable[[float, Callable[[], None]], Armed],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._core = core
        self._perform = cast("dict[type[Effect], Callable[[Effect], None]]", dict(perform))
        self._observe = observe
        self._on_fault = on_fault
        self._call_later = call_later
        self._clock = clock
        self._wall_clock = wall_clock
        self._wall_offset = wall_clock() - clock()
        self._waiting: deque[Event] = deque()
        self._now = clock()
        self._due: float | None = None
        self._timer: Armed | None = None
        self._timer_due = math.inf
        self._is_running = False
        self._has_begun = False
        self._is_stopped = False

    @property
    def wall_offset(self) -> float:
        """Seconds to add to the monotonic clock to get Unix time."""
        return self._wall_offset

    def begin(self, started: Event) -> None:
        """Hand the core its first event, then what has been told since the driver was made."""
        self._has_begun = True
        self._waiting.appendleft(started)
        self._run()

    def tell(self, event: Event) -> None:
        """Hand an event to the core, now or as soon as the present turn ends."""
        if self._is_stopped:
            return
        self._waiting.append(event)
        if self._has_begun and not self._is_running:
            self._run()

    def stop(self) -> None:
        """Tell the core nothing more; effects of a turn that runs are still performed."""
        self._is_stopped = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._is_running = True
        try:
            now = self._clock()
            if self._due is not None and now - self._due > LAG_SECONDS:
                self._turn(self._now, LoopLagged(now - self._due))
            while self._waiting:
                self._turn(now, self._waiting.popleft())
                now = self._clock()
            self._arm(now)
        except Exception as error:
            self.stop()
            self._on_fault(error)
        finally:
            self._is_running = False

    def _turn(self, now: float, event: Event) -> None:
        """Run one turn; a lag is told at the time before it, so that nothing due fires first."""
        self._now = now
        for effect in self._core.handle(now, event):
            performer = self._perform.get(type(effect))
            if performer is not None:
                performer(effect)
            else:
                assert isinstance(effect, Notice), f"nobody performs {type(effect).__name__}"
                self._observe(effect)

    def _arm(self, now: float) -> None:
        """Arm the timer, unless the one that is armed rings early enough to look again."""
        self._due = due = self._core.deadline()
        if due is None or self._is_stopped:
            return
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        milliseconds = math.ceil(max(0.0, due - now) * 1000.0)  # loops count whole ones
        self._timer_due = due
        self._timer = self._call_later(milliseconds / 1000.0, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._is_stopped:
            return
        self._look_at_the_wall_clock()
        now = self._clock()
        if self._due is not None and now >= self._due:
            self.tell(DeadlineReached())
        elif not self._is_stopped:
            self._arm(now)

    def _look_at_the_wall_clock(self) -> None:
        offset = self._wall_clock() - self._clock()
        if abs(offset - self._wall_offset) > STEP_SECONDS:
            self._wall_offset = offset
            self.tell(ClockStepped(offset))
