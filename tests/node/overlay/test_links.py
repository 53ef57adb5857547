"""One link for each pair of peers: greeting, crossing dials, queues, budget, ends."""

from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chordial_node.boundary.effects import CloseLink, OpenLink, WriteFrame
from chordial_node.boundary.events import FrameReceived
from chordial_node.boundary.notices import LinkDown, LinkUp, PeerRefused
from chordial_node.config import OverlayConfig
from chordial_node.ids import WILDCARD, NodeId
from chordial_node.overlay.links import RoundTrip
from chordial_node.overlay.links.link import Link
from chordial_node.overlay.messages import (
    INITIAL_TTL,
    DigestDiff,
    Envelope,
    FetchAnswer,
    FetchRequest,
    Hello,
    LinkPing,
    PingRequest,
    RangeDigestRequest,
    Rank,
    ReplicateRequest,
    decode_body,
    decode_frame,
    encode_frame,
)
from tests.node.overlay.rig import (
    Station,
    Wire,
    address_of,
    call,
    config_of,
    member,
    node,
    ring_of,
)


def envelope(
    source: NodeId, destination: NodeId, number: int, method: int = PingRequest.CODE
) -> Envelope:
    return Envelope(
        method, number, source, destination, False, INITIAL_TTL, [], [], None, 0, b"\x91\xc4\x00"
    )


class Catcher(Station):
    """Keeps what arrives instead of routing it."""

    def __init__(
        self, own: NodeId, known: list[NodeId], config: OverlayConfig | None = None
    ) -> None:
        super().__init__(own, known, config)
        self.caught: list[int] = []
        self.unsent: list[int] = []

    def on_envelope(self, node: NodeId, envelope: Envelope) -> None:
        if envelope.destination == WILDCARD:
            self.controls.append((node, envelope.method))
        else:
            self.caught.append(envelope.transaction)

    def on_link_lost(
        self, node: NodeId, refused: bool, reason: str, unsent: list[Envelope]
    ) -> None:
        self.lost.append((node, refused, reason))
        self.unsent.extend(each.transaction for each in unsent)


def pair(wire: Wire, link_queue: int = 4096) -> tuple[Catcher, Catcher]:
    one, two = (
        Catcher(each, [node(1), node(2)], config_of(each, link_queue=link_queue))
        for each in (node(1), node(2))
    )
    wire.add(one)
    wire.add(two)
    return one, two


def send(wire: Wire, sender: Station, to: NodeId, *numbers: int) -> None:
    def push() -> None:
        for number in numbers:
            assert sender.links.send(to, envelope(sender.own, to, number))

    call(wire, sender, push)


def test_what_is_sent_before_there_is_a_link_arrives_after_the_hellos() -> None:
    wire = Wire()
    one, two = pair(wire)
    send(wire, one, two.own, 1, 2)
    wire.run()
    assert two.caught == [1, 2]
    assert one.ups == [two.own]
    assert two.ups == [one.own]
    assert [frame[0].method for frame in (wire.frames(one.own)[0], wire.frames(two.own)[0])] == [
        Hello.CODE,
        Hello.CODE,
    ]
    assert [len(frame) for frame in wire.frames(one.own)] == [1, 2]
    assert sorted(notice.dialed for notice in wire.of(LinkUp)) == [False, True]


def test_envelopes_of_one_turn_share_a_frame_and_the_next_frame_waits_for_the_first() -> None:
    wire = Wire()
    one, two = pair(wire)
    send(wire, one, two.own, 1)
    wire.run()
    written = len(wire.frames(one.own))
    send(wire, one, two.own, 2, 3)
    send(wire, one, two.own, 4)
    send(wire, one, two.own, 5)
    assert len(wire.frames(one.own)) == written + 1
    wire.run()
    assert [len(frame) for frame in wire.frames(one.own)[written:]] == [2, 2]
    assert two.caught == [1, 2, 3, 4, 5]


