"""What the ring keeps on disk: its members, our incarnation, the proposal a founder agreed to.

protocol.md §7: every peer keeps its last membership. Peers that were lost are kept too: when all
are killed, the last ones see the others die first. Written at most every ten seconds, and the
more members there are the less often: each is in the memory of many others.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.messages import MemberRecord
from chordial_node.overlay.table import Table

MEMBERS_KEY = b"ring/members"
INCARNATION_KEY = b"ring/incarnation"
AGREED_KEY = b"ring/agreed"
SOON_SECONDS = 0.5
PAUSE_SECONDS = 10.0
MOST_PAUSES = 6
MEMBERS_A_PAUSE = 100
"""One more pause before the next write for so many members, MOST_PAUSES together."""
MOST_KEPT = 1024


class Memory(Protocol):
    """The disk, as `storage/journal.py` offers it."""

    def remember(self, key: bytes, value: bytes | None) -> None:
        """Write one record that nobody waits for."""
        ...

    def write(self, records: list[tuple[bytes, bytes | None]]) -> Reply[None]:
        """Write records; the Reply resolves when they are on disk."""
        ...


class Agreement(msgspec.Struct, array_like=True, frozen=True):
    """The one proposal that a founder has agreed to."""

    proposer: NodeId
    number: int


class Snapshot:
    """Keeps the ring's records, and reads them at start."""

    def __init__(self, kernel: Kernel, memory: Memory, table: Table) -> None:
        self._kernel = kernel
        self._memory = memory
        self._table = table
        self._is_due = False
        self._written_at = float("-inf")
        self._lost: Callable[[], list[MemberRecord]] = list

    def changed(self, lost: Callable[[], list[MemberRecord]]) -> None:
        """Write the members soon, with those who were lost by then."""
        self._lost = lost
        if not self._is_due:
            self._is_due = True
            pauses = min(1 + len(self._table) // MEMBERS_A_PAUSE, MOST_PAUSES)
            written_at, now = self._written_at, self._kernel.now
            wait = max(SOON_SECONDS, written_at + pauses * PAUSE_SECONDS - now)
            self._kernel.after(wait, self._write)

    def keep_incarnation(self, incarnation: int) -> None:
        """Keep the incarnation of this life."""
        self._memory.remember(INCARNATION_KEY, str(incarnation).encode())

    def keep_agreement(self, agreement: Agreement) -> Reply[None]:
        """Keep what was agreed to; the Reply resolves when it is on disk."""
        return self._memory.write([(AGREED_KEY, msgspec.msgpack.encode(agreement))])

    def _write(self) -> None:
        self._is_due = False
        self._written_at = self._kernel.now
        live = [self._table.get(node) for node in self._table.live_ids()]
        step = -(-len(live) // MOST_KEPT) or 1
        kept = [record for record in live[::step] if record is not None]
        kept += [record for record in self._lost() if not self._is_live(record)]
        self._memory.remember(MEMBERS_KEY, msgspec.msgpack.encode(kept[: 2 * MOST_KEPT]))

    def _is_live(self, record: MemberRecord) -> bool:
        known = self._table.get(record.node_id)
        return known is not None and not self._table.is_dead(record.node_id)


def read_members(records: dict[bytes, bytes]) -> list[MemberRecord]:
    """Return the members that were kept; none when there are none or they cannot be read."""
    try:
        return msgspec.msgpack.decode(records.get(MEMBERS_KEY, b"\x90"), type=list[MemberRecord])
    except msgspec.MsgspecError:
        return []


def read_incarnation(records: dict[bytes, bytes]) -> int:
    """Return the incarnation of the last life; 0 when there was none."""
    text = records.get(INCARNATION_KEY, b"0")
    return int(text) if text.isdigit() else 0


def read_agreement(records: dict[bytes, bytes]) -> Agreement | None:
    """Return the proposal that was agreed to last."""
    data = records.get(AGREED_KEY)
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=Agreement)
    except msgspec.MsgspecError:
        return None
