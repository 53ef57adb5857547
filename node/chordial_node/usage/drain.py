"""The end of this peer: a restart that keeps its range, or a leave with acknowledged handover.

sip.md 6 and design.md, "Relays and media". A draining peer serves on, grants short registrations
and stays ready until its last step: no phone is sent away by a 503 or a redirect. What leaving
means for ring and storage is theirs; here is the order of steps, and their bound in time.
"""

from collections.abc import Awaitable, Callable

from chordial_node.boundary.control import DrainAnswer, Refused
from chordial_node.boundary.effects import Answered, Stopped
from chordial_node.boundary.notices import StateChanged
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import OverlayError
from chordial_node.usage.dialogs import Dialogs
from chordial_node.usage.location import within

_LOOK_SECONDS = 0.25
_LEAVE_SHARE = 0.5


class Drain:
    """Ends this peer once, however often that is asked for."""

    def __init__(
        self,
        kernel: Kernel,
        dialogs: Dialogs,
        leave: Callable[[], Awaitable[int]],
        timeout: float,
    ) -> None:
        """Hold what is waited for; `leave` hands over and tells how many ranges it was."""
        self._kernel = kernel
        self._dialogs = dialogs
        self._leave = leave
        self._timeout = timeout
        self._waiting: list[int] = []
        self.has_stopped = False
        self.is_draining = False
        """From now on registrations are granted for a minute."""
        self.last_step: Callable[[str], None] = lambda reason: None
        """Called when the peer goes unready, just before it ends."""

    def stop(self, leave: bool) -> None:
        """End the process: at once, or after a leave. A second wish to stop does not wait."""
        if leave and not self.is_draining:
            self._begin()
        elif not leave:
            self._finish("restart: the range is kept", None)

    def ask(self, call: int) -> None:
        """Leave because somebody asked; the answer comes when all is handed over."""
        self._waiting.append(call)
        if not self.is_draining:
            self._begin()

    def _begin(self) -> None:
        self.is_draining = True
        self._kernel.emit(StateChanged(state="draining"))
        self._kernel.start(self._drain())

    async def _drain(self) -> None:
        started = self._kernel.now
        calls_until = started + self._timeout * (1.0 - _LEAVE_SHARE)
        while len(self._dialogs) and self._kernel.now < calls_until and not self.has_stopped:
            await self._kernel.sleep(_LOOK_SECONDS)
        left = max(started + self._timeout - self._kernel.now, 1.0)
        try:
            ranges = await within(self._kernel, left, self._left())
        except OverlayError as error:
            self._finish(f"left, but not all was handed over: {error}", None, failed=True)
            return
        self._finish("left", DrainAnswer(ranges, self._kernel.now - started))

    async def _left(self) -> int:
        return await self._leave()

    def _finish(self, reason: str, answer: DrainAnswer | None, *, failed: bool = False) -> None:
        if self.has_stopped:
            return
        self.has_stopped = True
        self.last_step(reason)
        for call in self._waiting:
            refused = Refused("unavailable", f"the peer ended before it had left: {reason}")
            self._kernel.emit(Answered(call=call, answer=answer or refused))
        self._kernel.emit(Stopped(reason=reason, failed=failed))
