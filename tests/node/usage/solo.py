"""One kernel over a ring of one dict, in virtual time: for services that need no SIP."""

from collections.abc import Coroutine
from random import Random
from typing import TypeVar

from chordial_node.boundary.effects import Effect
from chordial_node.boundary.notices import ProcedureFaulted
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from tests.node.usage.ring import FakePeer, SharedRing

T = TypeVar("T")


class Solo:
    """A peer without neighbors, whose time passes when it is told to."""

    def __init__(self, own: bytes = b"\x11" * 16, shared: SharedRing | None = None) -> None:
        self.kernel = Kernel(Random(1))
        self.kernel.begin(100.0)
        self.kernel.set_wall_offset(1_800_000_000.0)
        self.shared = shared or SharedRing()
        self.own = NodeId(own)
        self.shared.addresses[self.own] = ("10.0.0.1", 5081)
        self.peer = FakePeer(self.kernel, self.own, self.shared)
        self.effects: list[Effect] = []

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        until = self.kernel.now + seconds
        while (due := self.kernel.deadline()) is not None and due <= until:
            self._turn(due)
        self._turn(until)

    def result(self, work: Coroutine[Reply[object], None, T], within: float = 10.0) -> T:
        """Return what a sequence returns, or raise what it raises."""
        done: list[T] = []
        failed: list[Exception] = []

        async def answered() -> None:
            try:
                done.append(await work)
            except Exception as error:
                failed.append(error)

        self.kernel.start(answered())
        self.run(within)
        if failed:
            raise failed[0]
        return done[0]

    def _turn(self, now: float) -> None:
        self.kernel.begin(now)
        self.kernel.procedures.run()
        effects = self.kernel.take()
        assert not [each for each in effects if isinstance(each, ProcedureFaulted)]
        self.effects += effects
