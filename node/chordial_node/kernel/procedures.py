"""Procedures: coroutines of the core that wait for one answer at a time, without an event loop.

A procedure awaits only `Reply`s. It resumes from a queue after the part that answered has
returned, so what stands between two awaits is one atomic step. Every Reply is answered exactly
once in bounded time; after an await a procedure looks again at what may have changed. An
exception of our own ends that procedure alone and is told. No asyncio belongs here.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from chordial_node.kernel.timers import Timer

T = TypeVar("T")

Procedure = Coroutine["Reply[Any]", None, None]
"""What a procedure is to its runner: it yields replies and returns nothing."""


class Reply(Generic[T]):
    """One answer that will come, or fail to; awaited by at most one procedure."""

    __slots__ = ("_error", "_is_done", "_procedures", "_value", "_waiter", "timer")

    def __init__(self, procedures: "Procedures") -> None:
        self._procedures = procedures
        self._waiter: Procedure | None = None
        self._is_done = False
        self._value: T | None = None
        self._error: Exception | None = None
        self.timer: Timer | None = None
        """The time-out, cancelled when the answer comes."""

    @property
    def is_done(self) -> bool:
        """Tell whether the answer has come, or failed to."""
        return self._is_done

    def resolve(self, value: T) -> None:
        """Give the answer; a second one is ignored, since a time-out may have been first."""
        if not self._is_done:
            self._is_done = True
            self._value = value
            self._wake()

    def fail(self, error: Exception) -> None:
        """Give an error instead of an answer; ignored once there is either."""
        if not self._is_done:
            self._is_done = True
            self._error = error
            self._wake()

    def wait_with(self, procedure: Procedure) -> None:
        """Resume this procedure when the answer comes."""
        assert self._waiter is None
        self._waiter = procedure

    def _wake(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self._waiter is not None:
            self._procedures.resume(self._waiter)
            self._waiter = None

    def __await__(self) -> Generator["Reply[T]", None, T]:
        if not self._is_done:
            yield self
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # T may be None itself


class Procedures:
    """All live procedures of one core, and the queue of those whose answer has come."""

    __slots__ = ("_live", "_on_fault", "_ready")

    def __init__(self, on_fault: Callable[[str, Exception], None]) -> None:
        self._ready: deque[Procedure] = deque()
        self._live = 0
        self._on_fault = on_fault

    def __len__(self) -> int:
        return self._live

    @property
    def has_ready(self) -> bool:
        """Tell whether a procedure could go on at once."""
        return bool(self._ready)

    def start(self, procedure: Procedure) -> None:
        """Run a procedure up to its first unanswered await."""
        self._live += 1
        self._step(procedure)

    def resume(self, procedure: Procedure) -> None:
        """Queue a procedure whose answer has come."""
        self._ready.append(procedure)

    def run(self) -> None:
        """Let every procedure go on whose answer has come, until none is left."""
        ready = self._ready
        while ready:
            self._step(ready.popleft())

    def _step(self, procedure: Procedure) -> None:
        try:
            reply = procedure.send(None)
        except StopIteration:
            self._live -= 1
            return
        except Exception as error:  # a fault of our own ends this procedure, not the peer
            self._live -= 1
            self._on_fault(getattr(procedure, "__qualname__", "procedure"), error)
            return
        if reply.is_done:
            self._ready.append(procedure)
        else:
            reply.wait_with(procedure)
