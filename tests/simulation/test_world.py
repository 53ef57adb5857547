"""The world keeps the promises of the edge: numbers, order, one answer to each question."""

from collections.abc import Callable
from random import Random

import pytest

from chordial_node.boundary.control import Answer, AskStatus, Done
from chordial_node.boundary.effects import (
    Answered,
    CloseLink,
    Effect,
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
    DatagramReceived,
    DeadlineReached,
    Event,
    FlowOpened,
    FlowReceived,
    FrameReceived,
    FrameWritten,
    LinkFailed,
    LinkFailure,
    LinkLost,
    LinkOpened,
    LoopLagged,
    Persisted,
    PersistFailed,
    Started,
    StopAsked,
)
from chordial_node.ids import WILDCARD, NodeId, spread_node_ids
from chordial_node.simulation.disks import DiskFaults
from chordial_node.simulation.hosts import Host
from chordial_node.simulation.network import Faults
from chordial_node.simulation.world import World

React = Callable[[Event], list[Effect]]
NODES = spread_node_ids(4)


class Scripted:
    """A core that does what its script says and remembers what came."""

    def __init__(self, react: React) -> None:
        self.react = react
        self.seen: list[tuple[float, Event]] = []
        self.due: float | None = None

    def handle(self, now: float, event: Event) -> list[Effect]:
        if self.due is not None and now >= self.due:
            self.due = None
        self.seen.append((now, event))
        return self.react(event)

    def deadline(self) -> float | None:
        return self.due

    def has_seen(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for _, event in self.seen)

    def events(self) -> list[Event]:
        return [event for _, event in self.seen]


def add(world: World, react: React, listeners: tuple[Address, ...] = ()) -> tuple[Host, Scripted]:
    core = Scripted(react)

    def factory(random: Random) -> Scripted:
        return core

    host = world.add(NODES[len(world.hosts)], factory, listeners=listeners)
    world.start(host)
    return host, core


def nothing(event: Event) -> list[Effect]:
    return []


def dial(host: Host, node: NodeId) -> React:
    def react(event: Event) -> list[Effect]:
        if isinstance(event, Started):
            return [OpenLink(link=2, node=node, address=host.address)]
        if isinstance(event, LinkOpened):
            return [WriteFrame(link=2, data=b"first")]
        if isinstance(event, FrameWritten) and len(writes) < 20:
            writes.append(event)
            return [WriteFrame(link=2, data=b"%d" % len(writes))]
        return []

    writes: list[Event] = []
    return react


def test_a_dialed_link_is_even_here_and_odd_there_and_never_reorders() -> None:
    world = World(1, Faults(loss=0.3, jitter=0.01))
    far, accepting = add(world, nothing)
    near, dialing = add(world, lambda event: dial_far(event))
    dial_far = dial(far, far.node_id)
    world.run_for(20)
    opened = [event for event in dialing.events() if isinstance(event, LinkOpened)]
    accepted = [event for event in accepting.events() if isinstance(event, LinkOpened)]
    assert [(event.link, event.node) for event in opened] == [(2, far.node_id)]
    assert [(event.link % 2, event.node) for event in accepted] == [(1, near.node_id)]
    frames = [event.data for event in accepting.events() if isinstance(event, FrameReceived)]
    assert frames == [b"first"] + [b"%d" % number for number in range(1, 21)]


@pytest.mark.parametrize(
    ("is_up", "is_cut", "node", "failure"),
    [
        (False, False, WILDCARD, LinkFailure.REFUSED),
        (True, True, WILDCARD, LinkFailure.UNREACHABLE),
        (True, False, NODES[3], LinkFailure.IDENTITY),
    ],
)
def test_a_dial_fails_as_the_adapter_would_say(
    is_up: bool, is_cut: bool, node: NodeId, failure: LinkFailure
) -> None:
    world = World(1)
    far, _ = add(world, nothing)
    if not is_up:
        world.crash(far)
    if is_cut:
        world.partition([far], 1)
    _, dialing = add(world, dial(far, node))
    world.run_for(5)
    failed = [event for event in dialing.events() if isinstance(event, LinkFailed)]
    assert [event.failure for event in failed] == [failure]


@pytest.mark.parametrize(("silently", "limit"), [(False, 0.1), (True, 30.0)])
def test_a_killed_process_is_heard_of_and_a_silent_host_only_in_the_end(
    silently: bool, limit: float
) -> None:
    world = World(1)
    far, _ = add(world, nothing)
    _, dialing = add(world, dial(far, far.node_id))
    world.run_until(lambda: len(dialing.seen) > 3, 5)
    world.crash(far, silently=silently)
    world.run_for(0.1)
    assert dialing.has_seen(LinkLost) is not silently
    assert world.run_until(lambda: dialing.has_seen(LinkLost), limit)


def test_frames_of_a_partition_arrive_when_it_heals() -> None:
    world = World(1)
    far, accepting = add(world, nothing)
    _, dialing = add(world, dial(far, far.node_id))
    world.run_until(lambda: dialing.has_seen(LinkOpened), 5)
    world.partition([far], 1)
    world.run_for(1)
    before = [event for event in accepting.events() if isinstance(event, FrameReceived)]
    world.heal()
    world.run_for(1)
    after = [event for event in accepting.events() if isinstance(event, FrameReceived)]
    assert len(before) <= 1
    assert len(after) == 21


