"""Asking and serving: one answer for each request, past the dead and around the slow."""

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

from chordial_node.ids import NodeId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.procedures import Reply
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.links import Links
from chordial_node.overlay.messages import (
    Answer,
    FetchAnswer,
    FetchRequest,
    KindData,
    PingAnswer,
    PingRequest,
    Request,
    StoreAnswer,
    StoreRequest,
)
from chordial_node.overlay.requests import RequestContext
from chordial_node.overlay.requests.patience import BURST, Patience
from chordial_node.overlay.table import Table
from tests.node.overlay.rig import (
    Asked,
    Station,
    Wire,
    call,
    config_of,
    node,
    resource,
    ring_of,
)

AT = resource(25)
FETCH = FetchRequest(AT, ())
STORE = StoreRequest(AT, (KindData(1, 0, ()),))

Serve = Callable[[Request, RequestContext], Awaitable[Answer]]


def answer_of(request: Request) -> Answer:
    if isinstance(request, StoreRequest):
        return StoreAnswer((), ())
    return FetchAnswer(()) if isinstance(request, FetchRequest) else PingAnswer(1, 2)


async def at_once(request: Request, context: RequestContext) -> Answer:
    return answer_of(request)


def after(station: Station, seconds: float) -> Serve:
    async def serve(request: Request, context: RequestContext) -> Answer:
        await station.kernel.sleep(seconds)
        return answer_of(request)

    return serve


def stations_of(wire: Wire, numbers: list[int]) -> dict[int, Station]:
    stations = ring_of(wire, numbers)
    for station in stations.values():
        station.serves = at_once
    return stations


def linked(wire: Wire, numbers: list[int]) -> dict[int, Station]:
    """Stations of which the first has linked and asked all others."""
    stations = stations_of(wire, numbers)
    first = stations[numbers[0]]
    for _ in range(10):
        for number in numbers[1:]:
            Asked(wire, first, node(number), PingRequest(), to_resource=False)
            wire.run(0.1)
    return stations


def test_an_error_that_a_handler_raises_reaches_the_asker_as_it_was() -> None:
    wire = Wire()
    stations = stations_of(wire, [10, 30])

    async def refuse(request: Request, context: RequestContext) -> Answer:
        error = OverlayError(ErrorCode.GENERATION_COUNTER_TOO_LOW, "it is 4", 0.0)
        error.data = b"data"
        raise error

    stations[30].serves = refuse
    asked = Asked(wire, stations[10], AT, FETCH, to_resource=True)
    wire.run()
    assert asked.error is not None
    assert asked.error.code is ErrorCode.GENERATION_COUNTER_TOO_LOW
    assert (asked.error.info, asked.error.data) == ("it is 4", b"data")


def test_without_an_answer_a_request_ends_with_request_timeout() -> None:
    wire = Wire()
    stations = linked(wire, [10, 30])
    wire.silent.append(node(30))
    asked = Asked(wire, stations[10], node(30), PingRequest(), to_resource=False, limit=1.0)
    wire.run(0.9)
    assert not asked.is_done
    wire.run(0.2)
    assert asked.error is not None
    assert asked.error.code is ErrorCode.REQUEST_TIMEOUT
    assert stations[10].kernel.counters.requests_timed_out == 1
    assert len(stations[10].requests) == 0


def test_a_link_that_breaks_with_a_hundred_in_flight_loses_none() -> None:
    wire = Wire()
    stations = linked(wire, [10, 20, 30, 40])
    stations[30].serves = after(stations[30], 30.0)
    asked = [Asked(wire, stations[10], AT, FETCH, to_resource=True) for _ in range(100)]
    wire.run(0.01)
    wire.kill(node(30))
    wire.run(0.1)
    assert {(each.source, each.is_done) for each in asked} == {(node(40), True)}
    assert all(context.stand_in for _, context in stations[40].served[-100:])


def test_after_a_mere_reset_the_same_peer_is_asked_again() -> None:
    wire = Wire()
    stations = linked(wire, [10, 20, 30, 40])
    stations[30].serves = after(stations[30], 0.05)
    asked = Asked(wire, stations[10], AT, STORE, to_resource=True)
    wire.run(0.01)
    wire.cut(node(10), node(30))
    wire.run(1.0)
    assert asked.source == node(30)
    assert [type(request) for request, _ in stations[30].served[10:]] == [StoreRequest]


def test_a_slow_peer_is_routed_around_and_not_accused() -> None:
    wire = Wire()
    stations = linked(wire, [10, 20, 30, 40])
    for _ in range(20):
        Asked(wire, stations[10], AT, FETCH, to_resource=True)
        wire.run(0.1)
    before = stations[10].kernel.counters.requests_resent
    stations[30].serves = after(stations[30], 0.5)
    served = len(stations[30].served)
    asked = Asked(wire, stations[10], AT, FETCH, to_resource=True)
    wire.run(1.0)
    assert asked.source == node(30)
    assert stations[10].kernel.counters.requests_resent > before
    sent = [each for frame in wire.frames(node(10)) for each in frame]
    assert not any(envelope.avoid for envelope in sent)
    assert len(stations[30].served) == served + 1  # duplicates of one in progress start nothing


def test_in_calm_nothing_is_sent_twice() -> None:
    random = Random(3)
    wire = Wire(delay=lambda: 0.001 + random.random() * 0.002)
    stations = linked(wire, [10, 20, 30, 40])
    stations[30].serves = after(stations[30], 0.015)
    for turn in range(200):
        Asked(wire, stations[10], AT, STORE if turn % 2 else FETCH, to_resource=True)
        wire.run(0.05)
    assert stations[10].kernel.counters.requests_resent == 0