@given(
    seed=st.integers(0, 10_000),
    ones=st.lists(st.integers(0, 80), max_size=8),
    twos=st.lists(st.integers(0, 80), max_size=8),
)
def test_of_crossing_dials_one_link_remains_and_nothing_is_lost(
    seed: int, ones: list[int], twos: list[int]
) -> None:
    random = Random(seed)
    wire = Wire(delay=lambda: random.choice((0.001, 0.01, 0.04)))
    one, two = pair(wire)
    for number, milliseconds in enumerate(ones):
        wire.at(milliseconds / 1000, partial(send, wire, one, two.own, number))
    for number, milliseconds in enumerate(twos):
        wire.at(milliseconds / 1000, partial(send, wire, two, one.own, number))
    wire.run(5.0)
    assert sorted(two.caught) == list(range(len(ones)))
    assert sorted(one.caught) == list(range(len(twos)))
    assert not one.lost
    assert not two.lost
    if ones or twos:
        assert one.links.is_up(two.own)
        assert two.links.is_up(one.own)
        opened = len(wire.of(OpenLink))
        assert opened <= 2
        assert len({each.link for each in wire.of(CloseLink)}) >= opened - 1
    call(wire, one, lambda: one.links.close(two.own, "test"))
    wire.run(1.0)
    assert not two.links.is_up(one.own)


def test_of_crossing_dials_the_one_of_the_higher_node_id_remains() -> None:
    wire = Wire()
    one, two = pair(wire)
    send(wire, one, two.own, 1)
    send(wire, two, one.own, 2)
    wire.run(3.0)
    send(wire, one, two.own, 3)
    send(wire, two, one.own, 4)
    wire.run(1.0)
    assert one.caught == [2, 4]
    assert two.caught == [1, 3]
    [kept] = {each.link for each in wire.of(OpenLink, two.own)}
    assert wire.of(WriteFrame, two.own)[-1].link == kept


def test_a_second_ensure_does_nothing_while_a_dial_is_pending() -> None:
    wire = Wire()
    one, two = pair(wire)
    call(wire, one, partial(one.links.ensure, two.own))
    call(wire, one, partial(one.links.ensure, two.own))
    assert len(wire.of(OpenLink)) == 1
    assert not one.links.is_up(two.own)
    wire.run()
    call(wire, one, lambda: one.links.ensure(two.own))
    assert len(wire.of(OpenLink)) == 1
    assert one.links.up() == [two.own]


def test_a_seed_tells_who_it_is() -> None:
    wire = Wire()
    one, two = Catcher(node(1), []), Catcher(node(2), [])
    wire.add(one)
    wire.add(two)
    for address in (address_of(two.own), ("::1", 1), address_of(one.own)):
        call(wire, one, partial(one.links.dial, address))
    wire.run()
    assert one.links.up() == [two.own]
    assert two.links.up() == [one.own]
    call(wire, one, lambda: one.links.dial(address_of(two.own)))
    assert [each.node for each in wire.of(OpenLink)] == [WILDCARD] * 3
    call(wire, two, lambda: two.links.dial(address_of(one.own)))
    wire.run()
    assert one.ups == [two.own]
    assert not one.lost


def test_two_seeds_that_dial_each_other_have_one_link() -> None:
    wire = Wire()
    one, two = Catcher(node(1), []), Catcher(node(2), [])
    wire.add(one)
    wire.add(two)
    call(wire, one, lambda: one.links.dial(address_of(two.own)))
    call(wire, two, lambda: two.links.dial(address_of(one.own)))
    wire.run(3.0)
    assert one.links.up() == [two.own]
    assert two.links.up() == [one.own]
    assert not one.lost
    assert not two.lost


def test_a_dial_that_is_refused_gives_back_what_waited() -> None:
    wire = Wire()
    one, two = pair(wire)
    wire.kill(two.own)
    send(wire, one, two.own, 1, 2)
    wire.run()
    assert one.unsent == [1, 2]
    assert one.lost == [(two.own, True, "refused")]
    assert not one.table.is_alive(two.own)
    assert not one.table.is_dead(two.own)


def test_a_reset_alone_is_no_evidence() -> None:
    wire = Wire()
    one, two = pair(wire)
    send(wire, one, two.own, 1)
    wire.run()
    wire.cut(one.own, two.own)
    wire.run()
    assert one.lost == [(two.own, False, "reset")]
    assert one.table.is_alive(two.own)
    send(wire, one, two.own, 2)
    wire.run()
    assert two.caught == [1, 2]


