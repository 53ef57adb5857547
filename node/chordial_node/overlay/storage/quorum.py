"""k of n: the third shape of waiting, beside machines and procedures.

Who succeeds and who fails is told one by one; the one who waits goes on as soon as enough have
succeeded or enough can no longer succeed. What is counted does not matter here.
"""

from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.errors import ErrorCode, OverlayError


class Quorum:
    """Waits until `needed` of `out_of` have succeeded; fails once that cannot be, or in time."""

    def __init__(
        self, kernel: Kernel, needed: int, out_of: int, timeout: float | None = None
    ) -> None:
        self.needed = needed
        self.out_of = out_of
        self.succeeded = 0
        self.failed = 0
        self.reached: Reply[None] = kernel.reply(timeout)
        """Resolves when enough have succeeded."""
        self._decide()

    def succeed(self) -> None:
        """Count one more success."""
        self.succeeded += 1
        self._decide()

    def fail(self) -> None:
        """Count one more failure."""
        self.failed += 1
        self._decide()

    def _decide(self) -> None:
        if self.succeeded >= self.needed:
            self.reached.resolve(None)
        elif self.out_of - self.failed < self.needed:
            reason = f"{self.succeeded} of the {self.needed} needed; {self.failed} failed"
            self.reached.fail(OverlayError(ErrorCode.STORE_UNAVAILABLE, reason, retry_after=1.0))
