"""Hosts and processes: what survives a crash and what does not.

A host has a Node-ID, addresses, a disk and a clock; a process is one life of a peer on it, with
a core and the numbers of its links. How they reach each other belongs in `network.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol, TypeAlias

from chordial_node.boundary.effects import Effect
from chordial_node.boundary.events import Address, Event
from chordial_node.ids import NodeId
from chordial_node.simulation.agenda import MICROSECONDS, Agenda
from chordial_node.simulation.disks import Disk

if TYPE_CHECKING:
    from chordial_node.simulation.flows import FlowEnd
    from chordial_node.simulation.links import LinkEnd

EPOCH = 1_700_000_000.0
"""Unix time at the start of every simulation."""


class Driven(Protocol):
    """What the world drives: `core.Core`, or anything of the same contract."""

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take an event and return what is to be done."""

    def deadline(self) -> float | None:
        """Return when the next turn is wanted."""


CoreFactory: TypeAlias = Callable[[Random], Driven]


class Clock:
    """The clocks of a host: a monotonic one that may run fast or slow, and a wall clock."""

    __slots__ = ("offset", "rate")

    def __init__(self, offset: float = 0.0, rate: float = 1.0) -> None:
        self.offset = offset
        """Seconds that the wall clock is wrong."""
        self.rate = rate
        """Seconds of this clock in one second of the world."""

    def monotonic(self, us: int) -> float:
        """Return what the monotonic clock shows at a time of the world."""
        return us * self.rate / MICROSECONDS

    def world_us(self, monotonic: float) -> int:
        """Return the first microsecond of the world at which the clock shows so much."""
        us = int(monotonic * MICROSECONDS / self.rate)
        while us * self.rate / MICROSECONDS < monotonic:
            us += 1
        return us

    @property
    def wall_offset(self) -> float:
        """What a process of this host adds to its monotonic clock to get Unix time."""
        return EPOCH + self.offset


class Process:
    """One life of a peer."""

    __slots__ = (
        "core",
        "dialing",
        "flows",
        "host",
        "is_running",
        "links",
        "next_accepted",
        "stalled_until_us",
        "turns",
        "wake_for",
        "wake_us",
    )

    def __init__(self, host: Host, core: Driven) -> None:
        self.host = host
        self.core = core
        self.is_running = True
        self.dialing: dict[int, None] = {}
        """Numbers of links and flows that were asked for and have no answer yet."""
        self.links: dict[int, LinkEnd] = {}
        self.flows: dict[int, FlowEnd] = {}
        self.next_accepted = 1
        self.wake_us: int | None = None
        """When the world will look at the core's deadline next."""
        self.wake_for = 0.0
        """The deadline that it will look for then."""
        self.stalled_until_us = 0
        self.turns = 0

    def accept(self) -> int:
        """Return the number of a link or flow that the edge accepts: odd, never used before."""
        number = self.next_accepted
        self.next_accepted += 2
        return number

    def __repr__(self) -> str:
        return f"Process({self.host.name})"


class Host:
    """A place where a peer lives, one process at a time."""

    def __init__(
        self,
        index: int,
        node_id: NodeId,
        name: str,
        address: Address,
        listeners: tuple[Address, ...],
        factory: CoreFactory,
        disk: Disk,
    ) -> None:
        self.index = index
        self.node_id = node_id
        self.name = name
        self.address = address
        """Where its overlay links are dialed."""
        self.listeners = listeners
        """Its SIP listeners' advertised addresses, in the order of the configuration."""
        self.factory = factory
        self.disk = disk
        self.clock = Clock()
        self.side = 0
        """Hosts of different sides do not reach each other."""
        self.is_on = False
        """Its kernel answers: it refuses what nobody listens to."""
        self.process: Process | None = None
        self.lives = 0
        self.stopped = ""
        """Why its last process ended by itself."""
        self.has_failed = False

    @property
    def is_up(self) -> bool:
        """Tell whether a process runs here."""
        return self.process is not None

    def __repr__(self) -> str:
        return f"Host({self.name})"


Schedule: TypeAlias = Agenda[Process, Event]
