"""What arrives is within range, or refused as malformed: nothing else is ever decoded."""

import msgspec
import pytest
from msgspec.structs import replace

from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import (
    MESSAGES,
    Entry,
    Envelope,
    ErrorAnswer,
    EventGroup,
    Events,
    FetchRequest,
    JoinRequest,
    MemberRecord,
    Message,
    Rank,
    ReplicaItem,
    ReplicateRequest,
    decode_body,
    decode_frame,
    encode_body,
    encode_frame,
)

OWN = NodeId(b"\x11" * 16)
AT = ResourceId(b"\x22" * 16)
ENTRY = Entry(b"", b"value", True, 1, 2, 2, OWN)
MEMBER = MemberRecord(OWN, 1, Rank.ALIVE, "peer", ("10.0.0.1", 6084), ("10.0.0.1", 5081), "", True)
ITEM = ReplicaItem(AT, 5, 1, ENTRY)


def envelope(**changes: object) -> Envelope:
    plain = Envelope(0x17, 5, OWN, OWN, False, 9, [OWN], [], Trace(b"t" * 16, b"s" * 8), 0, b"")
    return replace(plain, **changes)


@pytest.mark.parametrize(
    "bad",
    [
        envelope(source=b""),
        envelope(destination=b"\x11" * 17),
        envelope(via=[b"\x11" * 15]),
        envelope(avoid=[b""]),
        envelope(method=-1),
        envelope(trace=Trace(b"t" * 17, b"s" * 8)),
        envelope(trace=Trace(b"t" * 16, b"")),
    ],
)
def test_an_envelope_out_of_range_makes_its_frame_malformed(bad: Envelope) -> None:
    assert decode_frame(encode_frame([envelope()])) == [envelope()]
    with pytest.raises(OverlayError) as caught:
        decode_frame(encode_frame([envelope(), bad]))
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


@pytest.mark.parametrize(
    "bad",
    [
        ErrorAnswer(3, "later", float("nan")),
        ErrorAnswer(3, "later", float("inf")),
        ErrorAnswer(3, "later", -1.0),
        FetchRequest(ResourceId(b"short"), ()),
        JoinRequest(replace(MEMBER, overlay_address=("10.0.0.1", 70_000))),
        JoinRequest(replace(MEMBER, incarnation=-1)),
        Events(1, (EventGroup(OWN, (replace(MEMBER, node_id=NodeId(b"")),)),)),
        ReplicateRequest((replace(ITEM, kind=-1),)),
        ReplicateRequest((replace(ITEM, kind=1 << 32),)),
        ReplicateRequest((replace(ITEM, generation=(1 << 64) - 1),)),
        ReplicateRequest((replace(ITEM, entry=replace(ENTRY, storage_time_ms=-1)),)),
        ReplicateRequest((replace(ITEM, entry=replace(ENTRY, keep_until_ms=(1 << 64) - 1)),)),
    ],
)
def test_a_field_out_of_range_makes_its_message_malformed(bad: Message) -> None:
    with pytest.raises(OverlayError) as caught:
        decode_body(bad.CODE, encode_body(bad))
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


def test_codes_that_nobody_knows_are_refused() -> None:
    with pytest.raises(OverlayError) as caught:
        decode_body(0x7001, b"\x90")
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


def test_fields_that_are_added_at_the_end_are_ignored() -> None:
    later = msgspec.msgpack.encode([3, "later", 0.5, b"data", "of tomorrow"])
    assert decode_body(ErrorAnswer.CODE, later) == ErrorAnswer(3, "later", 0.5, b"data")


def test_every_request_is_odd_and_its_answer_one_more() -> None:
    requests = [code for code, each in MESSAGES.items() if each.__name__.endswith("Request")]
    assert requests
    for code in requests:
        name = MESSAGES[code].__name__.removesuffix("Request")
        assert (code % 2, MESSAGES[code + 1].__name__) == (1, f"{name}Answer")
