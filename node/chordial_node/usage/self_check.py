"""Readiness: a latch that closes when a synthetic Store and Fetch have worked (design.md).

A peer becomes ready after it has joined, is in step, and a value of its own came back out of the
ring. From then on only local reasons make it unready: what is wrong with the whole overlay must
never take every peer out of service at once.
"""

from collections.abc import Callable

from chordial_node.boundary.notices import Ready
from chordial_node.ids import NodeId, resource_id_of
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.errors import OverlayError
from chordial_node.overlay.kinds import KindId
from chordial_node.overlay.messages import Entry, FetchSpecifier, KindData
from chordial_node.usage.credentials import Overlay

_PROBE_PERIOD_SECONDS = 0.1
_WATCH_PERIOD_SECONDS = 1.0
_LIFETIME_MS = 600_000


class SelfCheck:
    """Tells whether this peer may be sent phones, and says so when that changes."""

    def __init__(
        self, kernel: Kernel, overlay: Overlay, own: NodeId, local_fault: Callable[[], str]
    ) -> None:
        """Begin unready; `local_fault` names a local reason against serving, or nothing."""
        self._kernel = kernel
        self._overlay = overlay
        self._own = own
        self._local_fault = local_fault
        self._resource = resource_id_of(b"readiness:" + own)
        self._has_passed = False
        self._is_over = False
        self.is_ready = False
        self.reason = "starting"

    def start(self, is_in_ring: Callable[[], bool]) -> None:
        """Probe until the probe works once; `is_in_ring` tells whether it can work yet."""
        self._kernel.start(self._probe(is_in_ring))

    def end(self, reason: str) -> None:
        """Become unready for good: the last step of a drain."""
        self._is_over = True
        self._tell(False, reason)

    async def _probe(self, is_in_ring: Callable[[], bool]) -> None:
        while not self._is_over and not self._has_passed:
            if not is_in_ring():
                self.reason = "not in a ring yet, or not in step with it"
                await self._kernel.sleep(_PROBE_PERIOD_SECONDS)
                continue
            try:
                self._has_passed = await self._comes_back()
            except OverlayError as error:
                self.reason = f"the synthetic lookup has not worked yet: {error}"
            if not self._has_passed:
                await self._kernel.sleep(_PROBE_PERIOD_SECONDS)
        self._watch()

    async def _comes_back(self) -> bool:
        now = self._kernel.wall_ms
        value = self._kernel.random.getrandbits(64).to_bytes(8, "big")
        ends = now + _LIFETIME_MS
        entry = Entry(b"", value, True, now, ends, ends, self._own)
        data = KindData(KindId.READINESS_PROBE, 0, (entry,))
        await self._overlay.store(self._resource, (data,))
        specifier = FetchSpecifier(KindId.READINESS_PROBE)
        answer = await self._overlay.fetch(self._resource, (specifier,))
        found = [each.value for kind in answer.kinds for each in kind.entries if each.exists]
        if found != [value]:
            self.reason = "the synthetic value did not come back as it was stored"
        return found == [value]

    def _watch(self) -> None:
        if self._is_over:
            return
        fault = self._local_fault()
        self._tell(not fault, fault or "joined, in step, and the synthetic lookup works")
        self._kernel.at_beat(_WATCH_PERIOD_SECONDS, self._watch)

    def _tell(self, is_ready: bool, reason: str) -> None:
        if is_ready != self.is_ready:
            self._kernel.emit(Ready(is_ready=is_ready, reason=reason))
        self.is_ready = is_ready
        self.reason = reason
