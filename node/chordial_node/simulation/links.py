"""Simulated overlay links: dialed, accepted, written, cut, lost, each as the adapter tells it.

A link is a stream of frames, never reordered. While its two hosts cannot reach each other it
takes a window of bytes in silence and then no more, and is reset in the end. Whether a link is
wanted is for the core.
"""

from __future__ import annotations

from chordial_node.boundary.events import (
    Address,
    FrameReceived,
    FrameWritten,
    LinkFailed,
    LinkFailure,
    LinkLost,
    LinkOpened,
)
from chordial_node.ids import WILDCARD, NodeId
from chordial_node.simulation.agenda import MICROSECONDS
from chordial_node.simulation.hosts import Host, Process
from chordial_node.simulation.network import Network

_WRITE_US = 100
"""From a write to the word that the next one may come, when that takes a moment."""
_AT_ONCE = 16
"""One write in so many takes a moment; the others are taken at once, as a socket does."""
_WINDOW = 65_536
"""Bytes that a stream takes while nothing of them arrives."""
_DIAL_ONE_WAYS = 3
"""Trips of a packet before the accepting side has a link; the dialing one has it one later."""


class LinkEnd:
    """One end of an overlay link."""

    __slots__ = (
        "arrives_us",
        "held",
        "held_bytes",
        "is_open",
        "number",
        "other",
        "owed",
        "process",
    )

    def __init__(self, process: Process, number: int) -> None:
        self.process = process
        self.number = number
        self.other: LinkEnd = self
        self.is_open = True
        self.arrives_us = 0
        """When the last frame written here arrives at the other end."""
        self.held: list[bytes] = []
        """Frames written while the other end could not be reached."""
        self.held_bytes = 0
        self.owed = False
        """A FrameWritten waits for room."""