def test_a_store_that_arrives_again_is_answered_again_and_done_once() -> None:
    wire = Wire()
    stations = linked(wire, [10, 20, 30, 40])
    asked = Asked(wire, stations[10], AT, STORE, to_resource=True)
    wire.run(0.1)
    assert asked.is_done
    sent = next(
        each
        for frame in wire.frames(node(10))
        for each in frame
        if each.method == StoreRequest.CODE
    )
    answers = stations[30].kernel.counters.frames_written
    call(wire, stations[10], lambda: stations[10].links.send(node(30), sent))
    wire.run(0.1)
    assert len([1 for request, _ in stations[30].served if isinstance(request, StoreRequest)]) == 1
    assert stations[30].kernel.counters.frames_written == answers + 1
    wire.run(16.0)
    call(wire, stations[10], lambda: stations[10].links.send(node(30), sent))
    wire.run(0.1)
    assert len([1 for request, _ in stations[30].served if isinstance(request, StoreRequest)]) == 2


def test_more_own_requests_than_allowed_are_refused_at_once() -> None:
    wire = Wire()
    config = config_of(node(10), in_flight=2)
    one = Station(node(10), [node(10), node(30)], config)
    wire.add(one)
    asked = [Asked(wire, one, node(30), PingRequest(), to_resource=False) for _ in range(3)]
    assert [each.is_done for each in asked] == [False, False, True]
    assert asked[2].error is not None
    assert asked[2].error.code is ErrorCode.BUSY
    assert asked[2].error.retry_after > 0


def test_more_work_than_allowed_is_answered_busy() -> None:
    wire = Wire()
    known = [node(10), node(30)]
    one, two = Station(known[0], known), Station(known[1], known, config_of(known[1], in_flight=2))
    replies: list[Reply[None]] = []

    async def hold(request: Request, context: RequestContext) -> Answer:
        replies.append(two.kernel.reply())
        await replies[-1]
        return answer_of(request)

    two.serves = hold
    wire.add(one)
    wire.add(two)
    asked = [Asked(wire, one, AT, FETCH, to_resource=True) for _ in range(3)]
    wire.run(0.1)
    assert [each.error.code if each.error else None for each in asked] == [
        None,
        None,
        ErrorCode.BUSY,
    ]
    for reply in replies:
        call(wire, two, partial(reply.resolve, None))
    wire.run(0.1)
    assert all(each.is_done for each in asked)


def test_a_request_to_a_dead_peer_fails_as_soon_as_that_is_known() -> None:
    wire = Wire()
    stations = stations_of(wire, [10, 30])
    wire.kill(node(30))
    asked = Asked(wire, stations[10], node(30), PingRequest(), to_resource=False)
    wire.run(0.1)
    assert asked.error is not None
    assert asked.error.code is ErrorCode.REQUEST_TIMEOUT


def test_a_death_that_is_told_sends_what_waits_past_the_dead() -> None:
    wire = Wire()
    stations = linked(wire, [10, 20, 30, 40])
    wire.silent.append(node(30))
    asked = Asked(wire, stations[10], AT, FETCH, to_resource=True)
    wire.run(0.01)

    def die() -> None:
        stations[10].table.add_avoid(node(30), 100.0)
        stations[10].requests.on_member_dead(node(30))

    call(wire, stations[10], die)
    wire.run(0.1)
    assert asked.source == node(40)


def test_a_way_around_that_has_no_room_leaves_the_request_where_it_is() -> None:
    wire = Wire()
    known = [node(number) for number in (10, 30, 40)]
    one, slow, full = (Station(each, known, config_of(each, link_queue=1)) for each in known)
    for station in (one, slow, full):
        station.serves = at_once
        wire.add(station)
    for peer in known[1:]:
        Asked(wire, one, peer, PingRequest(), to_resource=False)
        wire.run(0.1)
    wire.stuck.append(full.own)
    for _ in range(2):  # one that is being written, and one that waits
        Asked(wire, one, full.own, PingRequest(), to_resource=False)
    slow.serves = after(slow, 30.0)
    Asked(wire, one, AT, FETCH, to_resource=True)
    wire.run(0.9)
    assert one.kernel.counters.requests_resent == 0
    wire.cut(one.own, slow.own)
    wire.run(0.01)
    assert one.kernel.counters.requests_resent == 1


def patience() -> tuple[Kernel, Patience]:
    kernel = Kernel(Random(1))
    links = Links(kernel, config_of(node(1)), node(1), Table(node(1)))
    return kernel, Patience(kernel, links)


def test_retries_are_a_tenth_of_the_requests_in_ten_seconds() -> None:
    kernel, budget = patience()
    assert [budget.allow_retry() for _ in range(BURST + 1)] == [True] * BURST + [False]
    for _ in range(1000):
        budget.on_sent()
    assert sum(budget.allow_retry() for _ in range(1000)) == 100 - BURST
    kernel.begin(25.0)
    assert [budget.allow_retry() for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_nothing_is_sent_again_out_of_impatience_while_somebody_says_busy() -> None:
    kernel, budget = patience()
    budget.on_busy()
    assert not budget.allow_retry()
    kernel.begin(1.1)
    assert budget.allow_retry()


def test_patience_grows_with_what_was_measured_and_with_our_own_lag() -> None:
    kernel, budget = patience()
    peer = NodeId(node(2))
    for _ in range(100):
        budget.answered(FetchRequest.CODE, peer, 0.2, is_direct=False)
    slow = budget.seconds(FetchRequest.CODE, peer, sends=1)
    assert slow > 0.2
    assert budget.seconds(FetchRequest.CODE, peer, sends=2) > slow
    kernel.lag = 0.5
    assert budget.seconds(FetchRequest.CODE, peer, sends=1) == slow + 0.5