def test_a_write_that_hangs_for_two_seconds_ends_the_link() -> None:
    wire = Wire()
    one, two = pair(wire)
    send(wire, one, two.own, 1)
    wire.run()
    wire.stuck.append(two.own)
    send(wire, one, two.own, 2)
    send(wire, one, two.own, 3)
    wire.run(1.9)
    assert not one.lost
    wire.run(0.2)
    assert one.lost == [(two.own, False, "a frame was not written in time")]
    assert one.unsent == [3]
    assert not one.table.is_alive(two.own)


def test_a_queue_has_an_end_and_says_so() -> None:
    wire = Wire()
    one, two = pair(wire, link_queue=3)
    taken: list[bool] = []

    def push() -> None:
        for number in range(5):
            taken.append(one.links.send(two.own, envelope(one.own, two.own, number)))

    call(wire, one, push)
    assert taken == [True, True, True, False, False]
    wire.run()
    assert two.caught == [0, 1, 2]


def test_room_for_answers_is_reserved() -> None:
    wire = Wire()
    one, two = pair(wire, link_queue=2)
    send(wire, one, two.own, 1)
    wire.run()
    assert [one.links.reserve(two.own) for _ in range(3)] == [True, True, False]
    answers: list[bool] = []

    def answer() -> None:
        for number in range(2):
            sent = envelope(one.own, two.own, number, FetchAnswer.CODE)
            answers.append(one.links.send(two.own, sent))

    call(wire, one, answer)
    assert answers == [True, True]
    wire.run()
    assert one.links.reserve(two.own)


def test_link_control_and_answers_leave_before_requests_and_bulk_keeps_a_share() -> None:
    link = Link(2, node(2), ("::1", 1), True)
    methods = [
        RangeDigestRequest.CODE,
        FetchRequest.CODE,
        ReplicateRequest.CODE,
        FetchAnswer.CODE,
        LinkPing.CODE,
    ]
    for method in methods:
        assert link.push(envelope(node(1), node(2), 0, method), 10)
    assert [each.method for each in link.next_frame()] == methods[::-1]
    assert link.waiting == 0


def test_a_peer_of_another_overlay_is_refused() -> None:
    wire = Wire()
    one, two = Catcher(node(1), [node(2)]), Catcher(node(2), [], config_of(node(2), "other"))
    wire.add(one)
    wire.add(two)
    send(wire, one, two.own, 1)
    wire.run(0.1)
    assert two.caught == []
    assert one.unsent == [1]
    reasons = {each.reason for each in wire.of(PeerRefused)}
    assert any("'other'" in reason for reason in reasons)
    assert one.kernel.counters.links_refused + two.kernel.counters.links_refused >= 1


def test_an_older_life_of_a_peer_in_the_ring_is_refused() -> None:
    wire = Wire()
    one, two = pair(wire)
    two.table.merge(member(one.own, incarnation=7))
    send(wire, one, two.own, 1)
    wire.run(0.1)
    assert two.caught == []
    assert wire.of(PeerRefused, two.own)
    greeting, news = (decode_frame(each.data)[0] for each in wire.of(WriteFrame, two.own)[:2])
    assert greeting.method == Hello.CODE
    told = decode_body(news.method, news.body)
    assert isinstance(told, DigestDiff), "the earlier life is told of the later one, and ends"
    assert told.records[0].incarnation == 7
    two.table.merge(member(one.own, incarnation=8, rank=Rank.DEAD))
    send(wire, one, two.own, 2)
    wire.run(0.1)
    assert two.caught == [2]


class LaterLife(Catcher):
    """Another process with the same Node-ID, which comes to the ring."""

    def hello(self) -> Hello:
        hello = super().hello()
        return replace(hello, member=member(self.own, incarnation=2), in_ring=False)


def test_the_life_at_the_end_of_a_link_is_told_of_a_later_one_that_comes() -> None:
    wire = Wire()
    one, two = pair(wire)
    send(wire, two, one.own, 1)
    wire.run(1.0)
    [first] = {each.link for each in wire.of(WriteFrame, two.own)}
    later = LaterLife(one.own, [two.own])
    wire.add(later)
    call(wire, later, partial(later.links.ensure, two.own))
    wire.run(0.1)
    frames = [decode_frame(w.data) for w in wire.of(WriteFrame, two.own) if w.link == first]
    told = [decode_body(each.method, each.body) for frame in frames for each in frame]
    news = [each for each in told if isinstance(each, DigestDiff)]
    assert [record.incarnation for each in news for record in each.records] == [2]


