"""One simulation from its seed to its result: join, workload and faults, settle, last look.

The function that `chordial simulate` and the tests call. Nothing is printed here.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from random import Random

import msgspec

from chordial_node.boundary.control import AskStatus, AskTrace, StatusAnswer
from chordial_node.config import NodeConfig
from chordial_node.core import Core
from chordial_node.ids import NodeId
from chordial_node.simulation.agenda import MICROSECONDS
from chordial_node.simulation.call_checkers import (
    CallChecker,
    CalmCall,
    NewestRegistration,
    RightPhone,
)
from chordial_node.simulation.calling import Calls, People
from chordial_node.simulation.checkers import (
    Bounded,
    CalmLookup,
    Checker,
    NoFault,
    Progress,
    Situation,
    Skipped,
    Violation,
)
from chordial_node.simulation.coverage import Coverage
from chordial_node.simulation.hosts import Driven, Host
from chordial_node.simulation.ledger import Ledger
from chordial_node.simulation.operations import Operation
from chordial_node.simulation.population import KEYS, MakeCore, Population
from chordial_node.simulation.ring_checkers import (
    LiveSuccessor,
    NoDuplicates,
    NoFalseDeath,
    OneFormation,
    OneOrderedRing,
    OrderedSuccessorLists,
    Principals,
    RingIdeal,
    TableTrue,
)
from chordial_node.simulation.scenarios import SCENARIOS, Plan, Scenario
from chordial_node.simulation.value_checkers import (
    AcknowledgedSeen,
    Expiry,
    NothingLost,
    StoreOnce,
    ValueChecker,
)
from chordial_node.simulation.views import Views
from chordial_node.simulation.workload import Load, Workload
from chordial_node.simulation.world import Trace, World

CHECKERS: tuple[type[Checker], ...] = (
    AcknowledgedSeen,
    Bounded,
    CalmCall,
    CalmLookup,
    Coverage,
    Expiry,
    LiveSuccessor,
    NewestRegistration,
    NoDuplicates,
    NoFalseDeath,
    NoFault,
    NothingLost,
    OneFormation,
    OneOrderedRing,
    OrderedSuccessorLists,
    Principals,
    Progress,
    RightPhone,
    RingIdeal,
    StoreOnce,
    TableTrue,
)
SETTLE_SECONDS = 60.0
_SELDOM = (200_000, 50, 100)
"""Thresholds of the cycle collector: thousands of tables live long, hardly a cycle is made."""
_JOIN_SECONDS = 10.0
"""Large populations join within about so long: events that come together share frames."""
_JOIN_LIMIT_SECONDS = 120.0
_QUIET_LIMIT_SECONDS = 200.0
"""A leave that began before the faults ended may take a minute, a start after it some seconds."""
_LOOK_LIMIT_SECONDS = 90.0
_MOST_LOOKERS = 50


class SimulationResult(msgspec.Struct, frozen=True):
    """What a run came to; keys as in the JSON of `chordial simulate`."""

    seed: int
    scenario: str
    peers: int
    minutes: float
    lookups: int
    lookup_failures: int
    mean_hops: float
    p99_hops: int
    puts: int
    puts_acknowledged: int
    gets: int
    gets_answered: int
    registers: int
    register_failures: int
    calls: int
    call_failures: int
    violations: tuple[Violation, ...]
    skipped: tuple[Skipped, ...]
    checked: dict[str, int]
    turns: int
    frames: int
    bytes: int
    digest: str

    @property
    def is_good(self) -> bool:
        """Tell whether every invariant held."""
        return not self.violations


def make_core(config: NodeConfig, own: NodeId, random: Random) -> Driven:
    """Return the product's own core."""
    return Core(config, own, KEYS, random)


