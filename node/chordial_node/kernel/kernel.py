"""The kernel: what every part of the core is given.

It holds the time of the turn, the random source, the effects of the turn, timers, procedures and
spans. Only `Core.handle` sets the time. No protocol belongs here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from chordial_node.boundary.counters import Counters
from chordial_node.boundary.effects import Effect
from chordial_node.boundary.notices import ProcedureFaulted, SpanEnded
from chordial_node.kernel.procedures import Procedure, Procedures, Reply
from chordial_node.kernel.timers import Timer, Timers
from chordial_node.kernel.tracing import UNSAMPLED, Span, Trace

if TYPE_CHECKING:
    from random import Random

T = TypeVar("T")

_NEXT_TURN_SECONDS = 0.000001
"""Later than this turn, earlier than anything else: the resolution of the simulator's clock."""
BEAT_SECONDS = 0.25


class TimedOutError(Exception):
    """The answer did not come in time."""


class Kernel:
    """Time, chance, effects, timers, procedures and spans of one core."""

    def __init__(self, random: Random, sampling_ratio: float = 0.0) -> None:
        self.now = 0.0
        """Seconds on the monotonic clock, of this turn."""
        self.wall = 0.0
        """Unix time of this turn, in seconds."""
        self.lag = 0.0
        """How late the driver's loop last was, in seconds; time-outs stretch by it."""
        self.random = random
        self.counters = Counters()
        self.procedures = Procedures(self._on_fault)
        self._timers = Timers()
        self._effects: list[Effect] = []
        self._wall_offset = 0.0
        self._beat_offset: float | None = None
        """Drawn with the first beat: two peers do not beat together."""
        self._sampling_ratio = sampling_ratio

    # the turn: called by Core alone

    def begin(self, now: float) -> None:
        """Set the time of a turn and fire what is due, before what has just arrived."""
        self.now = now
        self.wall = now + self._wall_offset
        while (fire := self._timers.next_due(now)) is not None:
            fire()
            self.procedures.run()

    def set_wall_offset(self, wall_offset: float) -> None:
        """Set what is to be added to the monotonic clock to get Unix time."""
        self._wall_offset = wall_offset
        self.wall = self.now + wall_offset

    def deadline(self) -> float | None:
        """Return when the core wants its next turn, or None."""
        return self.now if self.procedures.has_ready else self._timers.deadline()

    def take(self) -> list[Effect]:
        """Return the effects of the turn and start a new list."""
        effects, self._effects = self._effects, []
        return effects

    # what parts use

    @property
    def wall_ms(self) -> int:
        """Unix time of this turn in whole milliseconds, as stored values carry it."""
        return int(self.wall * 1000)

    def emit(self, effect: Effect) -> None:
        """Add an effect, or a notice, to those of the turn."""
        self._effects.append(effect)

    def after(self, seconds: float, fire: Callable[[], None]) -> Timer:
        """Call something once, a number of seconds from now."""
        return self._timers.at(self.now + seconds, fire)

    def at_beat(self, seconds: float, fire: Callable[[], None]) -> Timer:
        """Call something once, about so many seconds from now, in one turn with others.

        What is done every second or so has no moment of its own: all of it shares a few turns.
        """
        if self._beat_offset is None:
            self._beat_offset = self.random.random() * BEAT_SECONDS
        offset = self._beat_offset
        beat = round((self.now + seconds - offset) / BEAT_SECONDS)
        due = offset + beat * BEAT_SECONDS
        if due <= self.now:
            due += BEAT_SECONDS
        return self._timers.at(due, fire)

    def start(self, procedure: Procedure) -> None:
        """Run a procedure up to its first unanswered await; it goes on by itself."""
        self.procedures.start(procedure)

    def reply(self, timeout: float | None = None) -> Reply[T]:
        """Make a Reply that fails with TimedOutError when nobody answers in time."""
        reply: Reply[T] = Reply(self.procedures)
        if timeout is not None:
            reply.timer = self.after(timeout, lambda: reply.fail(TimedOutError()))
        return reply

    def sleep(self, seconds: float) -> Reply[None]:
        """Make a Reply that resolves after a time: `await kernel.sleep(1.0)`."""
        reply: Reply[None] = Reply(self.procedures)
        self.after(seconds, lambda: reply.resolve(None))
        return reply

    def pause(self) -> Reply[None]:
        """Give the turn back in the middle of bulk work: `await kernel.pause()`."""
        return self.sleep(_NEXT_TURN_SECONDS)

    def jittered(self, seconds: float, by: float = 0.25) -> float:
        """Return a period spread evenly within a fraction of itself."""
        return seconds * (1.0 - by + 2.0 * by * self.random.random())

    # spans

    def root_span(self, name: str, kind: str = "internal", forced: bytes | None = None) -> Span:
        """Start a new trace if head sampling wants one, or of this id if the caller does."""
        if forced is None and (
            self._sampling_ratio <= 0.0 or self.random.random() >= self._sampling_ratio
        ):
            return UNSAMPLED
        return self._span(name, kind, forced or self.new_trace_id(), bytes(8))

    def new_trace_id(self) -> bytes:
        """Draw 16 bytes that name a trace."""
        return self.random.getrandbits(128).to_bytes(16, "big")

    def span(self, name: str, parent: Trace | None, kind: str = "internal") -> Span:
        """Start a span below a parent; unsampled when the parent is."""
        if parent is None:
            return UNSAMPLED
        return self._span(name, kind, parent.trace_id, parent.span_id)

    def _span(self, name: str, kind: str, trace_id: bytes, parent_id: bytes) -> Span:
        span_id = self.random.getrandbits(64).to_bytes(8, "big")
        return Span(self._tell_span, name, kind, Trace(trace_id, span_id), parent_id, self.now)

    def _tell_span(self, ended: SpanEnded) -> None:
        self._effects.append(ended)

    def _on_fault(self, procedure: str, error: Exception) -> None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "unknown"
        self.counters.procedure_faults += 1
        what = f"{type(error).__name__}: {error}"
        self.emit(ProcedureFaulted(procedure=procedure, error=what, where=where))
