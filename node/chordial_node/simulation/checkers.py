"""Checkers carry the names of the invariants of the protocol; each counts how often it looked.

A checker whose precondition is broken counts what it skipped; one that never looked fails the run.
What is checked about the ring and about values stands in the two modules beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from chordial_node.boundary.control import Lookup, LookupAnswer, Refused, StatusAnswer
from chordial_node.boundary.effects import Effect, OpenLink, WriteFrame
from chordial_node.boundary.events import Event, FrameWritten, LinkLost
from chordial_node.boundary.notices import ProcedureFaulted
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.operations import Operation
from chordial_node.simulation.population import Population
from chordial_node.simulation.views import Views

MOST_NAMED = 5
"""Violations of one checker that are told in words; the rest is only counted."""


class Violation(msgspec.Struct, frozen=True):
    """An invariant that did not hold."""

    invariant: str
    at: float
    """Virtual seconds."""
    what: str


class Skipped(msgspec.Struct, frozen=True):
    """An invariant that was not looked at, because what it presumes did not hold."""

    invariant: str
    times: int
    why: str


class Situation:
    """What checkers know of a run beside what the peers tell: who was made to fail, and when."""

    def __init__(self, population: Population, views: Views) -> None:
        self.population = population
        self.views = views
        self.world = population.world
        self.world.on_end.append(self._on_end)
        self.is_calm = False
        """No fault of any kind was, or will be, part of this run."""
        self.only_drains = False
        """Nothing fails in this run, but peers drain."""
        self.was_cut = False
        """The network was split at some time of this run."""
        self.last_fault_us = 0
        self.last_change_us = 0
        """When a process started or ended last, for whatever reason."""
        self.before_fault: list[Callable[[list[Host]], None]] = []
        """Called before hosts are made to fail together."""
        self.leaving: dict[Host, None] = {}
        """Hosts that were asked to leave and have not ended yet."""
        self.on_stall: list[Callable[[float], None]] = []
        """Called with the seconds of each stall, as it begins."""

    def _on_end(self, host: Host) -> None:
        self.leaving.pop(host, None)
        self.change()

    def fault(self, hosts: list[Host]) -> None:
        """Note that hosts are about to fail together."""
        self.last_fault_us = self.last_change_us = self.world.now_us
        for about in self.before_fault:
            about(hosts)

    def stall(self, seconds: float) -> None:
        """Note that a process stalls for so long."""
        for heard in self.on_stall:
            heard(seconds)

    def cut(self, hosts: list[Host]) -> None:
        """Note that hosts are about to be cut off from the others."""
        self.was_cut = True
        self.fault(hosts)

    def heal(self) -> None:
        """Note that all reach each other again, from now on."""
        self.last_fault_us = self.last_change_us = self.world.now_us

    def leave(self, host: Host) -> None:
        """Note that a host is about to be asked to leave."""
        self.change()
        self.leaving[host] = None

    def change(self) -> None:
        """Note that a process starts or ends."""
        self.last_change_us = self.world.now_us


class Checker:
    """One invariant."""

    name: ClassVar[str] = ""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.world = situation.world
        self.views = situation.views
        self.checked = 0
        self.violated = 0
        self.violations: list[Violation] = []
        self.skips: dict[str, int] = {}

    def check(self, holds: bool, what: str, *of: object) -> None:
        """Look once: note a violation when it does not hold, in the words of a format string."""
        self.checked += 1
        if not holds:
            self.violated += 1
            if len(self.violations) < MOST_NAMED:
                violation = Violation(self.name, self.world.now, what.format(*of))
                self.violations.append(violation)

    def skip(self, why: str) -> None:
        """Count that a precondition was broken."""
        self.skips[why] = self.skips.get(why, 0) + 1

    def on_operation(self, operation: Operation) -> None:
        """See an operation of the workload that has ended."""

    def at_end(self, statuses: dict[Host, StatusAnswer]) -> None:
        """Look at the end of the run, when everything has settled."""

    @property
    def skipped(self) -> list[Skipped]:
        """What was skipped and why."""
        return [Skipped(self.name, times, why) for why, times in self.skips.items()]


class CalmLookup(Checker):
    """In a calm run no lookup fails, none is sent again, and none crosses more than two links."""

    name = "CalmLookup"

    def on_operation(self, operation: Operation) -> None:
        """Check a lookup."""
        if not isinstance(operation.question, Lookup):
            return
        if not self.situation.is_calm:
            self.skip("the run is not calm")
            return
        answer = operation.answer
        is_found = isinstance(answer, LookupAnswer) and answer.hops <= 2
        self.check(is_found, "{}: lookup ended with {}", operation.host.name, answer)

    def at_end(self, statuses: dict[Host, StatusAnswer]) -> None:
        """Check that nothing was sent again."""
        if self.situation.is_calm:
            resent = sum(status.counters["requests_resent"] for status in statuses.values())
            self.check(resent == 0, "{} requests were sent again", resent)


class Bounded(Checker):
    """No turn asks for too much, no frame is too large, one frame at a time is on each link."""

    name = "Bounded"
    MOST_EFFECTS_OF_A_TURN = 10_000
    MOST_BYTES_OF_A_FRAME = 4 * 1024 * 1024

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self._written: dict[tuple[int, int, int], None] = {}
        self.world.observers.append(self)

    def on_notice(self, host: Host, notice: object) -> None:
        """Notices are no matter of bounds."""

    def on_turn(self, host: Host, event: Event, effects: list[Effect]) -> None:
        """Check what a turn asked for."""
        if type(event) is FrameWritten or type(event) is LinkLost:
            self._written.pop((host.index, host.lives, event.link), None)
        self.checked += 1
        if not effects:
            return
        if len(effects) > self.MOST_EFFECTS_OF_A_TURN:
            self.check(False, "{}: {} effects of one {}", host.name, len(effects), event)
        for effect in effects:
            if type(effect) is WriteFrame:
                key = (host.index, host.lives, effect.link)
                if key in self._written:
                    self.check(False, "{}: two frames on link {}", host.name, key[2])
                self._written[key] = None
                if len(effect.data) > self.MOST_BYTES_OF_A_FRAME:
                    self.check(False, "{}: a frame of {} bytes", host.name, len(effect.data))
            elif type(effect) is OpenLink:
                links = len(host.process.links) if host.process is not None else 0
                most = 2 * self.situation.population.config(host.index).overlay.max_links
                if links > most:
                    self.check(False, "{}: {} links", host.name, links)


class Progress(Checker):
    """Every question is answered or refused in bounded time while its peer runs."""

    name = "Progress"
    LONGEST_SECONDS = 20.0

    def on_operation(self, operation: Operation) -> None:
        """Check how long it took."""
        if operation.answer is None and not operation.is_overdue:
            self.skip("the asked process ended")
            return
        took = operation.seconds
        self.check(
            took <= self.LONGEST_SECONDS and not operation.is_overdue,
            "{}: {} took {:.3f} s",
            operation.host.name,
            operation.question,
            took,
        )


class NoFault(Checker):
    """No procedure of a core ends by a fault of our own."""

    name = "NoFault"

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation)
        self.world.listen(ProcedureFaulted, self._on_fault)

    def _on_fault(self, host: Host, notice: ProcedureFaulted) -> None:
        where = (notice.procedure, notice.error, notice.where)
        self.check(False, "{}: {}: {} at {}", host.name, *where)

    def at_end(self, statuses: dict[Host, StatusAnswer]) -> None:
        """Check what the peers counted themselves."""
        for host, status in statuses.items():
            faults = status.counters["procedure_faults"]
            self.check(faults == 0, "{} counts {} faults", host.name, faults)


def is_refused(answer: object) -> bool:
    """Tell whether a peer refused a question."""
    return answer is None or isinstance(answer, Refused)