def test_nothing_is_taken_before_a_hello() -> None:
    wire = Wire()
    one, two = pair(wire)
    call(wire, one, lambda: one.links.ensure(two.own))
    wire.run(0.0015)
    [greeting] = wire.of(WriteFrame, two.own)
    data = encode_frame([envelope(one.own, two.own, 1)])
    wire.turn(two.own, FrameReceived(link=greeting.link, data=data))
    assert two.caught == []
    assert [each.reason for each in wire.of(PeerRefused)] == [
        "the first message on a link must be a Hello"
    ]


def test_a_link_without_a_hello_ends() -> None:
    wire = Wire()
    one, two = pair(wire)
    call(wire, one, partial(one.links.ensure, two.own))
    wire.silent.append(two.own)
    wire.run(6.0)
    assert "no Hello came in time" in {each.reason for each in wire.of(LinkDown)}


def test_beyond_the_budget_the_least_used_link_that_is_not_needed_ends() -> None:
    wire = Wire()
    stations = ring_of(wire, [1, 2, 3, 4], max_links=2)
    one = stations[1]
    one.needed.append(node(2))
    for number in (2, 3):
        call(wire, one, partial(one.links.ensure, node(number)))
        wire.run(5.0)
    allowed: list[bool] = []
    call(wire, one, lambda: allowed.append(one.links.may_link(node(4))))
    wire.run(30.0)
    call(wire, one, lambda: allowed.append(one.links.may_link(node(4))))
    assert allowed == [False, True]
    call(wire, one, lambda: one.links.ensure(node(4)))
    wire.run()
    assert one.links.up() == [node(2), node(4)]
    assert not one.lost
    wire.run(2.0)
    assert stations[3].links.up() == []
    assert not stations[3].lost
    assert one.table.is_alive(node(3))


def test_a_link_does_not_end_at_the_moment_it_is_told_though_its_hello_took_long() -> None:
    wire = Wire()
    stations = ring_of(wire, [1, 2, 3], max_links=1)
    stations[1].needed.append(node(2))
    call(wire, stations[1], partial(stations[1].links.ensure, node(2)))
    wire.run(5.0)
    wire.delay = lambda: 0.8
    call(wire, stations[3], partial(stations[3].links.ensure, node(1)))
    wire.run(2.5)
    assert stations[1].ups == stations[1].links.up() == [node(2), node(3)]


def test_who_needs_a_link_that_the_other_side_gave_up_dials_again() -> None:
    wire = Wire()
    stations = ring_of(wire, [1, 2, 3, 4], max_links=2)
    stations[2].needed.append(node(1))
    for number in (2, 3, 4):
        call(wire, stations[1], partial(stations[1].links.ensure, node(number)))
        wire.run(2.0)
    assert [each.node for each in wire.of(OpenLink, node(2))] == [node(1)]
    assert node(2) in stations[1].links.up()
    assert not stations[1].lost
    assert not stations[2].lost


def test_accepted_links_have_an_end_and_who_was_sent_away_does_not_insist() -> None:
    wire = Wire()
    stations = ring_of(wire, list(range(1, 20)), max_links=2)
    for number in range(2, 20):
        call(wire, stations[number], partial(stations[number].links.ensure, node(1)))
        wire.run(0.01)
    assert len(stations[1].links.up()) <= 4
    refused = next(each for each in stations.values() if each.lost)
    dials = len(wire.of(OpenLink, refused.own))
    for _ in range(5):
        call(wire, refused, partial(refused.links.ensure, node(1)))
        wire.run(0.01)
    assert len(wire.of(OpenLink, refused.own)) == dials
    wire.run(1.0)
    call(wire, refused, partial(refused.links.ensure, node(1)))
    assert len(wire.of(OpenLink, refused.own)) == dials + 1


def test_the_round_trip_is_smoothed() -> None:
    round_trip = RoundTrip()
    round_trip.measured(0.1)
    assert (round_trip.srtt, round_trip.rttvar) == (0.1, 0.05)
    round_trip.measured(0.1)
    assert (round_trip.srtt, round_trip.rttvar) == pytest.approx((0.1, 0.0375))
