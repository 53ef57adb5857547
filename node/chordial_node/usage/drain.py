"""The end of this peer: phones and calls moved away, the range kept for a restart or handed over.

fleet.md H1, H19 and 2.3, sip.md 6. A draining peer serves on, grants short registrations and stays
ready until its last steps: no phone is sent away by a 503 or a redirect. Here is the order of
steps, and their bounds in time; what moving, handing over and leaving mean is their modules'.
"""

from collections.abc import Callable, Coroutine
from typing import Protocol

from chordial_node.boundary.control import DrainAnswer, Refused
from chordial_node.boundary.effects import Answered, Stopped
from chordial_node.boundary.notices import DrainTimedOut, PhonesMoving, RangeDegraded, StateChanged
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.errors import OverlayError
from chordial_node.sip.flow import Flow
from chordial_node.usage.location import within

_TELL_SECONDS = 0.5
"""Everybody knows by then that this peer ends, and it knows who else does."""
_LOOK_SECONDS = 0.25
_LOOK_AT_PHONES_SECONDS = 1.0
_HAND_OVER_SECONDS = 10.0
"""Begins no attempt to hand over later than this."""
_MARK_SECONDS = 15.0
"""What is not marked by then is marked while the last steps go on."""
_SETTLE_SECONDS = 5.0
"""Calls that began while phones were marked are given so long: others are held already."""
_SETTLED_LOOK_SECONDS = 0.05
_CLOSE_STEPS = 50
_CLOSE_PAUSE_SECONDS = 0.1
"""Connections are closed in so many steps: their phones come again somewhere all at once."""
_LEAVE_SECONDS = 20.0


class Departing(Protocol):
    """What a drain needs of the overlay."""

    def announce_end(self, *, leave: bool) -> None:
        """Tell everybody that this peer is about to end."""

    @property
    def has_heirs(self) -> bool:
        """Tell whether anybody lives who is not about to end as well."""

    async def prepare_leave(self, seconds: float) -> bool:
        """Have others hold everything that is held here, while Stores still come in."""

    async def leave(self) -> int:
        """Hand over what is held, then leave; return how many entries were handed over."""


class Phones(Protocol):
    """What a drain needs to know of phones that only this edge reaches."""

    short_seconds: int

    @property
    def waiting(self) -> int:
        """How many would miss it for long if this edge ended now."""

    async def mark(self) -> int:
        """Tell their callers that they move; return how many they are."""

    def cut(self) -> None:
        """Reach them by their flows no more: these end as the peer goes unready."""


class Closing(Protocol):
    """What a drain needs of the flows."""

    def phone_connections(self) -> list[Flow]:
        """Return the connections that are not between peers."""

    def close(self, flow: Flow, reason: str) -> None:
        """End a flow."""


