"""Frames on their way out, and the deadlines of links.

protocol.md §3: a write that is pending for two seconds ends the link; §4: a deadline that fires
late is judged again after the sockets were read. What follows from a missed deadline is decided
in `links.py`.
"""

from collections.abc import Callable
from itertools import takewhile

from chordial_node.boundary.effects import WriteFrame
from chordial_node.kernel.kernel import Kernel
from chordial_node.overlay.links.link import Link, LinkState
from chordial_node.overlay.messages import Envelope, encode_frame

WRITE_SECONDS = 2.0
"""A frame that is not written by then ends the link."""
HELLO_SECONDS = 5.0
"""An open link without the other side's Hello ends by then."""
RETIRE_SECONDS = 1.0
"""A link that gave way is read for so long: what the other side had written arrives."""
LATE_SECONDS = 0.02
"""A deadline that fires later than this waits for the sockets to be read."""


class LinkWriter:
    """Writes frames, ends the spans of what they carry, and watches for what comes too late."""

    def __init__(self, kernel: Kernel, on_late: Callable[[Link], None]) -> None:
        self._kernel = kernel
        self._on_late = on_late
        self._writing: dict[int, Link] = {}
        """Open links with a frame on its way, the longest first: one timer watches them all."""
        self._is_watching = False
        self._look_at = 0.0

    def write(self, link: Link, frame: list[Envelope]) -> None:
        """Write a frame; the next one waits for FrameWritten."""
        now = self._kernel.now
        for envelope in frame:
            if envelope.trace is not None:
                watched = link.watched.pop(envelope.trace.span_id, None)
                if watched is not None:
                    watched.attributes["chordial_overlay_queued"] = now - watched.queued_at
                    link.written.append(watched)
        link.is_writing = True
        if link.state is LinkState.UP:
            self._watch(link)
        self._kernel.counters.frames_written += 1
        self._kernel.emit(WriteFrame(link=link.number, data=encode_frame(frame)))

    def on_up(self, link: Link) -> None:
        """Watch frames from now on, and no longer for the Hello."""
        self.disarm(link)
        if link.is_writing:
            self._watch(link)

    def on_written(self, link: Link) -> None:
        """Note that the frame is out: the next one may go."""
        link.is_writing = False
        self._writing.pop(link.number, None)
        self.end_written(link)

    def arm(self, link: Link, seconds: float) -> None:
        """Set the deadline of a link for its Hello, or its last moment."""
        link.due = self._kernel.now + seconds
        link.timer = self._kernel.after(seconds, lambda: self._on_due(link))

    def disarm(self, link: Link) -> None:
        """Forget the deadlines of a link."""
        self._writing.pop(link.number, None)
        if link.timer is not None:
            link.timer.cancel()
            link.timer = None

    def end_written(self, link: Link) -> None:
        """End the spans of the frame that was written, or that the link took with it."""
        for watched in link.written:
            watched.span.end(self._kernel.now, None, **watched.attributes)
        link.written.clear()

    def end_unwritten(self, link: Link, reason: str) -> None:
        """End the spans of what will not be written on this link."""
        for watched in link.watched.values():
            watched.span.end(self._kernel.now, reason, **watched.attributes)
        link.watched.clear()

    def _on_due(self, link: Link) -> None:
        link.timer = None
        if self._kernel.now - link.due > LATE_SECONDS:
            self.arm(link, LATE_SECONDS)
        else:
            self._on_late(link)

    def _watch(self, link: Link) -> None:
        link.due = self._kernel.now + WRITE_SECONDS
        self._writing.pop(link.number, None)
        self._writing[link.number] = link
        if not self._is_watching:
            self._look_after(WRITE_SECONDS)

    def _look_after(self, seconds: float) -> None:
        self._is_watching = True
        self._look_at = self._kernel.now + seconds
        self._kernel.after(seconds, self._look)

    def _look(self) -> None:
        self._is_watching = False
        now = self._kernel.now
        if now - self._look_at > LATE_SECONDS:
            self._look_after(LATE_SECONDS)
            return
        for link in list(takewhile(lambda each: each.due <= now, self._writing.values())):
            del self._writing[link.number]
            self._on_late(link)
        oldest = next(iter(self._writing.values()), None)
        if oldest is not None and not self._is_watching:
            self._look_after(oldest.due - now)