def test_a_closed_link_is_silent_for_its_closer_and_lost_for_the_other() -> None:
    world = World(1)
    far, accepting = add(world, nothing)

    def react(event: Event) -> list[Effect]:
        if isinstance(event, Started):
            return [OpenLink(link=0, node=far.node_id, address=far.address)]
        return [CloseLink(link=0)] if isinstance(event, LinkOpened) else []

    _, dialing = add(world, react)
    world.run_for(1)
    assert [type(event) for event in dialing.events()] == [Started, LinkOpened]
    assert [type(event) for event in accepting.events()] == [Started, LinkOpened, LinkLost]


def test_what_was_persisted_survives_a_crash_and_what_was_not_is_lost() -> None:
    world = World(1)

    def react(event: Event) -> list[Effect]:
        if isinstance(event, Started):
            return [Persist(1, ((b"a", b"1"), (b"b", b"1")))]
        if isinstance(event, Persisted) and event.sequence == 1:
            return [Persist(2, ((b"a", b"2"),)), Persist(3, ((b"b", None),))]
        return []

    host, core = add(world, react)
    assert world.run_until(lambda: core.has_seen(Persisted), 1)
    assert host.disk.read() == ((b"a", b"1"), (b"b", b"1"))
    world.crash(host)
    world.run_for(1)
    assert dict(host.disk.read())[b"b"] == b"1", "it waited for the next commit"
    core.seen.clear()
    world.start(host)
    world.run_for(0.0001)
    started = core.seen[0][1]
    assert isinstance(started, Started)
    assert started.records == host.disk.read()


def test_one_group_commit_answers_all_that_waited_and_a_failing_disk_says_so() -> None:
    world = World(1)
    effects: list[Effect] = [Persist(number, ((b"k", b"v"),)) for number in (1, 2, 3)]
    host, core = add(world, lambda event: effects if isinstance(event, Started) else [])
    world.run_for(1)
    answers = [event for event in core.events() if isinstance(event, Persisted)]
    assert [event.sequence for event in answers] == [1, 3]
    host.disk.faults = DiskFaults(is_failing=True)
    world.restart(host)
    world.run_for(1)
    failed = [event for event in core.events() if isinstance(event, PersistFailed)]
    assert [event.sequence for event in failed] == [1, 3]


def test_the_deadline_is_met_to_the_microsecond_and_late_after_a_stall() -> None:
    world = World(1)
    host, core = add(world, nothing)
    world.run_for(1)
    core.due = 2.000_001
    world.ask(host, AskStatus(), lambda answer: None)
    world.run_for(2)
    assert core.seen[-1][0] == 2.000_001
    assert core.has_seen(DeadlineReached)
    core.due = 3.5
    world.ask(host, AskStatus(), lambda answer: None)
    world.run_for(0.1)
    world.stall(host, 0.9)
    world.run_for(2)
    assert core.seen[-1][0] == 4.0
    assert core.seen[-1][1] == LoopLagged(0.9)


def test_a_question_is_answered_once_and_with_nothing_when_the_process_ends() -> None:
    world = World(1)

    def react(event: Event) -> list[Effect]:
        if isinstance(event, StopAsked):
            return [Stopped("asked to")]
        return [Answered(event.call, Done())] if isinstance(event, Asked) and answers == [] else []

    answers: list[Answer | None] = []
    host, _ = add(world, react)
    assert world.ask_and_wait(host, AskStatus()) == Done()
    answers.append(None)
    world.at(1, lambda: world.stop(host, leave=False))
    assert world.ask_and_wait(host, AskStatus()) is None
    assert (host.is_up, host.stopped) == (False, "asked to")


def test_datagrams_and_sip_connections_join_peers_and_phones() -> None:
    world = World(1)
    far, accepting = add(world, nothing, (("10.0.0.9", 5060), ("10.0.0.9", 5081)))

    def react(event: Event) -> list[Effect]:
        if isinstance(event, Started):
            to_phone = SendDatagram(0, ("192.0.2.1", 5060), b"to the phone")
            return [OpenFlow(4, 1, far.listeners[1], far.node_id), to_phone]
        return [WriteFlow(4, b"to the peer")] if isinstance(event, FlowOpened) else []

    class Phone:
        def on_datagram(self, source: Address, data: bytes) -> None:
            heard.append((source, data))
            world.network.datagram(("192.0.2.1", 5060), far.listeners[0], b"from the phone")

    heard: list[tuple[Address, bytes]] = []
    world.network.add_phone(("192.0.2.1", 5060), Phone())
    near, _ = add(world, react, (("10.0.0.8", 5060), ("10.0.0.8", 5081)))
    world.run_for(1)
    assert heard == [(near.listeners[0], b"to the phone")]
    datagrams = [event for event in accepting.events() if isinstance(event, DatagramReceived)]
    assert datagrams == [DatagramReceived(0, ("192.0.2.1", 5060), b"from the phone")]
    received = [event for event in accepting.events() if isinstance(event, FlowReceived)]
    opened = [event for event in accepting.events() if isinstance(event, FlowOpened)]
    assert [event.data for event in received] == [b"to the peer"]
    assert [(event.listener, event.node) for event in opened] == [(1, near.node_id)]


def test_the_same_seed_gives_the_same_digest_and_another_one_another() -> None:
    def digest(seed: int) -> str:
        world = World(seed, Faults(loss=0.1))
        far, _ = add(world, nothing)
        add(world, dial(far, far.node_id))
        world.run_for(5)
        return world.digest

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_a_core_draws_only_what_every_python_draws_alike() -> None:
    world = World(1)
    assert 0.0 <= world.random.random() < 1.0
    assert world.random.getrandbits(8) < 256
    with pytest.raises(AssertionError, match="getrandbits"):
        world.random.shuffle([1, 2])
