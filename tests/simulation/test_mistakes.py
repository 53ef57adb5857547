"""Each checker catches a seeded mistake; without one, the same runs are good."""

from dataclasses import dataclass, field
from random import Random

import pytest
from msgspec.structs import replace

from chordial_node.boundary.control import (
    Drain,
    Get,
    Lookup,
    LookupAnswer,
    Put,
    Refused,
    StatusAnswer,
    TraceAnswer,
    ValueAnswer,
)
from chordial_node.boundary.effects import Answered, Effect, Persist, SendDatagram, WriteFrame
from chordial_node.boundary.events import (
    Asked,
    DatagramReceived,
    DeadlineReached,
    Event,
    FrameReceived,
    FrameWritten,
    Persisted,
    Started,
    StopAsked,
)
from chordial_node.boundary.notices import NeighborsChanged, ProcedureFaulted
from chordial_node.config import Endpoint, NodeConfig
from chordial_node.ids import NodeId, ResourceId
from chordial_node.overlay.messages import (
    Digest,
    DigestDiff,
    Events,
    LinkMessage,
    decode_frame,
    encode_frame,
)
from chordial_node.simulation.calling import Calls
from chordial_node.simulation.hosts import Driven
from chordial_node.simulation.population import MakeCore
from chordial_node.simulation.run import SimulationResult, make_core, run
from chordial_node.simulation.workload import Load
from chordial_node.simulation.world import host_address
from tests.simulation.mistakes import making

LOAD = Load(lookups_per_second=2.0, puts_per_second=2.0, gets_per_second=4.0, keys=8)
CALLS = Calls(phones=3, refresh_seconds=10.0, calls_per_second=0.3)


def simulate(
    make: MakeCore,
    scenario: str = "calm",
    *,
    minutes: float = 0.5,
    peers: int = 7,
    keys: int = 8,
) -> SimulationResult:
    load = replace(LOAD, keys=keys)
    return run(
        5, peers=peers, minutes=minutes, scenario=scenario, load=load, calls=CALLS, make=make
    )


def violated(result: SimulationResult) -> list[str]:
    return list(dict.fromkeys(violation.invariant for violation in result.violations))


@pytest.mark.parametrize("scenario", ["calm", "churn", "crash-quarter", "restart-all"])
def test_without_a_mistake_every_invariant_holds(scenario: str) -> None:
    assert violated(simulate(make_core, scenario)) == []


# values


