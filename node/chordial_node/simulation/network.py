"""The simulated network: who reaches whom, how long a packet takes, and what goes wrong.

Faults are one struct of named numbers; who is cut off from whom is a side of each host. Datagrams
are here; streams with their two ends are in `links.py` and `flows.py`. No core is known here.
"""

from __future__ import annotations

from random import Random
from typing import Protocol

import msgspec

from chordial_node.boundary.events import Address, DatagramReceived
from chordial_node.simulation.agenda import MICROSECONDS
from chordial_node.simulation.hosts import Host, Process, Schedule

_MOST_REPEATS = 5


class Faults(msgspec.Struct, frozen=True):
    """What goes wrong, in named numbers. Times are seconds."""

    latency: float = 0.000_25
    """One way."""
    jitter: float = 0.000_1
    """Up to so much more, evenly."""
    spread: float = 0.0
    """Each pair of hosts has up to so much more, always the same."""
    loss: float = 0.0
    """Part of packets that are lost: a datagram is gone, a frame comes a repeat later."""
    repeat: float = 0.2
    """What a lost packet of a stream costs; twice as much each time more."""
    dial_timeout: float = 2.0
    """A dial is given up after this long when nothing answers."""
    reset_after: float = 15.0
    """A stream that gets nothing through for so long is reset."""
    reset_per_minute: float = 0.0
    """Streams that break for no reason, each a minute in the whole network."""
    stall_per_minute: float = 0.0
    """Stalls of processes, each a minute in the whole network."""
    stall: float = 0.3
    """The longest stall."""
    clock_offset: float = 0.0
    """The wall clocks of hosts are wrong by up to so much."""
    clock_rate: float = 0.0
    """The clocks of hosts run fast or slow by up to this part."""


class Endpoint(Protocol):
    """Something with an address that is no peer: a simulated phone."""

    def on_datagram(self, source: Address, data: bytes) -> None:
        """Take a datagram."""


class Network:
    """All that lies between hosts and phones."""

    def __init__(self, agenda: Schedule, random: Random, faults: Faults) -> None:
        self.faults = faults
        self.agenda = agenda
        self.hosts: dict[Address, Host] = {}
        """By overlay address."""
        self.listeners: dict[Address, tuple[Host, int]] = {}
        """By address: a host and the number of its SIP listener."""
        self.datagrams = 0
        self._random = random
        self._phones: dict[Address, Endpoint] = {}
        self._pairs: dict[tuple[int, int], int] = {}

    def add_host(self, host: Host) -> None:
        """Make a host's addresses known."""
        assert host.address not in self.hosts
        self.hosts[host.address] = host
        for index, address in enumerate(host.listeners):
            self.listeners[address] = (host, index)

    def add_phone(self, address: Address, phone: Endpoint) -> None:
        """Make a phone's address known."""
        self._phones[address] = phone

    def reaches(self, one: Host, other: Host) -> bool:
        """Tell whether packets of one host reach another, and back."""
        return one.side == other.side and one.is_on and other.is_on

    def delay_us(self, one: Host | None, other: Host | None) -> int:
        """Draw how long a packet takes."""
        faults = self.faults
        us = int((faults.latency + faults.jitter * self._random.random()) * MICROSECONDS)
        if faults.spread and one is not None and other is not None:
            us += self._pair_us(one, other)
        return us

    def repeats_us(self) -> int:
        """Draw how much later a frame comes because packets of it were lost."""
        loss = self.faults.loss
        lost = 0
        while loss and lost < _MOST_REPEATS and self._random.random() < loss:
            lost += 1
        return int(self.faults.repeat * MICROSECONDS) * ((1 << lost) - 1)

    def send_datagram(self, process: Process, listener: int, to: Address, data: bytes) -> None:
        """Send a datagram from a listener of a peer."""
        self.datagram(process.host.listeners[listener], to, data, process.host)

    def datagram(
        self, source: Address, to: Address, data: bytes, sender: Host | None = None
    ) -> None:
        """Send a datagram from anywhere to anywhere; it may be lost."""
        self.datagrams += 1
        if self.faults.loss and self._random.random() < self.faults.loss:
            return
        at_us = self.agenda.now_us + self.delay_us(None, None)
        self.agenda.do(at_us, lambda: self._arrive(source, to, data, sender))

    def _arrive(self, source: Address, to: Address, data: bytes, sender: Host | None) -> None:
        phone = self._phones.get(to)
        if phone is not None:
            phone.on_datagram(source, data)
        elif to in self.listeners:
            host, listener = self.listeners[to]
            is_reached = host.is_on if sender is None else self.reaches(sender, host)
            if is_reached and host.process is not None:
                event = DatagramReceived(listener, source, data)
                self.agenda.tell(self.agenda.now_us, host.process, event)

    def _pair_us(self, one: Host, other: Host) -> int:
        pair = (min(one.index, other.index), max(one.index, other.index))
        us = self._pairs.get(pair)
        if us is None:
            us = int(self._random.random() * self.faults.spread * MICROSECONDS)
            self._pairs[pair] = us
        return us
