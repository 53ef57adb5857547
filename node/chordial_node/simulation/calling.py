"""What people with phones do: be registered, call each other, write each other.

Users are made through the control service, everything else is SIP over the simulated network. The
book keeps what was acknowledged to each phone, for the checkers to compare.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chordial_node.boundary.control import Done, SetUser
from chordial_node.security.credentials import make_credentials, seal_credentials
from chordial_node.simulation.agenda import MICROSECONDS, Draws, below, exponential_us
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.operations import Operation
from chordial_node.simulation.phones import Outcome, Phone
from chordial_node.simulation.population import DOMAIN, KEYS, Population
from chordial_node.simulation.service import Service
from chordial_node.simulation.views import Views
from chordial_node.simulation.workload import Workload

REFUSED_AGAIN_SECONDS = 2.0
READY_SECONDS = 3.0


class Calls(msgspec.Struct, frozen=True):
    """How much people do, all together."""

    phones: int = 6
    expires_seconds: int = 120
    refresh_seconds: float = 30.0
    """A phone registers anew, at a random peer, about this often."""
    calls_per_second: float = 0.2
    messages_per_second: float = 0.2
    hold_seconds: float = 5.0
    behind_service: bool = False
    """Phones are behind a NAT, and reach the peers by one address, as that of a Service: each
    keeps its peer until that goes unready, and is reached by it alone. They come again when two
    thirds of what was granted is over."""


class Line(msgspec.Struct):
    """A phone and what it was told."""

    phone: Phone
    edge: int = 0
    """Number of the peer that it uses."""
    has_edge: bool = False
    has_credentials: bool = False
    asked: int = 0
    """CSeq of the last REGISTER that was sent."""
    acknowledged: int = 0
    """CSeq of the last REGISTER that was answered with 200."""
    expires_us: int = 0
    """When what was acknowledged last ends."""


class CallTally(msgspec.Struct):
    """What is counted of phones."""

    registers: int = 0
    register_failures: int = 0
    calls: int = 0
    call_failures: int = 0
    messages: int = 0
    message_failures: int = 0


class People:
    """All phones of a run."""

    def __init__(
        self, population: Population, views: Views, workload: Workload, calls: Calls
    ) -> None:
        self.tally = CallTally()
        self.on_call: list[Callable[[Line, Line, Outcome], None]] = []
        """Called when a call or a message has its final answer."""
        self._population = population
        self._world = population.world
        self._views = views
        self._workload = workload
        self._calls = calls
        self._draws = Draws(self._world.seed ^ 0x63616C6C)
        self._is_running = False
        self._is_quiet = False
        self._service = Service(population, self._draws)
        self._service.on_gone = self._on_edge_gone
        self.lines = [self._line(index) for index in range(calls.phones)]

    def start(self) -> None:
        """Let users be made and phones registered; then they call."""
        self._is_running = True
        if (
            self._calls.behind_service
        ):  # when all peers take new flows: then they stay where they are
            self._world.at(READY_SECONDS, self._make_users)
        else:
            self._make_users()
        calls = self._calls
        for rate, act in (
            (calls.calls_per_second, self._call),
            (calls.messages_per_second, self._write),
        ):
            if rate > 0.0:
                self._go_on(int(MICROSECONDS / rate), act)

    def be_quiet(self) -> None:
        """Call and write nobody any more; phones stay registered."""
        self._is_quiet = True

    def stop(self) -> None:
        """Begin nothing more."""
        self._is_running = False

    def _line(self, index: int) -> Line:
        user = f"user{index}"
        address = (f"192.0.2.{index + 1}", 5060)
        contact = f"sip:{user}@192.168.0.{index + 1}:5060" if self._calls.behind_service else ""
        return Line(Phone(self._world, user, f"password of {user}", address, contact))

    def _go_on(self, mean_us: int, act: Callable[[], None]) -> None:
        def again() -> None:
            if self._is_running and not self._is_quiet:
                act()
                self._go_on(mean_us, act)

        agenda = self._world.agenda
        agenda.do(agenda.now_us + exponential_us(self._draws, mean_us), again)

    # being there

    def _make_users(self) -> None:
        for line in self.lines:
            self._make_user(line)

    def _make_user(self, line: Line) -> None:
        user = line.phone.user
        credentials = make_credentials(user, DOMAIN, f"password of {user}")
        nonce = self._draws.getrandbits(96).to_bytes(12, "big")
        question = SetUser(user, DOMAIN, seal_credentials(KEYS, credentials, nonce))

        def made(operation: Operation) -> None:
            line.has_credentials = isinstance(operation.answer, Done)
            if line.has_credentials:
                self._register(line)
            elif self._is_running:
                self._world.at(REFUSED_AGAIN_SECONDS, lambda: self._make_user(line))

        host = self._workload.some_host()
        if host is None:
            self._world.at(REFUSED_AGAIN_SECONDS, lambda: self._make_user(line))
        else:
            self._workload.ask(host, question, made)

    def _register(self, line: Line) -> None:
        if not self._is_running:
            return
        host = self._edge_for(line)
        if host is None:
            self._world.at(REFUSED_AGAIN_SECONDS, lambda: self._register(line))
            return
        self._attach(line, host)
        cseq = 0

        def ended(outcome: Outcome) -> None:
            self.tally.registers += 1
            if outcome.status == 200:
                line.acknowledged = max(line.acknowledged, cseq)
                lasts_us = (outcome.expires or self._calls.expires_seconds) * MICROSECONDS
                line.expires_us = self._world.now_us - int(outcome.seconds * MICROSECONDS)
                line.expires_us += lasts_us
                again = self._comes_again_after(outcome)
            else:
                self.tally.register_failures += 1
                again = REFUSED_AGAIN_SECONDS
            self._world.at(again, lambda: self._register(line))

        expires = self._calls.expires_seconds
        cseq = line.asked = line.phone.register(host.listeners[0], expires, ended)

    def _comes_again_after(self, outcome: Outcome) -> float:
        if self._calls.behind_service:
            return outcome.expires * (0.6 + 0.15 * self._draws.random())
        return self._calls.refresh_seconds * (0.5 + self._draws.random())

    def _edge_for(self, line: Line) -> Host | None:
        if not self._calls.behind_service:
            return self._workload.some_host()
        edge = self._population.hosts[line.edge]
        return edge if line.has_edge and self._service.serves(edge) else self._service.pick()

    def _attach(self, line: Line, host: Host) -> None:
        line.edge = host.index
        line.has_edge = True
        if self._calls.behind_service:
            line.phone.flow = host.listeners[0]

    def _on_edge_gone(self, host: Host) -> None:
        """What a Service does: the next packet of each of its phones goes to another peer."""
        for line in self.lines if self._calls.behind_service else ():
            if line.has_edge and line.edge == host.index:
                other = self._service.pick()
                line.has_edge = other is not None
                if other is not None:
                    self._attach(line, other)

    # talking

    def _pair(self) -> tuple[Line, Line] | None:
        there = [line for line in self.lines if line.acknowledged]
        if len(there) < 2:
            return None
        first = below(self._draws, len(there))
        second = (first + 1 + below(self._draws, len(there) - 1)) % len(there)
        return there[first], there[second]

    def _call(self) -> None:
        pair = self._pair()
        if pair is None:
            return
        caller, callee = pair

        def ended(outcome: Outcome) -> None:
            self.tally.calls += 1
            self.tally.call_failures += not 200 <= outcome.status < 300
            self._judge(caller, callee, outcome)

        edge = self._population.hosts[caller.edge].listeners[0]
        caller.phone.call(edge, callee.phone.aor, self._calls.hold_seconds, ended)

    def _write(self) -> None:
        pair = self._pair()
        if pair is None:
            return
        writer, reader = pair

        def ended(outcome: Outcome) -> None:
            self.tally.messages += 1
            self.tally.message_failures += not 200 <= outcome.status < 300
            self._judge(writer, reader, outcome)

        text = b"to %s" % reader.phone.user.encode()
        edge = self._population.hosts[writer.edge].listeners[0]
        writer.phone.message(edge, reader.phone.aor, text, ended)

    def _judge(self, one: Line, other: Line, outcome: Outcome) -> None:
        for judge in self.on_call:
            judge(one, other, outcome)