def test_a_value_that_nobody_stored_breaks_store_once() -> None:
    def after(effect: Effect) -> list[Effect]:
        if isinstance(effect, Answered) and isinstance(effect.answer, ValueAnswer):
            half = effect.answer.value[: len(effect.answer.value) // 2]
            return [Answered(effect.call, replace(effect.answer, value=half))]
        return [effect]

    assert "StoreOnce" in violated(simulate(making(after=after)))


def test_an_acknowledgement_before_anything_is_stored_breaks_acknowledged_seen() -> None:
    def before(core: Driven, now: float, event: Event) -> list[Effect] | None:
        if isinstance(event, Asked) and isinstance(event.question, Put):
            answer = ValueAnswer(ResourceId(bytes(16)), True, event.question.value, 3)
            return [Answered(event.call, answer)]
        return None

    assert "AcknowledgedSeen" in violated(simulate(making(before)))


def test_an_acknowledgement_before_anything_is_on_disk_breaks_nothing_lost() -> None:
    class Forgetful:
        """It tells itself that its writes are durable, and writes nothing after its start."""

        def __init__(self, core: Driven) -> None:
            self._core = core

        def handle(self, now: float, event: Event) -> list[Effect]:
            effects = self._core.handle(now, event)
            kept: list[Effect] = []
            while effects:
                effect = effects.pop(0)
                if isinstance(effect, Persist):
                    ring = [each for each in effect.records if not each[0].startswith(b"value/")]
                    if len(ring) < len(effect.records):
                        effects += self._core.handle(now, Persisted(effect.sequence))
                        continue
                kept.append(effect)
            return kept

        def deadline(self) -> float | None:
            return self._core.deadline()

    def make(config: NodeConfig, own: NodeId, random: Random) -> Driven:
        return Forgetful(make_core(config, own, random))

    assert "NothingLost" in violated(simulate(make, "restart-all", keys=100))


def test_a_clock_that_lets_values_live_on_breaks_expiry() -> None:
    def before(core: Driven, now: float, event: Event) -> list[Effect] | None:
        if isinstance(event, Started):
            return core.handle(now, replace(event, wall_offset=event.wall_offset - 60.0))
        return None

    assert "Expiry" in violated(simulate(making(before), minutes=1.5))


# registrations and calls


def test_an_old_binding_on_one_peer_breaks_newest_registration() -> None:
    def after(effect: Effect) -> list[Effect]:
        if isinstance(effect, Answered) and isinstance(effect.answer, TraceAnswer):
            old = tuple(
                replace(each, contact=each.contact.rpartition(";n=")[0] + ";n=0")
                for each in effect.answer.contacts
            )
            return [Answered(effect.call, replace(effect.answer, contacts=old))]
        return [effect]

    assert violated(simulate(making(after=after, only=("p2",)))) == ["NewestRegistration"]


def test_a_request_to_another_phone_breaks_right_phone() -> None:
    def after(effect: Effect) -> list[Effect]:
        is_invite = isinstance(effect, SendDatagram) and effect.data.startswith(b"INVITE")
        if isinstance(effect, SendDatagram) and is_invite:
            return [replace(effect, destination=("192.0.2.1", 5060))]
        return [effect]

    assert "RightPhone" in violated(simulate(making(after=after)))


def test_a_call_that_is_dropped_breaks_calm_call() -> None:
    def before(core: Driven, now: float, event: Event) -> list[Effect] | None:
        if isinstance(event, DatagramReceived) and event.data.startswith(b"INVITE"):
            return core.handle(now, DeadlineReached())
        return None

    assert "CalmCall" in violated(simulate(making(before), minutes=1.0))


def test_a_drain_that_cuts_phones_off_is_a_failed_call() -> None:
    def before(core: Driven, now: float, event: Event) -> list[Effect] | None:
        if isinstance(event, Asked) and isinstance(event.question, Drain):
            return core.handle(now, StopAsked(leave=False))
        return None

    calls = Calls(phones=14, calls_per_second=2.0, behind_service=True)
    made = run(1, peers=7, minutes=1.5, scenario="drain", calls=calls, make=making(before))
    assert "CalmCall" in violated(made)


# the ring


def told_wrongly(change: "Change") -> MakeCore:
    def after(effect: Effect) -> list[Effect]:
        if isinstance(effect, NeighborsChanged) and len(effect.successors) >= change.least:
            return [replace(effect, successors=change.of(effect.successors))]
        return [effect]

    return making(after=after, only=change.only)


@dataclass(frozen=True)
class Change:
    """How a successor list is told wrongly, and by whom."""

    name: str
    take: slice
    twice: bool = False
    only: tuple[str, ...] = field(default=("p3",))
    least: int = 3
    """Shorter lists are told as they are."""

    def of(self, successors: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
        taken = successors[self.take]
        return taken[:1] + taken if self.twice else taken


EVERYONE = tuple(f"p{index}" for index in range(7))


@pytest.mark.parametrize(
    "change",
    [
        Change("LiveSuccessor", slice(0, 0)),
        Change("NoDuplicates", slice(None), twice=True),
        Change("OrderedSuccessorLists", slice(None, None, -1)),
        Change("OneOrderedRing", slice(1, None), only=EVERYONE),
        Change("Principals", slice(1, None, 2), only=EVERYONE, least=6),
    ],
    ids=lambda change: str(change.name),
)
def test_a_wrong_successor_list_breaks_what_zave_proved(change: Change) -> None:
    assert change.name in violated(simulate(told_wrongly(change), minutes=0.1))


def deaf_to(*kinds: type[LinkMessage]) -> MakeCore:
    codes = [kind.CODE for kind in kinds]

    def before(core: Driven, now: float, event: Event) -> list[Effect] | None:
        if isinstance(event, FrameReceived):
            envelopes = [each for each in decode_frame(event.data) if each.method not in codes]
            return core.handle(now, FrameReceived(event.link, encode_frame(envelopes)))
        return None

    return making(before, only=("p3",))


def test_a_peer_that_hears_no_events_breaks_table_true() -> None:
    result = simulate(deaf_to(Events, Digest, DigestDiff), peers=40, minutes=0.1)
    assert "TableTrue" in violated(result)


def test_events_that_are_acknowledged_and_not_handed_on_break_coverage() -> None:
    def after(effect: Effect) -> list[Effect]:
        if isinstance(effect, WriteFrame):
            envelopes = [each for each in decode_frame(effect.data) if each.method != Events.CODE]
            return [WriteFrame(effect.link, encode_frame(envelopes))]
        return [effect]

    assert "Coverage" in violated(simulate(making(after=after, only=("p2",)), peers=14))


def test_a_status_out_of_step_breaks_ring_ideal() -> None:
    def after(effect: Effect) -> list[Effect]:
        if isinstance(effect, Answered) and isinstance(effect.answer, StatusAnswer):
            return [Answered(effect.call, replace(effect.answer, in_step=False))]
        return [effect]

    assert violated(simulate(making(after=after), minutes=0.1)) == ["RingIdeal"]


def test_a_peer_that_stops_reading_breaks_no_false_death() -> None:
    def before(core: Driven, now: float, event: Event) -> list[Effect] | None:
        is_deaf = 20.0 < now < 26.0 and isinstance(event, FrameReceived)
        return core.handle(now, DeadlineReached()) if is_deaf else None

    result = simulate(making(before, only=("p3",)), "restart-all", minutes=1.0)
    assert "NoFalseDeath" in violated(result)


def test_two_lists_of_founders_break_one_formation() -> None:
    def make(config: NodeConfig, own: NodeId, random: Random) -> Driven:
        founders = config.overlay.founders
        ours = founders[:3] if own.hex() in founders[:3] else founders[3:]
        first = founders.index(ours[0])
        seeds = tuple(Endpoint(*host_address(first + index)) for index in range(2))
        overlay = replace(config.overlay, founders=ours, seeds=seeds)
        return make_core(replace(config, overlay=overlay), own, random)

    assert "OneFormation" in violated(simulate(make, minutes=0.1))


# all of it


def test_a_lookup_that_is_refused_breaks_calm_lookup() -> None:
    def after(effect: Effect) -> list[Effect]:
        if isinstance(effect, Answered) and isinstance(effect.answer, LookupAnswer):
            return [Answered(effect.call, Refused("busy", "later"))]
        return [effect]

    assert violated(simulate(making(after=after, only=("p1",)))) == ["CalmLookup"]


def test_two_frames_at_once_break_bounded() -> None:
    def after(effect: Effect) -> list[Effect]:
        return [effect, effect] if isinstance(effect, WriteFrame) else [effect]

    assert "Bounded" in violated(simulate(making(after=after, only=("p1",)), minutes=0.1))


def test_a_question_without_an_answer_breaks_progress() -> None:
    def after(effect: Effect) -> list[Effect]:
        is_get = isinstance(effect, Answered) and isinstance(effect.answer, ValueAnswer)
        return [] if is_get else [effect]

    assert "Progress" in violated(simulate(making(after=after, only=("p1",)), minutes=1.5))


def test_a_procedure_that_faults_breaks_no_fault() -> None:
    def before(core: Driven, now: float, event: Event) -> list[Effect] | None:
        if isinstance(event, Asked) and isinstance(event.question, Lookup | Get):
            effects = core.handle(now, event)
            return [*effects, ProcedureFaulted("lookup", "KeyError: 1", "lookup:12")]
        return None

    assert "NoFault" in violated(simulate(making(before, only=("p1",))))


def test_writes_that_are_never_taken_do_not_end_the_run() -> None:
    """A peer whose links are stuck is closed by others; nothing hangs (protocol.md §3)."""

    def before(core: Driven, now: float, event: Event) -> list[Effect] | None:
        is_stuck = now > 10.0 and isinstance(event, FrameWritten)
        return core.handle(now, DeadlineReached()) if is_stuck else None

    result = simulate(making(before, only=("p1",)), minutes=0.2)
    assert "Bounded" not in violated(result)
