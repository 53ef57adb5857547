"""Scenarios: what befalls the peers of a run, as a struct of named numbers and a plan.

The workload goes on meanwhile; who judges stands in the checkers. After the plan faults end, all
disks come back, and the run settles before its end is looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chordial_node.boundary.control import Drain
from chordial_node.simulation.agenda import MICROSECONDS, Draws, exponential_us
from chordial_node.simulation.calling import Calls
from chordial_node.simulation.checkers import Situation
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.network import Faults
from chordial_node.simulation.population import Population
from chordial_node.simulation.views import Views

_FIRST_JOIN_SECONDS = 6.0
_LEAVING_US = 2 * MICROSECONDS
"""A leave may take a minute; who leaves is not started again before."""


class Scenario(msgspec.Struct, frozen=True):
    """One kind of run."""

    name: str
    what: str
    """One line for people."""
    faults: Faults = Faults()
    session_seconds: float = 0.0
    """Mean life of a peer that is no founder; 0: they live on."""
    away_seconds: float = 30.0
    """Mean time between two lives."""
    crashed_part: float = 0.5
    """Part of sessions that end by a crash; the others leave with a handover."""
    silent_part: float = 0.25
    """Part of crashes in which the whole host goes silent."""
    crash_at_once: float = 0.0
    """Part of all peers that crash together in the middle of the run."""
    restart_all: bool = False
    """In the middle of the run every process is killed, and started again within two seconds."""
    split_seconds: float = 0.0
    """In the middle of the run half of the peers are cut off from the others for so long."""
    drain_every: float = 0.0
    """So many seconds after the last drain has ended, another peer that is no founder drains, and
    is started again later; the disk of one that has left is wiped. 0: nobody drains."""
    calls: Calls | None = None
    """What phones do, where it is not the usual."""
    max_expires_seconds: int = 0
    """The longest registration, where it is not the usual; it is the shortest as well."""
    is_calm: bool = False

    @property
    def only_drains(self) -> bool:
        """Tell whether nothing fails but that peers end as they should."""
        return self.drain_every > 0.0 and self.faults == Faults()


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("calm", "peers join, nothing fails, nobody leaves", is_calm=True),
        Scenario(
            "churn",
            "peers come, leave and crash; a packet in two hundred is lost; loops stall",
            faults=Faults(loss=0.005, stall_per_minute=6.0, clock_offset=1.0, clock_rate=0.0001),
            session_seconds=600.0,
        ),
        Scenario(
            "stalls",
            "lives of two minutes, and loops that stall for up to half a second",
            faults=Faults(loss=0.01, stall_per_minute=30.0, stall=0.5, clock_offset=1.0),
            session_seconds=100.0,
            away_seconds=15.0,
        ),
        Scenario(
            "crash-quarter",
            "a quarter of the peers goes silent at once and comes back a minute later",
            faults=Faults(stall_per_minute=2.0, clock_offset=0.5),
            crash_at_once=0.25,
        ),
        Scenario(
            "restart-all",
            "every process is killed at once and started again within two seconds",
            faults=Faults(clock_offset=0.5),
            restart_all=True,
        ),
        Scenario(
            "split",
            "the network falls into two halves for a minute and heals",
            faults=Faults(clock_offset=0.5),
            split_seconds=60.0,
        ),
        Scenario(
            "drain",
            "peers drain one after the other; phones behind a NAT and a Service call all the time",
            drain_every=10.0,
            calls=Calls(
                phones=12, calls_per_second=1.0, messages_per_second=0.5, behind_service=True
            ),
            max_expires_seconds=20,
        ),
    )
}


class Plan:
    """Carries a scenario out."""

    def __init__(
        self, scenario: Scenario, population: Population, views: Views, situation: Situation
    ) -> None:
        self.tell: Callable[[str], None] = lambda line: None
        """Gets one line for each thing that befalls a peer."""
        self._scenario = scenario
        self._population = population
        self._world = population.world
        self._views = views
        self._situation = situation
        self._draws = Draws(self._world.seed ^ 0x706C616E)
        self._is_running = False
        self._has_ended = False
        self._draining: dict[Host, None] = {}
        self._drained: list[Host] = []
        self._situation.only_drains = scenario.only_drains
        self._world.on_end.append(self._on_end)

    # the beginning

    def join_all(self, per_second: float) -> None:
        """Start the founders together, then everyone else at a rate."""
        population = self._population
        for host in population.founding_hosts:
            self._start_after(host, int(self._draws.random() * 0.5 * MICROSECONDS))
        for index, host in enumerate(population.hosts[len(population.founding_hosts) :]):
            self._start_after(host, int((_FIRST_JOIN_SECONDS + index / per_second) * MICROSECONDS))

    def begin(self, seconds: float) -> None:
        """Let befall the peers what the scenario says within the next seconds."""
        self._is_running = True
        scenario, world = self._scenario, self._world
        if scenario.session_seconds:
            for host in self._population.hosts[len(self._population.founding_hosts) :]:
                self._live(host)
        if scenario.crash_at_once:
            world.at(seconds / 3.0, self._crash_part)
        if scenario.restart_all:
            world.at(seconds / 3.0, self._restart_all)
        if scenario.split_seconds:
            world.at(seconds / 3.0, self._split)
        if scenario.drain_every:
            self._after_us(int(scenario.drain_every * MICROSECONDS), self._drain_one)
        self._repeat(scenario.faults.stall_per_minute, self._stall_one)
        self._repeat(scenario.faults.reset_per_minute, self._reset_one)

    def end(self) -> None:
        """End all faults and bring every host back."""
        self._is_running = False
        self._has_ended = True
        world = self._world
        world.network.faults = msgspec.structs.replace(
            world.network.faults, loss=0.0, stall_per_minute=0.0, reset_per_minute=0.0
        )
        self._heal()
        for host in self._population.down:
            self._start_after(host, int(self._draws.random() * 2.0 * MICROSECONDS))

    def _on_end(self, host: Host) -> None:
        if host in self._draining:
            del self._draining[host]
            self._drained.append(host)
            self.tell(f"{host.name} has ended: {host.stopped}")
            has_left = host.stopped == "left"
            if has_left:
                host.disk.wipe()
            self._start_after(host, int((20.0 if has_left else 2.0) * MICROSECONDS))
            self._after_us(int(self._scenario.drain_every * MICROSECONDS), self._drain_one)
        if self._has_ended:
            self._start_after(host, MICROSECONDS)

    def _drain_one(self) -> None:
        """Let a peer that has not drained yet leave; each third one but restarts."""
        hosts = self._population.hosts[len(self._population.founding_hosts) :]
        there = [host for host in hosts if self._views.in_ring(host)]
        if not self._is_running or not there:
            return
        last = self._drained[-len(hosts) // 2 :]
        host = self._population.pick([each for each in there if each not in last] or there)
        how = "restart" if len(self._drained) % 3 == 2 else "leave"
        self.tell(f"{host.name} drains, to {how}")
        self._draining[host] = None
        self._situation.leave(host)
        self._world.ask(host, Drain(restart=how == "restart"), lambda answer: None)

    # lives

    def _live(self, host: Host) -> None:
        mean_us = int(self._scenario.session_seconds * MICROSECONDS)
        self._after_us(exponential_us(self._draws, mean_us), lambda: self._end_life(host))

    def _end_life(self, host: Host) -> None:
        if not self._is_running:
            return
        scenario = self._scenario
        if host.process is not None and self._views.in_ring(host):
            if self._draws.random() < scenario.crashed_part:
                self.crash([host], silently=self._draws.random() < scenario.silent_part)
            else:
                self.tell(f"{host.name} leaves")
                self._situation.leave(host)
                self._world.stop(host, leave=True)
        away_us = exponential_us(self._draws, int(scenario.away_seconds * MICROSECONDS))
        self._after_us(1_000_000 + away_us, lambda: self._next_life(host))

    def _next_life(self, host: Host) -> None:
        if host in self._situation.leaving:
            self._after_us(_LEAVING_US, lambda: self._next_life(host))
            return
        self._start(host)
        if self._is_running:
            self._live(host)

    def crash(self, hosts: list[Host], *, silently: bool) -> None:
        """Let processes end together without a word of their own."""
        up = [host for host in hosts if host.process is not None]
        self._situation.fault(up)
        how = "falls silent" if silently else "is killed"
        self.tell(f"{', '.join(host.name for host in up)} {how}")

        def crash_all() -> None:
            for host in up:
                self._world.crash(host, silently=silently)

        self._views.together(crash_all)

    def _crash_part(self) -> None:
        up = self._population.running
        count = max(1, int(len(up) * self._scenario.crash_at_once))
        hosts = self._population.sample(up, count)
        self.crash(hosts, silently=True)
        for host in hosts:
            self._start_after(host, 60 * MICROSECONDS)

    def _restart_all(self) -> None:
        hosts = self._population.running
        self.crash(hosts, silently=False)
        for host in hosts:
            self._start_after(host, int(self._draws.random() * 2.0 * MICROSECONDS))

    def _split(self) -> None:
        population, world = self._population, self._world
        half = population.sample(population.hosts, len(population.hosts) // 2)
        self.tell(f"cut off: {', '.join(host.name for host in half)}")
        self._situation.cut(half)
        world.partition(half, 1)
        world.at(self._scenario.split_seconds, self._heal)

    def _heal(self) -> None:
        if self._world.is_split:
            self.tell("the halves see each other again")
            self._situation.heal()
            self._world.heal()

    # smaller faults

    def _stall_one(self) -> None:
        seconds = self._draws.random() * self._scenario.faults.stall
        up = self._population.running
        if up:
            self._situation.stall(seconds)
            self._world.stall(self._population.pick(up), seconds)

    def _reset_one(self) -> None:
        up = [host for host in self._population.running if host.process and host.process.links]
        if up:
            process = self._population.pick(up).process
            assert process is not None
            self._world.links.reset(next(iter(process.links.values())))

    def _repeat(self, per_minute: float, act: Callable[[], None]) -> None:
        if per_minute <= 0.0:
            return

        def again() -> None:
            if self._is_running:
                act()
                self._repeat(per_minute, act)

        self._after_us(exponential_us(self._draws, int(60 * MICROSECONDS / per_minute)), again)

    def _start_after(self, host: Host, us: int) -> None:
        self._after_us(us, lambda: self._start(host))

    def _start(self, host: Host) -> None:
        if host.process is None:
            self.tell(f"{host.name} starts{' again' if host.lives else ''}")
            self._situation.change()
            self._world.start(host)

    def _after_us(self, us: int, act: Callable[[], None]) -> None:
        self._world.agenda.do(self._world.now_us + us, act)
