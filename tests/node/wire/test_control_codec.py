"""The control service's bytes: every struct has its message, and comes back as it went."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.boundary import control
from chordial_node.boundary.control import ANSWERS, Answer, Question
from chordial_node.ids import NodeId, ResourceId
from chordial_node.wire import control_pb2 as pb
from chordial_node.wire.control_codec import (
    MESSAGES,
    METHODS,
    CodecError,
    decode_answer,
    decode_question,
    decode_refused,
    encode,
    path_of,
)

NODE = NodeId(bytes(range(16)))
RESOURCE = ResourceId(bytes(range(16, 32)))
MEMBER = control.MemberStatus(NODE, "p1", "alive", "[::1]:6084", is_linked=True, round_trip_ms=0.5)
STATUS = control.StatusAnswer(
    node_id=NODE,
    name="p0",
    overlay_name="laptop",
    state="ready",
    incarnation=1 << 40,
    predecessor=NODE,
    successors=(NODE, NODE),
    members=(MEMBER,),
    links=1,
    keys=2,
    owned_keys=3,
    registrations=4,
    calls=5,
    copies=3,
    in_step=True,
    is_degraded=True,
    uptime_seconds=1.5,
    counters={"lookups": 7, "values_expired": 0},
    is_ready=True,
    ready_reason="joined",
    version="0.1.0",
    failure_domain="zone-a/worker-1",
    not_after=1.75e9,
    bundle_hash="0badcafe",
    membership_digest="cafe0bad",
    copies_missing=6,
    phones_waiting=4,
)
QUESTIONS: tuple[Question, ...] = (
    control.AskStatus(),
    control.AskTrace("sip:bøb@chordial.test"),
    control.Put(b"k", b"\0\xff", 60.0, b"secret"),
    control.Get(b"k"),
    control.Remove(b"k", b"secret"),
    control.SetUser("alice", "chordial.test", b"\xff\0"),
    control.RemoveUser("alice", "chordial.test"),
    control.ListUsers(),
    control.Drain(),
    control.Drain(restart=True),
    control.Lookup(RESOURCE),
    control.ForceTrace(b"a84b4c76e66710@chordial.test"),
    control.Configure(b'{"document": "\xff", "signature": ""}'),
)
ANSWERED: tuple[tuple[type[Question], Answer], ...] = (
    (control.AskStatus, STATUS),
    (control.AskStatus, msgspec.structs.replace(STATUS, predecessor=None, successors=())),
    (
        control.AskTrace,
        control.TraceAnswer(
            RESOURCE,
            (control.Hop(NODE, "p2", "table", 0.1, 0.2),),
            found=True,
            contacts=(control.Contact("<sip:a@b>", NODE, "p2", 59.5, "direct"),),
        ),
    ),
    (control.Get, control.ValueAnswer(RESOURCE, found=True, value=b"v", copies=3, expires_at=9.5)),
    (control.Put, control.ValueAnswer(RESOURCE, found=False)),
    (control.SetUser, control.Done()),
    (control.RemoveUser, control.Done()),
    (
        control.ListUsers,
        control.UsersAnswer((control.UserStatus("alice", "chordial.test", is_registered=True),)),
    ),
    (control.Drain, control.DrainAnswer(3, 0.25)),
    (control.Lookup, control.LookupAnswer(NODE, 2, found=True)),
    (control.ForceTrace, control.ForcedTrace(bytes(16))),
    (control.Configure, control.Done()),
)


def structs_of_the_boundary() -> list[type[msgspec.Struct]]:
    return [
        value
        for value in vars(control).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value not in (Question, Answer)
    ]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: type(q).__name__)
def test_a_question_comes_back_as_it_went(question: Question) -> None:
    assert decode_question(type(question), encode(question)) == question


@pytest.mark.parametrize(("kind", "answer"), ANSWERED, ids=lambda x: type(x).__name__)
def test_an_answer_comes_back_as_it_went(kind: type[Question], answer: Answer) -> None:
    assert decode_answer(kind, encode(answer)) == answer


def test_a_refusal_comes_back_as_it_went() -> None:
    refused = control.Refused("busy", "too many requests", 0.5)
    assert decode_refused(encode(refused)) == refused


def test_every_struct_has_a_message_with_the_same_fields() -> None:
    fields = {
        struct: [field.name for field in MESSAGES[struct].DESCRIPTOR.fields]
        for struct in structs_of_the_boundary()
    }
    assert fields == {struct: list(struct.__struct_fields__) for struct in fields}


def test_every_question_has_a_method_and_an_answer_that_the_service_declares() -> None:
    service = pb.DESCRIPTOR.services_by_name["Control"]
    declared = {
        method.name: (method.input_type.name, method.output_type.name) for method in service.methods
    }
    assert declared == {
        name: (
            MESSAGES[question].DESCRIPTOR.name,
            MESSAGES[ANSWERS[question]].DESCRIPTOR.name,
        )
        for name, question in METHODS.items()
    }
    assert {type(question) for question in QUESTIONS} == set(METHODS.values()) == set(ANSWERS)
    assert path_of(control.AskStatus()) == "/chordial.control.v1.Control/Status"


def test_bytes_that_are_no_message_are_told_as_such() -> None:
    with pytest.raises(CodecError, match="no TraceRequest"):
        decode_question(control.AskTrace, b"\x0a\xff")


def test_an_identifier_of_another_length_is_told_as_such() -> None:
    with pytest.raises(CodecError, match="resource_id is 16 bytes, not 3"):
        decode_question(control.Lookup, encode(control.Lookup(ResourceId(b"abc"))))


@given(st.binary(max_size=200), st.sampled_from(sorted(METHODS)))
def test_no_bytes_make_the_codec_fail_otherwise(data: bytes, method: str) -> None:
    try:
        question = decode_question(METHODS[method], data)
    except CodecError:
        return
    assert decode_question(METHODS[method], encode(question)) == question
