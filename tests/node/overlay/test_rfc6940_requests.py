"""RFC 6940 §6.2 and §6.3.3: transactions, and the answers that tell of errors."""

from chordial_node.ids import ResourceId
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    MESSAGES,
    Answer,
    Envelope,
    ErrorAnswer,
    KindData,
    Message,
    PingAnswer,
    PingRequest,
    Request,
    StoreAnswer,
    StoreRequest,
    decode_body,
    encode_body,
)
from chordial_node.overlay.requests import RequestContext
from tests.node.overlay.rig import Asked, Station, Wire, call, node, ring_of

STORE = StoreRequest(ResourceId(bytes(16)), (KindData(1, 0, ()),))


async def answered(request: Request, context: RequestContext) -> Answer:
    return StoreAnswer((), ()) if isinstance(request, StoreRequest) else PingAnswer(1, 2)


def pair(wire: Wire) -> tuple[Station, Station]:
    stations = ring_of(wire, [10, 20])
    for station in stations.values():
        station.serves = answered
    return stations[10], stations[20]


def written(wire: Wire, by: Station, method: int) -> list[Envelope]:
    return [each for frame in wire.frames(by.own) for each in frame if each.method == method]


def test_an_answer_carries_the_transaction_id_of_its_request() -> None:
    """RFC 6940 §6.2.2: the transaction ID of an answer is copied from the request."""
    wire = Wire()
    one, two = pair(wire)
    Asked(wire, one, two.own, PingRequest(), to_resource=False)
    wire.run()
    [request] = written(wire, one, PingRequest.CODE)
    [answer] = written(wire, two, PingAnswer.CODE)
    assert answer.transaction == request.transaction
    assert 0 <= request.transaction < 1 << 64


def test_a_request_sent_again_keeps_its_transaction_id() -> None:
    """RFC 6940 §6.2.1: a retransmission of a request has the same transaction ID."""
    wire = Wire()
    one, two = pair(wire)
    Asked(wire, one, two.own, PingRequest(), to_resource=False)
    wire.run()
    wire.silent.append(two.own)
    asked = Asked(wire, one, two.own, PingRequest(), to_resource=False)
    wire.run(0.01)
    wire.silent.clear()
    wire.cut(one.own, two.own)
    wire.run()
    assert asked.answer == PingAnswer(1, 2)
    transactions = [each.transaction for each in written(wire, one, PingRequest.CODE)]
    assert len(transactions) == 3
    assert transactions[1] == transactions[2] != transactions[0]


def test_a_request_is_given_up_after_five_reliability_timers() -> None:
    """RFC 6940 §6.2.1: without an answer the request fails with Error_Request_Timeout."""
    wire = Wire()
    one, two = pair(wire)
    Asked(wire, one, two.own, PingRequest(), to_resource=False)
    wire.run()
    wire.silent.append(two.own)
    limit = 5 * one.config.request_timeout_seconds
    errors: list[tuple[float, OverlayError]] = []

    async def ask() -> None:
        try:
            await one.requests.ask(two.own, PingRequest(), to_resource=False)
        except OverlayError as error:
            errors.append((one.kernel.now, error))

    asked_at = wire.now
    call(wire, one, lambda: one.kernel.start(ask()))
    wire.run(limit + 0.1)
    [(failed_at, error)] = errors
    assert error.code is ErrorCode.REQUEST_TIMEOUT
    assert abs(failed_at - asked_at - limit) < 0.001


def test_a_repeated_store_is_answered_from_memory_for_fifteen_seconds() -> None:
    """RFC 6940 §6.2.1: answers to requests that are not idempotent are kept for 15 seconds."""
    wire = Wire()
    one, two = pair(wire)
    Asked(wire, one, two.own, STORE, to_resource=False)
    wire.run()
    [request] = written(wire, one, StoreRequest.CODE)
    call(wire, one, lambda: one.links.send(two.own, request))
    wire.run(13.0)
    assert len(written(wire, two, StoreAnswer.CODE)) == 2
    assert len(two.served) == 1
    wire.run(2.0)
    call(wire, one, lambda: one.links.send(two.own, request))
    wire.run()
    assert len(two.served) == 2


def test_an_error_is_answered_with_code_and_info() -> None:
    """RFC 6940 §6.3.3.1: an error answer has message code 0xFFFF, an error code and a text."""
    wire = Wire()
    one, two = pair(wire)

    async def refuse(request: Request, context: RequestContext) -> Answer:
        raise OverlayError(ErrorCode.DATA_TOO_LARGE, "at most 64 bytes")

    two.serves = refuse
    asked = Asked(wire, one, two.own, STORE, to_resource=False)
    wire.run()
    [answer] = written(wire, two, 0xFFFF)
    body = decode_body(answer.method, answer.body)
    assert body == ErrorAnswer(ErrorCode.DATA_TOO_LARGE, "at most 64 bytes")
    assert asked.error is not None
    assert asked.error.code is ErrorCode.DATA_TOO_LARGE


def test_requests_are_odd_and_answers_one_more() -> None:
    """RFC 6940 §6.3.3: a request's message code is odd, and its answer's one more."""
    requests = [each for each in MESSAGES.values() if issubclass(each, Request)]
    answers = [each for each in MESSAGES.values() if issubclass(each, Answer)]
    assert {each.CODE % 2 for each in requests} == {1}
    assert {each.CODE for each in requests} == {
        each.CODE - 1 for each in answers if each is not ErrorAnswer
    }


def test_an_answer_of_somebody_else_is_not_taken() -> None:
    """RFC 6940 §6.2.2: an answer must come from the node that the request was for."""
    wire = Wire()
    one, two = pair(wire)
    Asked(wire, one, two.own, PingRequest(), to_resource=False)
    wire.run()
    wire.silent.append(two.own)
    asked = Asked(wire, one, two.own, PingRequest(), to_resource=False)
    wire.run(0.01)
    wire.silent.clear()
    request = written(wire, one, PingRequest.CODE)[-1]

    def forged(source: Station, answer: Message) -> Envelope:
        body = encode_body(answer)
        return Envelope(
            answer.CODE, request.transaction, source.own, one.own, False, 9, [], [], None, 1, body
        )

    false = forged(one, PingAnswer(6, 6))
    call(wire, two, lambda: two.links.send(one.own, false))
    wire.run(0.1)
    assert not asked.is_done
    call(wire, two, lambda: two.links.send(one.own, forged(two, PingAnswer(1, 2))))
    wire.run(0.1)
    assert asked.answer == PingAnswer(1, 2)


def test_the_first_request_to_a_linked_peer_crosses_one_link() -> None:
    """RFC 6940 §6.2.1: the origin routes its own request as it would one that it forwards."""
    wire = Wire()
    one, two = pair(wire)
    asked = Asked(wire, one, node(20), PingRequest(), to_resource=False)
    wire.run()
    assert (asked.source, asked.hops) == (two.own, 1)
