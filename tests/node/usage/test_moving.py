"""Phones of an edge that ends, and the requests that wait for them (fleet.md H2, sip.md 6)."""

import msgspec
import pytest

from chordial_node.boundary.control import Drain, DrainAnswer
from chordial_node.boundary.effects import Answered, Stopped
from chordial_node.boundary.events import StopAsked
from chordial_node.overlay.kinds import KindId
from chordial_node.sip.message import Message
from chordial_node.usage.bindings import FLOW, Registration
from chordial_node.usage.domains import resource_of
from chordial_node.usage.holding import HOLD_SECONDS
from tests.node.usage.phone import Phone
from tests.node.usage.rig import Edge, Wire
from tests.node.usage.test_call_flow import BOB

SHORT = 60


class Moved:
    """alice at the first edge; bob behind a NAT at the second, which drains; a third is there."""

    def __init__(self, *, tcp: bool = False) -> None:
        self.wire = Wire(3)
        for user in ("alice", "bob"):
            self.wire.add_user(user)
        self.alice = Phone(self.wire, "alice", ("10.0.0.3", 5060))
        self.bob = Phone(
            self.wire,
            "bob",
            ("198.51.100.8", 40112),
            edge=1,
            contact="sip:bob@192.168.1.20:5060",
            sent_by="192.168.1.20:5060",
            instance="urn:uuid:B",
            tcp=tcp,
        )
        self.alice.register()
        self.bob.register()

    @property
    def edge(self) -> Edge:
        return self.wire.edges[1]

    def drain(self) -> None:
        """Ask the edge to leave, and let bob come again as he is told: then all is waited for."""
        self.edge.turn(lambda: self.edge.server.on_asked(1, Drain()))
        self.wire.run(2.0)
        self.bob.register()
        self.wire.run(2.0)

    def drain_in_a_call(self) -> None:
        """Drain past the time-out: the call runs on."""
        self.edge.turn(lambda: self.edge.server.on_asked(1, Drain()))
        self.wire.run(30.0)
        self.bob.register()
        self.wire.run(self.edge.config.overlay.drain_timeout_seconds - 28.0)
        assert self.binding().moving

    def move(self) -> None:
        """Let bob come to the third edge, as after his flow is cut."""
        self.bob.edge = 2
        self.bob.register()

    def binding(self) -> Registration:
        shelf = self.wire.shared.shelves[resource_of(b"bob@chordial.test"), KindId.REGISTRATION]
        [entry] = shelf.entries.values()
        return msgspec.msgpack.decode(entry.value, type=Registration)

    def expires_ms(self) -> int:
        shelf = self.wire.shared.shelves[resource_of(b"bob@chordial.test"), KindId.REGISTRATION]
        [entry] = shelf.entries.values()
        return entry.expires_at_ms

    def came(self, method: bytes) -> int:
        """How many requests came to bob, each counted once however often it was sent."""
        return len({each.via.branch: None for each in self.bob.requests(method)})

    def answer_call(self) -> tuple[Message, Message]:
        self.alice.call(BOB)
        [invite] = self.bob.requests(b"INVITE")
        self.bob.reply(invite, 200)
        answer = self.alice.answer(b"INVITE")
        self.alice.send(self.alice.within_call(b"ACK", invite, answer, as_caller=True))
        self.wire.run()
        return invite, answer


@pytest.mark.parametrize("tcp", [False, True])
def test_a_drain_waits_until_a_phone_has_come_again_and_then_marks_it(tcp: bool) -> None:
    moved = Moved(tcp=tcp)
    assert moved.binding().reach == FLOW
    assert moved.edge.server.phones_waiting == 1
    moved.edge.turn(lambda: moved.edge.server.on_asked(1, Drain()))
    moved.wire.run(30.0)
    assert not moved.binding().moving
    assert moved.edge.server.state == "draining"
    moved.bob.register()
    assert moved.binding().granted == SHORT
    assert moved.edge.server.phones_waiting == 0
    before = moved.expires_ms()
    moved.wire.run(2.0)
    assert moved.binding().moving
    assert moved.expires_ms() == pytest.approx(before, abs=5)
    moved.wire.run(SHORT + 2.0)
    [answered] = [each for each in moved.edge.answers if isinstance(each, Answered)]
    assert isinstance(answered.answer, DrainAnswer)
    assert [each.failed for each in moved.edge.answers if isinstance(each, Stopped)] == [False]


def test_a_phone_that_any_peer_reaches_is_not_waited_for() -> None:
    moved = Moved()
    edge = moved.wire.edges[0]
    assert edge.server.phones_waiting == 0
    edge.turn(lambda: edge.server.on_stop_asked(StopAsked(leave=True)))
    moved.wire.run(1.0)
    assert edge.server.state == "stopped"


def test_a_phone_that_has_come_elsewhere_is_not_marked() -> None:
    moved = Moved()
    moved.edge.turn(lambda: moved.edge.server.on_asked(1, Drain()))
    moved.move()
    moved.wire.run(SHORT + 5.0)
    assert not moved.binding().moving
    assert moved.binding().edge == moved.wire.edges[2].own


def test_an_invite_is_held_until_the_phone_has_come_to_its_next_edge() -> None:
    moved = Moved()
    moved.drain()
    moved.alice.call(BOB)
    moved.wire.run(5.0)
    assert moved.alice.statuses(b"INVITE") == [407, 100]
    assert moved.came(b"INVITE") == 0
    moved.move()
    moved.wire.run(1.5)
    assert moved.came(b"INVITE") == 1
    moved.bob.reply(moved.bob.requests(b"INVITE")[0], 200)
    assert moved.alice.answer(b"INVITE").status == 200
    assert moved.wire.edges[0].kernel.counters.sip_requests_held == 1


