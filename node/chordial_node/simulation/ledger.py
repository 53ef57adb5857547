"""What the workload stored: for each key every attempt, and what was acknowledged.

The deliberately dumb model that answers are compared with. One writer at a time for each key.
"""

from __future__ import annotations

import msgspec


class Attempt(msgspec.Struct):
    """One Store of a key."""

    number: int
    value: bytes
    begun_us: int
    ended_us: int = 0
    is_acknowledged: bool = False
    expires_at: float = 0.0
    """Unix time, as the peers told it or as it was asked."""

    def __str__(self) -> str:
        return self.value.decode()


class KeyHistory:
    """All attempts to store one key, in their order."""

    def __init__(self, key: bytes, secret: bytes) -> None:
        self.key = key
        self.secret = secret
        self.attempts: list[Attempt] = []
        self.is_busy = False
        """A Store of it is under way."""
        self.may_be_removed = False
        self.is_exempt = False
        """It may be lost: all of its copies may have been on disks that never came back."""
        self._by_value: dict[bytes, Attempt] = {}

    def begin(self, begun_us: int, expires_at: float) -> Attempt:
        """Note that a new value is about to be stored."""
        number = len(self.attempts) + 1
        attempt = Attempt(number, b"%s=%d" % (self.key, number), begun_us, expires_at=expires_at)
        self.attempts.append(attempt)
        self._by_value[attempt.value] = attempt
        self.is_busy = True
        return attempt

    def end(self, attempt: Attempt, ended_us: int, *, is_acknowledged: bool) -> None:
        """Note how a Store ended."""
        attempt.ended_us = ended_us
        attempt.is_acknowledged = is_acknowledged
        self.is_busy = False

    def by_value(self, value: bytes) -> Attempt | None:
        """Return the attempt that stored exactly this."""
        return self._by_value.get(value)

    @property
    def newest_acknowledged(self) -> Attempt | None:
        """The last attempt that was acknowledged."""
        return next((each for each in reversed(self.attempts) if each.is_acknowledged), None)

    def acknowledged_before(self, us: int) -> Attempt | None:
        """Return the last attempt that was acknowledged before a time."""
        return next(
            (
                each
                for each in reversed(self.attempts)
                if each.is_acknowledged and each.ended_us <= us
            ),
            None,
        )


class Ledger:
    """All keys of a run."""

    def __init__(self) -> None:
        self.keys: dict[bytes, KeyHistory] = {}
        self.is_last_look = False
        """Faults have ended, all disks are back: what was acknowledged must be there."""

    def key(self, name: bytes) -> KeyHistory:
        """Return the history of a key, an empty one at first."""
        history = self.keys.get(name)
        if history is None:
            history = self.keys[name] = KeyHistory(name, b"secret of " + name)
        return history
