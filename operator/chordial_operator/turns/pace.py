"""How many statuses of users may change in one second, over all overlays (fleet H20).

A mass restart of phones changes thousands of them at once, and each patch wakes every watcher.
Pure: the time is an argument. Who waits, and for what, is the turns' affair.
"""

CHANGES_A_SECOND = 10


class Pace:
    """So many changes a second, and no more saved up than one second's."""

    def __init__(self, a_second: int = CHANGES_A_SECOND) -> None:
        """Begin with one second's changes allowed."""
        self._most = float(a_second)
        self._left = float(a_second)
        self._at = 0.0

    def take(self, wanted: int, now: float) -> int:
        """Return how many of the wanted changes may be made now."""
        passed = max(0.0, now - self._at)
        self._left = min(self._most, self._left + passed * self._most)
        self._at = now
        taken = min(wanted, int(self._left))
        self._left -= taken
        return taken