class SimulatedLinks:
    """All overlay links of the network."""

    def __init__(self, network: Network) -> None:
        self.frames = 0
        self.bytes = 0
        self.taken: list[LinkEnd] = []
        """Ends whose frame was taken at once: the world says so before the turn ends."""
        self._network = network
        self._agenda = network.agenda
        self._waiting: dict[LinkEnd, None] = {}
        """Open ends whose other end cannot be reached, or is gone without a word."""

    def open(self, process: Process, link: int, node: NodeId, address: Address) -> None:
        """Dial a peer's address."""
        assert link % 2 == 0, "the core numbers its links evenly"
        process.dialing[link] = None
        host = self._network.hosts.get(address)
        if host is None or not self._network.reaches(process.host, host):
            self._time_out(process, link)
            return
        one_way = self._network.delay_us(process.host, host)
        at_us = self._agenda.now_us + _DIAL_ONE_WAYS * one_way
        self._agenda.do(at_us, lambda: self._accept(process, link, node, host, one_way))

    def _time_out(self, process: Process, link: int) -> None:
        after_us = int(self._network.faults.dial_timeout * MICROSECONDS)
        failed = LinkFailed(link, LinkFailure.UNREACHABLE, "timed out")
        self._agenda.tell(self._agenda.now_us + after_us, process, failed)

    def _accept(self, process: Process, link: int, node: NodeId, host: Host, one_way: int) -> None:
        if not process.is_running or link not in process.dialing:
            return
        back_us = self._agenda.now_us + one_way
        if not self._network.reaches(process.host, host):
            self._time_out(process, link)
        elif host.process is None:
            refused = LinkFailed(link, LinkFailure.REFUSED, "connection refused")
            self._agenda.tell(back_us, process, refused)
        elif node not in (WILDCARD, host.node_id):
            reason = f"the certificate names {host.node_id.hex()}"
            self._agenda.tell(back_us, process, LinkFailed(link, LinkFailure.IDENTITY, reason))
        else:
            near, far = LinkEnd(process, link), LinkEnd(host.process, host.process.accept())
            near.other, far.other = far, near
            process.links[link] = near
            host.process.links[far.number] = far
            near.arrives_us, far.arrives_us = self._agenda.now_us, back_us
            accepted = LinkOpened(far.number, process.host.node_id, process.host.address)
            self._agenda.tell(self._agenda.now_us, host.process, accepted)
            self._agenda.tell(back_us, process, LinkOpened(link, host.node_id, host.address))

    def write(self, process: Process, link: int, data: bytes) -> None:
        """Take a frame for the other end of a link."""
        end = process.links.get(link)
        if end is None or not end.is_open:
            return  # its LinkLost is on the way
        self.frames += 1
        self.bytes += len(data)
        other = end.other
        if not end.held and self._network.reaches(process.host, other.process.host):
            if other.is_open:
                self._deliver(end, data)
            if self.frames % _AT_ONCE != 1:
                self.taken.append(end)
            else:
                self._tell_written(end)
            return
        end.held.append(data)
        end.held_bytes += len(data)
        if len(end.held) == 1:
            self._wait(end)
        if end.held_bytes <= _WINDOW:
            self._tell_written(end)
        else:
            end.owed = True

    def close(self, process: Process, link: int) -> None:
        """End a link from one side; the other hears of it when it can."""
        process.dialing.pop(link, None)
        end = process.links.pop(link, None)
        if end is not None and end.is_open:
            end.is_open = False
            self._waiting.pop(end, None)
            self._hang_up(end, "closed by the other side")

    def reset(self, end: LinkEnd) -> None:
        """Break a link for both of its ends, at once and for no reason."""
        self._lose(end, "connection reset")
        self._lose(end.other, "connection reset")

    def cut_off(self, process: Process, *, silently: bool) -> None:
        """A process is gone; others hear of it, unless its whole host went silent."""
        ends = list(process.links.values())
        process.links.clear()
        process.dialing.clear()
        for end in ends:
            was_open, end.is_open = end.is_open, False
            self._waiting.pop(end, None)
            if was_open and silently:
                self._wait(end.other)
            elif was_open:
                self._hang_up(end, "connection reset")

    def recheck(self) -> None:
        """Sides or hosts have changed: what was held goes out where it now can."""
        for end in list(self._waiting):
            if not self._network.reaches(end.process.host, end.other.process.host):
                continue
            del self._waiting[end]
            if not end.other.is_open:
                self._lose_later(end, "connection reset")
                continue
            held, end.held, end.held_bytes = end.held, [], 0
            for data in held:
                if end.other.is_open:
                    self._deliver(end, data)
            if end.owed:
                end.owed = False
                self._tell_written(end)

    def _tell_written(self, end: LinkEnd) -> None:
        self._agenda.tell(self._agenda.now_us + _WRITE_US, end.process, FrameWritten(end.number))

    def _deliver(self, end: LinkEnd, data: bytes) -> None:
        other, network, agenda = end.other, self._network, self._agenda
        us = agenda.now_us + network.delay_us(end.process.host, other.process.host)
        if network.faults.loss:
            us += network.repeats_us()
        if us < end.arrives_us:
            us = end.arrives_us
        end.arrives_us = us
        agenda.tell(us, other.process, FrameReceived(other.number, data))

    def _wait(self, end: LinkEnd) -> None:
        if end.is_open and end not in self._waiting:
            self._waiting[end] = None
            after_us = int(self._network.faults.reset_after * MICROSECONDS)
            self._agenda.do(self._agenda.now_us + after_us, lambda: self._reset_if_held(end))

    def _reset_if_held(self, end: LinkEnd) -> None:
        """Give up an end that has written and got nothing through since."""
        if end.held and end in self._waiting:
            other = end.other
            self._lose(end, "timed out")
            self._wait(other)

    def _hang_up(self, end: LinkEnd, reason: str) -> None:
        other = end.other
        if not other.is_open:
            return
        if self._network.reaches(end.process.host, other.process.host):
            self._lose_later(other, reason)
        else:
            self._wait(other)

    def _lose_later(self, end: LinkEnd, reason: str) -> None:
        """End a link behind everything that was written to this end."""
        us = self._agenda.now_us + self._network.delay_us(end.process.host, end.other.process.host)
        self._agenda.do(max(us, end.other.arrives_us), lambda: self._lose(end, reason))

    def _lose(self, end: LinkEnd, reason: str) -> None:
        if end.is_open:
            end.is_open = False
            self._waiting.pop(end, None)
            if end.process.is_running:
                lost = LinkLost(end.number, reason)
                self._agenda.tell(self._agenda.now_us, end.process, lost)
