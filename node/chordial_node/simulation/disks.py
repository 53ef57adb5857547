"""A simulated disk: group commits that take time, and what they wrote survives the process.

A commit that runs while its process is killed is on the disk whole or not at all, by chance, as a
transaction of the real engine is. What a record means is nothing to the disk.
"""

from collections.abc import Callable
from random import Random

import msgspec

from chordial_node.boundary.effects import Persist
from chordial_node.boundary.events import Event, Persisted, PersistFailed

Waiting = list[Persist]


class DiskFaults(msgspec.Struct, frozen=True):
    """How slow a disk is, and whether it works."""

    commit_us: int = 1_000
    """One group commit, fsync included."""
    jitter_us: int = 1_000
    """Up to so much more, evenly."""
    is_failing: bool = False
    """Every commit ends with PersistFailed and writes nothing."""


class Disk:
    """What one host keeps; it outlives the processes that write on it."""

    def __init__(self, random: Random, faults: DiskFaults) -> None:
        self.faults = faults
        self.records: dict[bytes, bytes] = {}
        self.commits = 0
        self._random = random
        self._waiting: Waiting = []
        self._committing: Waiting = []
        self._life = 0

    def read(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return everything on the disk, by key."""
        return tuple(sorted(self.records.items()))

    def persist(
        self,
        effect: Persist,
        after: Callable[[int, Callable[[], None]], None],
        tell: Callable[[Event], None],
    ) -> None:
        """Write records with the next group commit; `tell` gets the one event that answers it."""
        self._waiting.append(effect)
        if not self._committing:
            self._commit(after, tell)

    def cut_off(self) -> None:
        """The process is gone: what waited is lost, what was being committed may be there."""
        if self._committing and self._random.getrandbits(1):
            self._write()
        self._waiting = []
        self._committing = []
        self._life += 1

    def wipe(self) -> None:
        """Make it an empty disk."""
        self.records = {}

    def _commit(
        self,
        after: Callable[[int, Callable[[], None]], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._committing, self._waiting = self._waiting, []
        life = self._life
        jitter = self._random.getrandbits(32) * self.faults.jitter_us >> 32

        def finish() -> None:
            if life != self._life:
                return
            sequence = self._committing[-1].sequence
            if self.faults.is_failing:
                answer: Event = PersistFailed(sequence, "no space left on device")
            else:
                self._write()
                answer = Persisted(sequence)
            self._committing = []
            if self._waiting:
                self._commit(after, tell)
            tell(answer)

        after(self.faults.commit_us + jitter, finish)

    def _write(self) -> None:
        self.commits += 1
        for effect in self._committing:
            for key, value in effect.records:
                if value is None:
                    self.records.pop(key, None)
                else:
                    self.records[key] = value
