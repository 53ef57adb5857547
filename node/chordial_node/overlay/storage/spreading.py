"""Writing to the set of a range: how many copies on disk make an acknowledgement.

`protocol.md` §5: the owner and so many replicas that they are a majority of the set, whatever is
configured, for what repairs and what is asked first; for a Store what `overlay.acknowledge` says.
`primary` lets the others follow unwaited for, so the owner's loss may lose a Store; `all` waits
for every member of the set as it then stands. Which peers these are is `ranges.py`'s to know.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from chordial_node.config import Acknowledge
from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel, TimedOutError
from chordial_node.kernel.procedures import Reply
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    ReplicaItem,
    ReplicateAnswer,
    ReplicateRequest,
    Request,
)
from chordial_node.overlay.requests import Answered
from chordial_node.overlay.storage.quorum import Quorum
from chordial_node.overlay.storage.ranges import Ranges

ACKNOWLEDGE_SECONDS = 4.0
AGAIN_SECONDS = 0.2
"""After a member has refused or failed: it may answer then, or another stand in its place."""


class Asker(Protocol):
    """Asks other peers."""

    async def ask(
        self,
        destination: bytes,
        request: Request,
        *,
        to_resource: bool,
        trace: Trace | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # there is no asyncio here
    ) -> Answered:
        """Send a request and return its answer; OverlayError tells why there is none."""


class Spreading:
    """Sends what this peer owns to those who hold copies of it, and counts their disks."""

    def __init__(
        self,
        kernel: Kernel,
        own: NodeId,
        requests: Asker,
        ranges: Ranges,
        take_newer: Callable[[Iterable[ReplicaItem]], None],
        on_missed: Callable[[], None],
    ) -> None:
        self._kernel = kernel
        self._own = own
        self._requests = requests
        self._ranges = ranges
        self._take_newer = take_newer
        self._on_missed = on_missed
        self._waiting: dict[Quorum, None] = {}
        """Those that wait for every member: the set may change under them."""

    def on_set_changed(self) -> None:
        """Look again at who is waited for."""
        error = OverlayError(ErrorCode.STORE_UNAVAILABLE, "the set has changed", retry_after=1.0)
        for members in self._waiting:
            members.reached.fail(error)

    async def spread(
        self,
        items: tuple[ReplicaItem, ...],
        written: Reply[None],
        trace: Trace | None,
        acknowledge: Acknowledge,
    ) -> tuple[NodeId, ...]:
        """Return who has the items on disk once these are enough, the owner first.

        OverlayError when it does not come about in time: then nobody was told that the items are
        stored, though some peers hold them, and the larger order decides when they meet others.
        """
        members = self._ranges.members()
        needed = {"primary": 0, "quorum": len(members) // 2, "all": len(members) - 1}[acknowledge]
        request = ReplicateRequest(items)
        holders = {self._own: None}
        own_disk = Quorum(self._kernel, 1, 1, ACKNOWLEDGE_SECONDS)
        others = Quorum(self._kernel, needed, len(members) - 1, ACKNOWLEDGE_SECONDS)
        self._kernel.start(_note_written(written, own_disk))
        for node in members[1:]:
            self._kernel.start(self._replicate(node, request, trace, others, holders))
        if acknowledge == "all":
            self._waiting[others] = None
        try:
            await own_disk.reached
            if acknowledge == "all":
                await self._reach_all(request, trace, others, holders)
            else:
                await others.reached
        except TimedOutError as error:
            held = f"{len(holders) - 1} of {needed} copies beside ours"
            reason = f"only {held} answered in time"
            raise OverlayError(ErrorCode.STORE_UNAVAILABLE, reason, retry_after=1.0) from error
        finally:
            self._waiting.pop(others, None)
        return tuple(holders)

    async def _reach_all(
        self,
        request: ReplicateRequest,
        trace: Trace | None,
        asked: Quorum,
        holders: dict[NodeId, None],
    ) -> None:
        """Return when nobody of the set, as it then stands, is without the items."""
        deadline = self._kernel.now + ACKNOWLEDGE_SECONDS
        while True:
            self._waiting[asked] = None
            try:
                await asked.reached
            except OverlayError as error:
                if asked.failed:  # else the set has changed: nothing to wait for
                    await self._kernel.sleep(AGAIN_SECONDS)
                if self._kernel.now >= deadline:
                    raise error from None
            finally:
                del self._waiting[asked]
            missing = [node for node in self._ranges.members() if node not in holders]
            if not missing:
                return
            left = max(0.0, deadline - self._kernel.now)
            asked = Quorum(self._kernel, len(missing), len(missing), left)
            for node in missing:
                self._kernel.start(self._replicate(node, request, trace, asked, holders))

    async def _replicate(
        self,
        node: NodeId,
        request: ReplicateRequest,
        trace: Trace | None,
        quorum: Quorum,
        holders: dict[NodeId, None],
    ) -> None:
        try:
            answered = await self._requests.ask(
                node, request, to_resource=False, trace=trace, timeout=ACKNOWLEDGE_SECONDS
            )
        except OverlayError:
            quorum.fail()
            self._on_missed()
            return
        if isinstance(answered.answer, ReplicateAnswer) and answered.answer.newer:
            self._take_newer(answered.answer.newer)
        holders[node] = None
        quorum.succeed()


async def _note_written(written: Reply[None], quorum: Quorum) -> None:
    try:
        await written
    except OverlayError:
        quorum.fail()
    else:
        quorum.succeed()
