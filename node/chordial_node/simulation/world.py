"""The world: drives cores in virtual time and performs what they ask for.

It replaces clock, network, disk and chance, and nothing else: the core that runs here is the one
that runs in a node. One heap of (time, order, peer, event); the trace digest covers every event,
so that two runs of one seed can be compared. Faults and workload are chosen elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar, cast

import msgspec

from chordial_node.boundary.control import Answer, Question
from chordial_node.boundary.effects import (
    Answered,
    CloseFlow,
    CloseLink,
    Effect,
    Notice,
    OpenFlow,
    OpenLink,
    Persist,
    SendDatagram,
    Stopped,
    WriteFlow,
    WriteFrame,
)
from chordial_node.boundary.events import (
    Address,
    Asked,
    ClockStepped,
    DeadlineReached,
    Event,
    FrameReceived,
    FrameWritten,
    LoopLagged,
    Started,
    StopAsked,
)
from chordial_node.ids import NodeId
from chordial_node.simulation.agenda import MICROSECONDS, Agenda, Draws
from chordial_node.simulation.disks import Disk, DiskFaults
from chordial_node.simulation.flows import SimulatedFlows
from chordial_node.simulation.forgotten import FORGOTTEN
from chordial_node.simulation.hosts import CoreFactory, Host, Process, Schedule
from chordial_node.simulation.links import LinkEnd, SimulatedLinks
from chordial_node.simulation.network import Faults, Network

_NOTED = 2048
"""Parts of lines that the digest takes in together."""
_TRACED = 200
"""Characters of a line of the trace."""
_LAG_TOLD_FROM_US = 20_000
_encode = msgspec.msgpack.Encoder().encode


N = TypeVar("N", bound=Notice)
Trace: TypeAlias = Callable[[str], None]
"""Gets one line for each event that a core takes."""
Listener: TypeAlias = Callable[[Host, Notice], None]


class Observer(Protocol):
    """Reads everything that happens; whoever wants a few notices alone listens instead."""

    def on_notice(self, host: Host, notice: Notice) -> None:
        """See a notice of a peer."""

    def on_turn(self, host: Host, event: Event, effects: list[Effect]) -> None:
        """See a whole turn, after its effects were performed."""


class World:
    """Hosts, processes, a network and the time in which they live."""

    def __init__(self, seed: int, faults: Faults | None = None, trace: Trace | None = None) -> None:
        self.seed = seed
        self.agenda: Schedule = Agenda()
        self.random = Draws(seed)
        self.network = Network(self.agenda, Draws(seed ^ 0x6E6574), faults or Faults())
        self.links = SimulatedLinks(self.network)
        self.flows = SimulatedFlows(self.network)
        self.hosts: list[Host] = []
        self.is_split = False
        """Some hosts are cut off from others."""
        self.observers: list[Observer] = []
        self.on_end: list[Callable[[Host], None]] = []
        """Called after a process has ended, for whatever reason."""
        self.on_notices: list[Callable[[], None]] = []
        """Called after each turn in which a notice was told."""
        self._has_heard = False
        self._listeners: dict[type[Notice], list[Listener]] = {}
        self.turns = 0
        self._trace = trace
        self._digest = hashlib.blake2b(digest_size=16)
        self._noted: list[bytes] = []
        """What the digest takes in next."""
        self._answers: dict[tuple[int, int, int], Callable[[Answer | None], None]] = {}
        self._calls = 0

    # time

    @property
    def now_us(self) -> int:
        """Microseconds since the start."""
        return self.agenda.now_us

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.agenda.now_us / MICROSECONDS

    @property
    def digest(self) -> str:
        """The trace digest: equal for equal seeds, on every machine."""
        self._digest.update(b"".join(self._noted))
        self._noted.clear()
        return self._digest.hexdigest()

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something be done a number of seconds from now."""
        self.agenda.do(self.now_us + int(seconds * MICROSECONDS), action)

    def run_for(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run_until_us(self.now_us + int(seconds * MICROSECONDS))

    def run_until(self, condition: Callable[[], bool], limit: float = 60.0) -> bool:
        """Let time pass until something holds; False when it does not within the limit."""
        end_us = self.now_us + int(limit * MICROSECONDS)
        while not condition():
            next_us = self.agenda.next_us()
            if next_us is None or next_us > end_us:
                self.agenda.now_us = end_us
                return condition()
            self._meet(*self.agenda.take())
        return True

    def run_until_us(self, end_us: int) -> None:
        """Let everything happen up to a time."""
        agenda = self.agenda
        while (taken := agenda.take_until(end_us)) is not None:
            self._meet(*taken)
        agenda.now_us = end_us

    # who reads

    def listen(self, kind: type[N], heard: Callable[[Host, N], None]) -> None:
        """Tell somebody every notice of one type."""
        self._listeners.setdefault(kind, []).append(cast(Listener, heard))

    # hosts

    def add(
        self,
        node_id: NodeId,
        factory: CoreFactory,
        *,
        name: str = "",
        address: Address | None = None,
        listeners: tuple[Address, ...] = (),
        disk_faults: DiskFaults | None = None,
    ) -> Host:
        """Make a host; `start` runs its first process."""
        index = len(self.hosts)
        disk = Disk(Draws(self.seed ^ (index << 20) ^ 0x6469736B), disk_faults or DiskFaults())
        host = Host(
            index,
            node_id,
            name or f"p{index}",
            address or host_address(index),
            listeners,
            factory,
            disk,
        )
        self.network.add_host(host)
        self.hosts.append(host)
        return host

    def start(self, host: Host) -> Process:
        """Start a process on a host, now: its disk was read, nothing else is there."""
        assert host.process is None, f"{host.name} runs already"
        was_on, host.is_on = host.is_on, True
        host.lives += 1
        host.stopped = ""
        random = Draws(self.seed * 1_000_003 + host.index * 1_009 + host.lives)
        process = Process(host, host.factory(random))
        host.process = process
        if not was_on:
            self.links.recheck()
        started = Started(wall_offset=host.clock.wall_offset, records=host.disk.read())
        self.agenda.tell(self.now_us, process, started)
        return process

    def crash(self, host: Host, *, silently: bool = False) -> None:
        """Kill a process; silently: its host and all its connections go without a word."""
        if host.process is not None:
            self._end(host.process, silently=silently)

    def restart(self, host: Host) -> Process:
        """Kill a process and start the next one at once, with what is on the disk."""
        self.crash(host)
        return self.start(host)

    def stop(self, host: Host, *, leave: bool) -> None:
        """Ask a process to end."""
        if host.process is not None:
            self.agenda.tell(self.now_us, host.process, StopAsked(leave))

    def stall(self, host: Host, seconds: float) -> None:
        """Let a process do nothing for a while; it hears then that its loop was late."""
        process = host.process
        if process is None or process.stalled_until_us > self.now_us:
            return
        stall_us = int(seconds * MICROSECONDS)
        process.stalled_until_us = self.now_us + stall_us
        if stall_us >= _LAG_TOLD_FROM_US:
            lagged = LoopLagged(stall_us / MICROSECONDS)
            self.agenda.tell_first(process.stalled_until_us, process, lagged)

    def partition(self, hosts: list[Host], side: int) -> None:
        """Move hosts to a side of the network; only hosts of one side reach each other."""
        for host in hosts:
            host.side = side
        self.is_split = any(host.side != self.hosts[0].side for host in self.hosts)
        self.links.recheck()

    def heal(self) -> None:
        """Join all sides of the network."""
        self.partition(self.hosts, 0)

    def step_clock(self, host: Host, offset: float) -> None:
        """Set the wall clock of a host: wrong by so many seconds from now on."""
        host.clock.offset = offset
        if host.process is not None:
            stepped = ClockStepped(host.clock.wall_offset)
            self.agenda.tell(self.now_us, host.process, stepped)

    def ask(self, host: Host, question: Question, then: Callable[[Answer | None], None]) -> None:
        """Ask a peer; `then` gets the answer, or None when its process ends before."""
        if host.process is None:
            then(None)
            return
        self._calls += 1
        self._answers[(host.index, host.lives, self._calls)] = then
        self.agenda.tell(self.now_us, host.process, Asked(self._calls, question))

    def ask_and_wait(self, host: Host, question: Question, limit: float = 30.0) -> Answer | None:
        """Ask a peer and let time pass until it answers; None when it does not."""
        answers: list[Answer | None] = []
        self.ask(host, question, answers.append)
        self.run_until(lambda: bool(answers), limit)
        return answers[0] if answers else None

    @property
    def running(self) -> list[Host]:
        """The hosts on which a process runs, in the order of their making."""
        return [host for host in self.hosts if host.process is not None]

    # what happens

    def _meet(self, order: int, process: Process | None, what: Event | Callable[[], None]) -> None:
        """Let one thing happen."""
        if process is None:
            cast(Callable[[], None], what)()
        elif process.is_running:
            event = cast(Event, what)
            if process.stalled_until_us > self.agenda.now_us:
                self.agenda.put_back(process.stalled_until_us, order, process, event)
            elif event is _DEADLINE:
                self._wake(process)
            elif type(event) is FrameReceived:
                if event.link in process.links:
                    self._turn(process, event)
            else:
                is_forgotten = FORGOTTEN.get(type(event))
                if is_forgotten is None or not is_forgotten(process, event):
                    self._turn(process, event)

    def _wake(self, process: Process) -> None:
        now_us = self.agenda.now_us
        if process.wake_us is None or process.wake_us > now_us:
            return  # another wake comes in its place
        process.wake_us = None
        deadline = process.core.deadline()
        if deadline is not None and process.host.clock.world_us(deadline) <= now_us:
            self._turn(process, _DEADLINE)
        else:
            self._set_wake(process, deadline)

    def _turn(self, process: Process, event: Event) -> None:
        agenda = self.agenda
        host = process.host
        self.turns += 1
        process.turns += 1
        if type(event) is FrameReceived:
            self._note(b"%d %d F%d " % (agenda.now_us, host.index, event.link), event.data)
        elif event is _DEADLINE:
            self._note(b"%d %d D" % (agenda.now_us, host.index), b"")
        else:
            name = _NAMES[type(event)]
            self._note(b"%d %d %s " % (agenda.now_us, host.index, name), _encode(event))
        self._handle(process, host.clock.monotonic(agenda.now_us), event)
        taken = self.links.taken
        if taken:
            self._tell_taken(process, taken)
        if self._has_heard:
            self._has_heard = False
            for look in self.on_notices:
                look()
        if process.is_running:
            self._set_wake(process, process.core.deadline())

    def _handle(self, process: Process, now: float, event: Event) -> None:
        """Let a core take an event, and do what it asks for."""
        host = process.host
        if self._trace is not None:
            self._trace(f"{self.now:.6f} {host.name} {event}"[:_TRACED])
        try:
            effects = process.core.handle(now, event)
        except Exception as error:
            error.add_note(f"seed {self.seed}, {self.now:.6f} s, {host.name}: {event}"[:500])
            raise
        for effect in effects:
            if type(effect) is WriteFrame:
                self.links.write(process, effect.link, effect.data)
            else:
                PERFORMERS.get(type(effect), _observe)(self, process, effect)
        for observer in self.observers:
            observer.on_turn(host, event, effects)

    def _tell_taken(self, process: Process, taken: list[LinkEnd]) -> None:
        """Let the next frames go where those of this turn were taken at once."""
        now = process.host.clock.monotonic(self.agenda.now_us)
        for end in taken:  # it grows while frames follow
            if end.is_open and process.is_running and end.number in process.links:
                self.turns += 1
                process.turns += 1
                self._note(b"W%d " % end.number, b"")
                self._handle(process, now, FrameWritten(end.number))
        taken.clear()

    def _note(self, line: bytes, body: bytes) -> None:
        """Take an event into the trace digest."""
        noted = self._noted
        noted.append(line)
        noted.append(body)
        if len(noted) >= _NOTED:
            self._digest.update(b"".join(noted))
            noted.clear()

    def _set_wake(self, process: Process, deadline: float | None) -> None:
        if deadline is None or (process.wake_us is not None and deadline >= process.wake_for):
            return  # the world looks again before
        wake_us = process.host.clock.world_us(deadline)
        if wake_us <= self.agenda.now_us:
            wake_us = self.agenda.now_us + 1
        if process.wake_us is None or wake_us < process.wake_us:
            process.wake_us = wake_us
            process.wake_for = deadline
            self.agenda.tell(wake_us, process, _DEADLINE)

    def _end(self, process: Process, *, silently: bool) -> None:
        host = process.host
        process.is_running = False
        host.process = None
        self.links.cut_off(process, silently=silently)
        self.flows.cut_off(process, silently=silently)
        if silently:
            host.is_on = False
        host.disk.cut_off()
        for key in list(self._answers):
            if key[:2] == (host.index, host.lives):
                self._answers.pop(key)(None)
        for ended in self.on_end:
            ended(host)

    # what cores ask for

    def stopped(self, process: Process, effect: Stopped) -> None:
        """Perform Stopped: the process ends."""
        process.host.stopped = effect.reason
        process.host.has_failed = effect.failed
        self._end(process, silently=False)

    def answered(self, process: Process, effect: Answered) -> None:
        """Perform Answered: whoever asked gets the answer, exactly once."""
        host = process.host
        self._answers.pop((host.index, host.lives, effect.call))(effect.answer)

    def persist(self, process: Process, effect: Persist) -> None:
        """Perform Persist: the host's disk commits it in a while."""
        agenda = self.agenda
        process.host.disk.persist(
            effect,
            lambda after_us, finish: agenda.do(agenda.now_us + after_us, finish),
            lambda event: agenda.tell(agenda.now_us, process, event),
        )

    def observe(self, process: Process, notice: Notice) -> None:
        """Perform a notice: those who listen hear it."""
        self._has_heard = True
        for heard in self._listeners.get(type(notice), ()):
            heard(process.host, notice)
        for observer in self.observers:
            observer.on_notice(process.host, notice)


def host_address(index: int, port: int = 6084) -> Address:
    """Return the address of the host with this number."""
    return (f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}", port)


_DEADLINE = DeadlineReached()
_NAMES = {kind: kind.__name__.encode() for kind in Event.__subclasses__()}

Performer: TypeAlias = Callable[[World, Process, Effect], None]
F = TypeVar("F", bound=Effect)


def _performs(kind: type[F], perform: Callable[[World, Process, F], None]) -> Performer:
    del kind
    return cast(Performer, perform)


_observe = _performs(Notice, World.observe)

PERFORMERS: dict[type[Effect], Performer] = {
    OpenLink: _performs(
        OpenLink, lambda world, by, do: world.links.open(by, do.link, do.node, do.address)
    ),
    WriteFrame: _performs(
        WriteFrame, lambda world, by, do: world.links.write(by, do.link, do.data)
    ),
    CloseLink: _performs(CloseLink, lambda world, by, do: world.links.close(by, do.link)),
    Persist: _performs(Persist, World.persist),
    SendDatagram: _performs(
        SendDatagram,
        lambda world, by, do: world.network.send_datagram(by, do.listener, do.destination, do.data),
    ),
    OpenFlow: _performs(
        OpenFlow,
        lambda world, by, do: world.flows.open(by, do.flow, do.listener, do.address, do.node),
    ),
    WriteFlow: _performs(WriteFlow, lambda world, by, do: world.flows.write(by, do.flow, do.data)),
    CloseFlow: _performs(CloseFlow, lambda world, by, do: world.flows.close(by, do.flow)),
    Answered: _performs(Answered, World.answered),
    Stopped: _performs(Stopped, World.stopped),
    Notice: _observe,
}
"""How each effect is performed in virtual time; every subclass of Notice is only observed."""
