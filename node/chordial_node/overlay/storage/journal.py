"""The journal: what is written to disk, and who waits for it.

Memory is the truth while the peer runs, the disk remembers (`protocol.md` §7). Each write is one
`Persist`; the adapter commits those that are waiting as a group and reports the last of them.
When the disk refuses, those who wait fail, and what it owes is kept and offered again every
second until it takes it. No value is interpreted here.
"""

from collections import deque
from collections.abc import Sequence

from chordial_node.boundary.effects import Persist
from chordial_node.boundary.events import Persisted, PersistFailed, Record
from chordial_node.boundary.notices import DiskFailed, DiskRecovered
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from chordial_node.kernel.timers import Timer
from chordial_node.overlay.errors import ErrorCode, OverlayError

PROBE_SECONDS = 1.0
PROBE_KEY = b"meta/probe"
_OWED = 0
"""Stands for the sequence of a record that the disk has refused."""


class Journal:
    """Writes records in order, and tells each writer when its own are on disk."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._sequence = 0
        self._reported = 0
        self._waiting: deque[tuple[int, Reply[None]]] = deque()
        self._pending: dict[bytes, tuple[int, bytes | None]] = {}
        self._reason = ""
        self._probe_timer: Timer | None = None

    @property
    def is_failing(self) -> bool:
        """Tell whether the disk refused its last write: what is new cannot be made durable."""
        return bool(self._reason)

    @property
    def reason(self) -> str:
        """Why the disk refuses writes; empty when it does not."""
        return self._reason

    def write(self, records: Sequence[Record]) -> Reply[None]:
        """Write records together; the Reply resolves when all are on disk, or fails."""
        reply: Reply[None] = self._kernel.reply()
        if self._reason:
            self._owe(records)
            reply.fail(self._unavailable())
            return reply
        self._persist(records)
        self._waiting.append((self._sequence, reply))
        return reply

    def remember_all(self, records: Sequence[Record]) -> None:
        """Write records that nobody waits for."""
        if self._reason:
            self._owe(records)
        elif records:
            self._persist(records)

    def remember(self, key: bytes, value: bytes | None) -> None:
        """Write one record that nobody waits for; None deletes."""
        self.remember_all(((key, value),))

    def settled(self) -> Reply[None]:
        """Return a Reply that resolves when all that was written so far is on disk."""
        reply: Reply[None] = self._kernel.reply()
        if self._reason:
            reply.fail(self._unavailable())
        elif self._reported >= self._sequence:
            reply.resolve(None)
        else:
            self._waiting.append((self._sequence, reply))
        return reply

    def on_persisted(self, event: Persisted) -> None:
        """Note that everything up to a sequence is on disk, but for what was refused before."""
        self._reported = max(self._reported, event.sequence)
        for key in [key for key, (at, _) in self._pending.items() if _OWED < at <= event.sequence]:
            del self._pending[key]
        for reply in self._take_waiting(event.sequence):
            reply.resolve(None)
        if self._reason and not self._pending:
            self._reason = ""
            self._kernel.emit(DiskRecovered())
        elif self._reason:
            self._probe_soon()

    def on_persist_failed(self, event: PersistFailed) -> None:
        """Fail those who wait for what was refused, keep it, and offer it again soon."""
        self._reported = max(self._reported, event.sequence)
        for key, (at, value) in self._pending.items():
            if at <= event.sequence:
                self._pending[key] = (_OWED, value)
        if not self._reason:
            self._reason = event.reason or "the disk refuses writes"
            self._kernel.emit(DiskFailed(reason=self._reason))
        self._probe_soon()
        for reply in self._take_waiting(event.sequence):
            reply.fail(self._unavailable())

    def _persist(self, records: Sequence[Record]) -> None:
        self._sequence += 1
        for key, value in records:
            self._pending[key] = (self._sequence, value)
        self._kernel.emit(Persist(sequence=self._sequence, records=tuple(records)))

    def _owe(self, records: Sequence[Record]) -> None:
        for key, value in records:
            self._pending[key] = (_OWED, value)

    def _probe_soon(self) -> None:
        if self._probe_timer is None or not self._probe_timer.is_armed:
            self._probe_timer = self._kernel.after(PROBE_SECONDS, self._probe)

    def _probe(self) -> None:
        """Offer all that is owed in one write, while the disk is held to be failing."""
        owed = tuple((key, value) for key, (at, value) in self._pending.items() if at == _OWED)
        if self._reason:
            self._persist(owed or ((PROBE_KEY, b""),))

    def _take_waiting(self, sequence: int) -> list[Reply[None]]:
        taken = []
        while self._waiting and self._waiting[0][0] <= sequence:
            taken.append(self._waiting.popleft()[1])
        return taken

    def _unavailable(self) -> OverlayError:
        return OverlayError(ErrorCode.STORE_UNAVAILABLE, self._reason, retry_after=PROBE_SECONDS)