class Drain:
    """Ends this peer once, however often that is asked for."""

    def __init__(
        self,
        kernel: Kernel,
        calls: Callable[[], int],
        set_ups: Callable[[], int],
        overlay: Departing,
        phones: Phones,
        flows: Closing,
        timeout: float,
    ) -> None:
        """Hold what is waited for, and told; `calls` are those that run.

        `set_ups` are INVITEs that have no final answer yet.
        """
        self._kernel = kernel
        self._calls = calls
        self._set_ups = set_ups
        self._overlay = overlay
        self._phones = phones
        self._flows = flows
        self._timeout = timeout
        self._asked: list[int] = []
        self._started = 0.0
        self._leaves = False
        self._is_unready = False
        self._has_timed_out = False
        self.has_stopped = False
        self.is_draining = False
        """From now on registrations are granted for a short time."""
        self.last_step: Callable[[str], None] = lambda reason: None
        """Called when the peer goes unready, in its last steps."""

    def stop(self, *, leave: bool, restart: bool = False) -> None:
        """End the process: at once, or after a drain, which goes on if there is one already."""
        if leave or restart:
            self._begin(leave=leave)
        else:
            self._finish("restart: the range is kept", None)

    def ask(self, call: int, *, restart: bool = False) -> None:
        """Drain because somebody asked; the answer comes when all is done."""
        self._asked.append(call)
        self._begin(leave=not restart)

    def _begin(self, *, leave: bool) -> None:
        """A wish to leave holds, whatever is wished besides it."""
        is_news = not self.is_draining or (leave and not self._leaves)
        self._leaves = self._leaves or leave
        if is_news and not self.has_stopped:
            self._overlay.announce_end(leave=self._leaves)
        if not self.is_draining and not self.has_stopped:
            self.is_draining = True
            self._started = self._kernel.now
            self._kernel.emit(StateChanged(state="draining"))
            self._watch()
            self._kernel.start(self._drain())

    async def _drain(self) -> None:
        """All steps in their order; each looks whether the end has come meanwhile."""
        until = self._started + self._timeout
        await self._kernel.sleep(_TELL_SECONDS)
        await self._prepare()
        await self._wait(until)
        await self._prepare()
        if not self.has_stopped:
            await self._move()
        if not self.has_stopped:
            await self._end()

    async def _prepare(self) -> None:
        """Have others hold the range: before the wait, and what has changed since after it."""
        if self._leaves and not self.has_stopped:
            work = self._overlay.prepare_leave(_HAND_OVER_SECONDS)
            await self._within(_HAND_OVER_SECONDS + 2.0, work)

    # the steps ------------------------------------------------------------------------------------

    async def _wait(self, until: float) -> None:
        """Wait for calls, and for the phones that only this edge reaches to come again."""
        while not self.has_stopped:
            calls = self._calls() + self._set_ups()
            if not calls and not self._phones.waiting:
                return
            if self._kernel.now >= until:
                self._has_timed_out = True
                self._kernel.emit(DrainTimedOut(calls=calls, phones=self._phones.waiting))
                return
            await self._kernel.sleep(_LOOK_SECONDS if calls else _LOOK_AT_PHONES_SECONDS)

    async def _move(self) -> None:
        """Mark, go unready, close; then be there for one more short registration."""
        phones = await self._within(_MARK_SECONDS, self._phones.mark())
        await self._settle()
        if self.has_stopped:
            return
        self._phones.cut()
        connections = self._flows.phone_connections()
        self._go_unready("the last steps of a drain")
        if phones != 0:
            self._kernel.emit(PhonesMoving(phones=phones or 0))
        steps = min(len(connections), _CLOSE_STEPS)
        for step in range(steps):
            for flow in connections[step::steps]:
                self._flows.close(flow, "this peer ends")
            await self._kernel.sleep(_CLOSE_PAUSE_SECONDS)
        if phones != 0:
            await self._kernel.sleep(self._phones.short_seconds)

    async def _settle(self) -> None:
        """Close in a moment without a call, or at least without one that is just being set up.

        Phones here go on calling: what runs survives its edge, an INVITE without its answer not.
        """
        until = self._kernel.now + _SETTLE_SECONDS
        while self._kernel.now < until and not self.has_stopped:
            if not self._set_ups() and (self._has_timed_out or not self._calls()):
                return
            await self._kernel.sleep(_SETTLED_LOOK_SECONDS)

    async def _end(self) -> None:
        if not self._leaves:
            self._finish("restart: the range is kept", self._answer(0))
            return
        entries = await self._within(_LEAVE_SECONDS, self._overlay.leave())
        if entries is None:
            reason = "not all was handed over in time: the disk is kept"
            self._kernel.emit(RangeDegraded(reason=reason))
            self._finish(reason, None, failed=True)
        else:
            self._finish("left", self._answer(entries))

    async def _within(
        self, seconds: float, work: Coroutine[Reply[object], None, int]
    ) -> int | None:
        """Return what a step returns, or None when it fails or takes too long."""
        try:
            return await within(self._kernel, seconds, work)
        except OverlayError:
            return None

    def _watch(self) -> None:
        """With nobody left who stays there is nothing to wait for (H19)."""
        if self.has_stopped:
            return
        if self._overlay.has_heirs:
            self._kernel.after(_LOOK_SECONDS, self._watch)
            return
        reason = "nobody is left to take over: the disk is kept"
        self._kernel.emit(RangeDegraded(reason=reason))
        self._finish(reason, self._answer(0))

    # the end --------------------------------------------------------------------------------------

    def _answer(self, entries: int) -> DrainAnswer:
        return DrainAnswer(entries, self._kernel.now - self._started)

    def _go_unready(self, reason: str) -> None:
        if not self._is_unready:
            self._is_unready = True
            self.last_step(reason)

    def _finish(self, reason: str, answer: DrainAnswer | None, *, failed: bool = False) -> None:
        if self.has_stopped:
            return
        self.has_stopped = True
        self._go_unready(reason)
        for call in self._asked:
            refused = Refused("unavailable", f"the peer ended before it had left: {reason}")
            self._kernel.emit(Answered(call=call, answer=answer or refused))
        self._kernel.emit(Stopped(reason=reason, failed=failed))