def test_an_invite_is_held_also_when_the_edge_has_left_already() -> None:
    moved = Moved()
    moved.drain()
    moved.wire.kill(1)
    moved.alice.call(BOB)
    moved.wire.run(5.0)
    moved.move()
    moved.wire.run(1.5)
    assert moved.came(b"INVITE") == 1


def test_an_invite_is_refused_at_once_when_the_edge_died_without_a_word() -> None:
    moved = Moved()
    moved.wire.kill(1)
    moved.alice.call(BOB)
    assert moved.alice.statuses(b"INVITE")[-1] == 480


def test_a_held_invite_goes_to_the_old_edge_when_nothing_better_comes() -> None:
    moved = Moved()
    moved.drain()
    moved.alice.call(BOB)
    moved.wire.run(HOLD_SECONDS - 1.0)
    assert moved.came(b"INVITE") == 0
    moved.wire.run(2.0)
    assert moved.came(b"INVITE") == 1


def test_a_held_invite_is_refused_in_the_end_when_the_phone_does_not_come() -> None:
    moved = Moved()
    moved.drain()
    moved.wire.kill(1)
    moved.alice.call(BOB)
    moved.wire.run(HOLD_SECONDS + 2.0)
    assert moved.alice.statuses(b"INVITE")[-1] == 480
    assert moved.wire.edges[0].transactions.open_count <= 1


def test_a_held_invite_is_cancelled() -> None:
    moved = Moved()
    moved.drain()
    sent = Message(moved.alice.call(BOB))
    moved.wire.run(3.0)
    moved.alice.send(
        moved.alice.request(
            b"CANCEL",
            BOB,
            call_id=sent.call_id,
            cseq=sent.cseq.number,
            branch=sent.via.branch,
        )
    )
    moved.wire.run(1.5)
    assert moved.alice.statuses(b"INVITE")[-1] == 487
    moved.move()
    moved.wire.run(3.0)
    assert moved.came(b"INVITE") == 0


def test_a_message_is_held_as_well() -> None:
    moved = Moved()
    moved.drain()
    send_message(moved.alice)
    moved.wire.run(4.0)
    assert moved.came(b"MESSAGE") == 0
    moved.move()
    moved.wire.run(1.5)
    assert moved.came(b"MESSAGE") == 1


def test_another_device_that_does_not_move_is_called_at_once() -> None:
    moved = Moved()
    other = Phone(moved.wire, "bob", ("10.0.0.4", 5060), edge=2, instance="urn:uuid:C")
    other.register(call_id=b"r-other")
    moved.drain()
    moved.alice.call(BOB)
    assert len(other.requests(b"INVITE")) == 1


def test_a_call_ends_when_its_edge_has_left_and_the_phone_has_come_elsewhere() -> None:
    moved = Moved()
    invite, answer = moved.answer_call()
    moved.drain_in_a_call()
    moved.wire.kill(1)
    moved.move()
    moved.alice.send(moved.alice.within_call(b"BYE", invite, answer, as_caller=True))
    moved.wire.run()
    [bye] = moved.bob.requests(b"BYE")
    moved.bob.reply(bye, 200)
    assert moved.alice.answer(b"BYE").status == 200


def test_a_bye_waits_for_a_phone_that_has_lost_its_edge() -> None:
    moved = Moved()
    invite, answer = moved.answer_call()
    moved.drain_in_a_call()
    moved.wire.kill(1)
    moved.alice.send(moved.alice.within_call(b"BYE", invite, answer, as_caller=True))
    moved.wire.run(3.0)
    assert moved.came(b"BYE") == 0
    moved.move()
    moved.wire.run(1.5)
    assert moved.came(b"BYE") == 1


def test_an_edge_in_its_last_steps_follows_a_phone_that_has_come_elsewhere() -> None:
    moved = Moved()
    invite, answer = moved.answer_call()
    moved.drain_in_a_call()
    moved.move()
    moved.alice.send(moved.alice.within_call(b"BYE", invite, answer, as_caller=True))
    moved.wire.run()
    assert moved.came(b"BYE") == 1
    assert [to for to, m in moved.wire.edges[2].sent if m.is_request and m.method == b"BYE"]


def test_an_edge_in_its_last_steps_keeps_a_bye_until_the_phone_has_come_elsewhere() -> None:
    moved = Moved()
    invite, answer = moved.answer_call()
    moved.drain_in_a_call()
    moved.alice.send(moved.alice.within_call(b"BYE", invite, answer, as_caller=True))
    moved.wire.run(3.0)
    assert moved.came(b"BYE") == 0  # no datagram comes through the flow of an unready peer
    moved.move()
    moved.wire.run(1.5)
    assert moved.came(b"BYE") == 1
    assert [to for to, m in moved.wire.edges[2].sent if m.is_request and m.method == b"BYE"]


def test_a_binding_of_the_last_steps_is_marked_from_the_start() -> None:
    moved = Moved()
    moved.drain()
    moved.bob.register()
    assert moved.binding().moving


def test_a_registration_of_an_earlier_version_is_read() -> None:
    moved = Moved()
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(moved.binding()))
    before = msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:-1]), type=Registration)
    assert not before.moving


def send_message(phone: Phone) -> None:
    phone.send(phone.request(b"MESSAGE", BOB, body=b"hello"))
    challenged = phone.answer(b"MESSAGE")
    proof = phone.digest(challenged, b"MESSAGE", BOB)
    phone.send(phone.request(b"MESSAGE", BOB, proof, body=b"hello"))
    phone.wire.run()
