"""What clients do: lookups, and values stored and fetched, at random peers of the ring.

Rates and numbers are one struct. Every question goes through the control service's own questions,
so that nothing of the core's inside is known here. What comes back goes to whoever judges.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chordial_node.boundary.control import (
    Answer,
    Get,
    Lookup,
    LookupAnswer,
    Put,
    Question,
    ValueAnswer,
)
from chordial_node.ids import ResourceId
from chordial_node.simulation.agenda import MICROSECONDS, Draws, exponential_us
from chordial_node.simulation.hosts import EPOCH, Host
from chordial_node.simulation.ledger import Attempt, KeyHistory, Ledger
from chordial_node.simulation.operations import Operation
from chordial_node.simulation.population import Population
from chordial_node.simulation.views import Views

OVERDUE_SECONDS = 60.0


class Load(msgspec.Struct, frozen=True):
    """How much clients ask for, of all peers together."""

    lookups_per_second: float = 5.0
    puts_per_second: float = 1.0
    gets_per_second: float = 2.0
    keys: int = 40
    """Values that are written again and again."""
    lifetime_seconds: float = 3600.0
    short_lifetime_seconds: float = 20.0
    """Every fourth key ends so soon."""


class Tally(msgspec.Struct):
    """What is counted of lookups."""

    lookups: int = 0
    failures: int = 0
    puts: int = 0
    puts_acknowledged: int = 0
    gets: int = 0
    gets_answered: int = 0
    hops: dict[int, int] = msgspec.field(default_factory=dict)

    @property
    def mean_hops(self) -> float:
        """The mean number of links that a lookup crossed."""
        count = sum(self.hops.values())
        return sum(hops * times for hops, times in self.hops.items()) / count if count else 0.0

    @property
    def p99_hops(self) -> int:
        """The number of links that 99 % of lookups do not exceed."""
        count = sum(self.hops.values())
        seen = 0
        for hops in sorted(self.hops):
            seen += self.hops[hops]
            if seen * 100 >= count * 99:
                return hops
        return 0


class Workload:
    """Clients of one run."""

    def __init__(self, population: Population, views: Views, ledger: Ledger, load: Load) -> None:
        self.ledger = ledger
        self.tally = Tally()
        self.on_operation: list[Callable[[Operation], None]] = []
        self.pending: dict[Operation, None] = {}
        self._population = population
        self._world = population.world
        self._views = views
        self._load = load
        self._draws = Draws(self._world.seed ^ 0x776F726B)
        self._is_running = False

    def start(self) -> None:
        """Begin to ask, and go on until `stop`."""
        self._is_running = True
        load = self._load
        for rate, act in (
            (load.lookups_per_second, self.lookup),
            (load.puts_per_second, self._put_some_key),
            (load.gets_per_second, self._get_some_key),
        ):
            if rate > 0.0:
                self._go_on(int(MICROSECONDS / rate), act)

    def stop(self) -> None:
        """Ask nothing more; what was asked may still be answered."""
        self._is_running = False

    def _go_on(self, mean_us: int, act: Callable[[], None]) -> None:
        def again() -> None:
            if self._is_running:
                act()
                self._go_on(mean_us, act)

        agenda = self._world.agenda
        agenda.do(agenda.now_us + exponential_us(self._draws, mean_us), again)

    # what is asked

    def lookup(self) -> None:
        """Look a random Resource-ID up."""
        resource = ResourceId(self._draws.getrandbits(128).to_bytes(16, "big"))
        host = self.some_host()
        if host is not None:
            self.ask(host, Lookup(resource), self._on_looked_up)

    def _on_looked_up(self, operation: Operation) -> None:
        answer, tally = operation.answer, self.tally
        if answer is None and not operation.is_overdue:
            return  # the asker itself died
        tally.lookups += 1
        if isinstance(answer, LookupAnswer):
            tally.hops[answer.hops] = tally.hops.get(answer.hops, 0) + 1
        else:
            tally.failures += 1

    def _put_some_key(self) -> None:
        index = self._draws.getrandbits(32) * self._load.keys >> 32
        history = self.ledger.key(b"key-%d" % index)
        host = self.some_host()
        if host is not None and not history.is_busy:
            is_short = index % 4 == 3
            load = self._load
            self.put(
                host, history, load.short_lifetime_seconds if is_short else load.lifetime_seconds
            )

    def put(self, host: Host, history: KeyHistory, lifetime_seconds: float) -> None:
        """Store the next value of a key through a peer."""
        world = self._world
        attempt = history.begin(world.now_us, EPOCH + world.now + lifetime_seconds)
        question = Put(history.key, attempt.value, lifetime_seconds, history.secret)
        self.ask(host, question, lambda operation: self._on_put(operation, history, attempt))

    def _on_put(self, operation: Operation, history: KeyHistory, attempt: Attempt) -> None:
        answer = operation.answer
        is_acknowledged = isinstance(answer, ValueAnswer)
        if isinstance(answer, ValueAnswer) and answer.expires_at:
            attempt.expires_at = answer.expires_at
        history.end(attempt, operation.ended_us, is_acknowledged=is_acknowledged)
        self.tally.puts += 1
        self.tally.puts_acknowledged += is_acknowledged

    def _get_some_key(self) -> None:
        names = list(self.ledger.keys)
        host = self.some_host()
        if names and host is not None:
            self.get(host, names[self._draws.getrandbits(32) * len(names) >> 32])

    def get(self, host: Host, key: bytes) -> None:
        """Fetch a key through a peer."""
        self.ask(host, Get(key), self._on_got)

    def _on_got(self, operation: Operation) -> None:
        self.tally.gets += 1
        self.tally.gets_answered += isinstance(operation.answer, ValueAnswer)

    # asking

    def ask(self, host: Host, question: Question, then: Callable[[Operation], None]) -> None:
        """Ask a peer; whoever judges sees the operation after `then` did."""
        world = self._world
        operation = Operation(host, question, world.now_us)
        self.pending[operation] = None

        def ended(answer: Answer | None) -> None:
            if operation in self.pending:
                del self.pending[operation]
                operation.answer = answer
                operation.ended_us = world.now_us
                then(operation)
                for judge in self.on_operation:
                    judge(operation)

        def overdue() -> None:
            if operation in self.pending:
                operation.is_overdue = True
                ended(None)

        world.ask(host, question, ended)
        world.at(OVERDUE_SECONDS, overdue)

    def some_host(self) -> Host | None:
        """Draw a host that is in the ring; None when there is none."""
        members = self._views.members
        if not members:
            return None
        population = self._population
        for _ in range(8):
            host = population.pick(population.hosts)
            if host.node_id in members:
                return host
        hosts = self._views.hosts_in_ring
        return population.pick(hosts) if hosts else None