def run(
    seed: int,
    *,
    peers: int = 50,
    minutes: float = 10.0,
    scenario: str = "churn",
    load: Load | None = None,
    calls: Calls | None = None,
    make: MakeCore = make_core,
    tell: Callable[[float, str], None] | None = None,
    trace: Trace | None = None,
) -> SimulationResult:
    """Run one simulation; the same arguments give the same result on every machine."""
    simulation = Simulation(seed, peers, minutes, SCENARIOS[scenario], load, calls, make, trace)
    if tell is not None:
        simulation.tell_to(tell)
    thresholds = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        return simulation.run()
    finally:
        gc.set_threshold(*thresholds)


class Simulation:
    """One run, its parts joined."""

    def __init__(
        self,
        seed: int,
        peers: int,
        minutes: float,
        scenario: Scenario,
        load: Load | None = None,
        calls: Calls | None = None,
        make: MakeCore = make_core,
        trace: Trace | None = None,
    ) -> None:
        self.world = World(seed, scenario.faults, trace)
        self.population = Population(self.world, peers, _made_for(scenario, make))
        self.views = Views(self.population)
        self.situation = Situation(self.population, self.views)
        self.situation.is_calm = scenario.is_calm
        self.ledger = Ledger()
        self.workload = Workload(self.population, self.views, self.ledger, load or Load())
        calls = calls or scenario.calls or Calls()
        self.people = People(self.population, self.views, self.workload, calls)
        self.plan = Plan(scenario, self.population, self.views, self.situation)
        self.checkers = [checker(self.situation) for checker in CHECKERS]
        for checker in self.checkers:
            if isinstance(checker, ValueChecker):
                checker.ledger = self.ledger
            if isinstance(checker, CallChecker):
                checker.watch(self.people)
        self.workload.on_operation.append(self._judge)
        self._scenario = scenario
        self._seconds = minutes * 60.0
        self._tell: Callable[[str], None] = lambda line: None

    def tell_to(self, tell: Callable[[float, str], None]) -> None:
        """Tell somebody what happens, line by line, with the virtual time."""
        self._tell = lambda line: tell(self.world.now, line)
        self.plan.tell = self._tell

    def run(self) -> SimulationResult:
        """Go through the phases of a run."""
        self.join()
        self.live()
        self.settle()
        self.look()
        return self.result()

    def join(self) -> None:
        """Found the ring and let everyone in."""
        count = len(self.population.hosts)
        self._tell(f"{count} peers start")
        self.plan.join_all(per_second=max(10.0, count / _JOIN_SECONDS))
        everyone = self._wait_for_everyone(_JOIN_LIMIT_SECONDS)
        self._tell(f"{len(self.views.members)} of {count} are in the ring")
        if not everyone:
            self._complain("Join", f"only {len(self.views.members)} of {count} joined")

    def live(self) -> None:
        """Let clients ask and the scenario happen."""
        self.workload.start()
        self.people.start()
        self.plan.begin(self._seconds)
        step = max(1.0, self._seconds / 20.0)
        end_us = self.world.now_us + int(self._seconds * MICROSECONDS)
        while self.world.now_us < end_us:
            self.world.run_until_us(min(end_us, self.world.now_us + int(step * MICROSECONDS)))
            tally = self.workload.tally
            self._tell(
                f"{len(self.views.members)} in the ring; {tally.lookups} lookups, "
                f"{tally.failures} failed, {tally.mean_hops:.3f} hops; "
                f"{tally.puts_acknowledged} of {tally.puts} puts acknowledged"
            )

    def settle(self) -> None:
        """End faults, bring everyone back, and let time pass."""
        self.plan.end()
        self.workload.stop()
        self._tell("faults end")
        if self._scenario.drain_every:  # calls end while phones still follow their edges
            self.people.be_quiet()
            self.world.run_for(SETTLE_SECONDS)
        if self.situation.was_cut:
            # Two sides accept one Call-ID for the first time at different moments, and the later
            # one wins the merge: the next refresh of the phone brings its newest binding back.
            self.people.be_quiet()
            self.world.run_for(SETTLE_SECONDS)
        self.people.stop()
        self.world.run_for(SETTLE_SECONDS)
        self.world.run_until(self._has_been_quiet, _QUIET_LIMIT_SECONDS)
        if not self._wait_for_everyone(SETTLE_SECONDS):
            up, count = len(self.views.members), len(self.population.hosts)
            self._complain("Join", f"only {up} of {count} are in the ring after the faults")

    def look(self) -> None:
        """Ask every peer for everything, and how it is."""
        self._tell("last look")
        self.ledger.is_last_look = True
        lookers = self.views.hosts_in_ring
        if len(lookers) > _MOST_LOOKERS:
            lookers = self.population.sample(lookers, _MOST_LOOKERS)
        for key in list(self.ledger.keys):
            for host in lookers:
                self.workload.get(host, key)
            self.world.run_for(0.05)
        for line in self.people.lines:
            for host in lookers:
                self.workload.ask(host, AskTrace(line.phone.aor), lambda operation: None)
            self.world.run_for(0.05)
        self.world.run_until(lambda: not self.workload.pending, _LOOK_LIMIT_SECONDS)
        statuses: dict[Host, StatusAnswer] = {}
        for host in self.population.running:
            answer = self.world.ask_and_wait(host, AskStatus(), 1.0)
            if isinstance(answer, StatusAnswer):
                statuses[host] = answer
            else:
                self._complain("Status", f"{host.name} does not say how it is: {answer}")
        for checker in self.checkers:
            checker.at_end(statuses)

    def result(self) -> SimulationResult:
        """Return what the run came to."""
        tally, people = self.workload.tally, self.people.tally
        for checker in self.checkers:
            if not checker.checked and not checker.skips:
                self._complain(checker.name, "this checker never looked")
        return SimulationResult(
            seed=self.world.seed,
            scenario=self._scenario.name,
            peers=len(self.population.hosts),
            minutes=self._seconds / 60.0,
            lookups=tally.lookups,
            lookup_failures=tally.failures,
            mean_hops=round(tally.mean_hops, 6),
            p99_hops=tally.p99_hops,
            puts=tally.puts,
            puts_acknowledged=tally.puts_acknowledged,
            gets=tally.gets,
            gets_answered=tally.gets_answered,
            registers=people.registers,
            register_failures=people.register_failures,
            calls=people.calls + people.messages,
            call_failures=people.call_failures + people.message_failures,
            violations=tuple(each for checker in self.checkers for each in checker.violations),
            skipped=tuple(each for checker in self.checkers for each in checker.skipped),
            checked={checker.name: checker.checked for checker in self.checkers},
            turns=self.world.turns,
            frames=self.world.links.frames,
            bytes=self.world.links.bytes,
            digest=self.world.digest,
        )

    def _wait_for_everyone(self, limit: float) -> bool:
        count = len(self.population.hosts)
        return self.world.run_until(lambda: len(self.views.members) == count, limit)

    def _has_been_quiet(self) -> bool:
        quiet_us = self.world.now_us - self.situation.last_change_us
        return quiet_us >= int(SETTLE_SECONDS * MICROSECONDS)

    def _judge(self, operation: Operation) -> None:
        for checker in self.checkers:
            checker.on_operation(operation)

    def _complain(self, invariant: str, what: str) -> None:
        self.checkers[0].violations.append(Violation(invariant, self.world.now, what))


def _made_for(scenario: Scenario, make: MakeCore) -> MakeCore:
    """Return what makes the peers of a scenario."""
    if not (seconds := scenario.max_expires_seconds):
        return make

    def made(config: NodeConfig, own: NodeId, random: Random) -> Driven:
        sip = msgspec.structs.replace(
            config.sip, max_expires_seconds=seconds, min_expires_seconds=seconds
        )
        return make(msgspec.structs.replace(config, sip=sip), own, random)

    return made
