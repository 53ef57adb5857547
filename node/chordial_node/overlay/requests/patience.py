"""How long to wait for an answer, and how often to send again.

protocol.md §4, level 1: a request unanswered after srtt + 4·rttvar (at least 20 ms) goes to the
next candidate; §5: retries are at most a tenth of the requests in ten seconds, and none while
anyone says Busy. Nothing that sends belongs here.
"""

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.links import Links, RoundTrip
from chordial_node.overlay.messages import (
    FetchRequest,
    FindRequest,
    PathTrackRequest,
    PingRequest,
    RouteQueryRequest,
    StatRequest,
    UpdateRequest,
)

LEAST_SECONDS = 0.02
LEAST_WRITE_SECONDS = 0.2
"""Of requests whose answer waits for a disk or for other peers."""
MOST_SECONDS = 1.0
"""The longest wait between two sends that back-off alone makes."""
WINDOW_SECONDS = 10.0
BURST = 10
"""Retries that are always allowed in a window."""
RETRY_PART = 0.1
BUSY_SECONDS = 1.0
"""After an answer Busy nothing is sent again out of impatience for so long."""

READS = (
    FetchRequest.CODE,
    FindRequest.CODE,
    PathTrackRequest.CODE,
    PingRequest.CODE,
    RouteQueryRequest.CODE,
    StatRequest.CODE,
    UpdateRequest.CODE,
)
"""Requests that are answered at once, by whoever they reach."""


class Patience:
    """Measures answers by method and link, and keeps to the budget of retries."""

    def __init__(self, kernel: Kernel, links: Links) -> None:
        self._kernel = kernel
        self._links = links
        self._service: dict[int, RoundTrip] = {}
        self._window_since = 0.0
        self._sent = [0, 0]
        self._resent = [0, 0]
        self._busy_until = 0.0

    def answered(self, method: int, hop: NodeId, seconds: float, is_direct: bool) -> None:
        """Take the time from the first send to the answer in; direct: over that link alone."""
        if is_direct and method in READS:
            self._links.measured(hop, seconds)
        service = self._service.setdefault(method, RoundTrip())
        service.measured(max(0.0, seconds - self._links.round_trip(hop).srtt))

    def seconds(self, method: int, hop: NodeId, sends: int) -> float:
        """Return how long to wait for an answer after so many sends."""
        link = self._links.round_trip(hop)
        service = self._service.get(method) or RoundTrip()
        usual = link.srtt + 4 * link.rttvar + service.srtt + 4 * service.rttvar
        least = LEAST_SECONDS if method in READS else LEAST_WRITE_SECONDS
        first = max(least, usual)
        return max(first, min(first * 2.0 ** (sends - 1), MOST_SECONDS)) + self._kernel.lag

    def on_sent(self) -> None:
        """Count a request."""
        self._turn_window()
        self._sent[0] += 1

    def on_busy(self) -> None:
        """Note that somebody is too busy: impatience would make it worse."""
        self._busy_until = self._kernel.now + BUSY_SECONDS

    def allow_retry(self) -> bool:
        """Tell whether one more retry is within the budget, and count it if so."""
        if self._kernel.now < self._busy_until:
            return False
        self._turn_window()
        before = 1.0 - (self._kernel.now - self._window_since) / WINDOW_SECONDS
        sent = self._sent[0] + before * self._sent[1]
        if self._resent[0] + before * self._resent[1] >= max(BURST, RETRY_PART * sent):
            return False
        self._resent[0] += 1
        return True

    def _turn_window(self) -> None:
        windows = (self._kernel.now - self._window_since) // WINDOW_SECONDS
        if windows < 1:
            return
        self._window_since += windows * WINDOW_SECONDS
        for counts in (self._sent, self._resent):
            counts[1] = counts[0] if windows == 1 else 0
            counts[0] = 0
