"""Questions and answers of the control service ↔ the messages of `control.proto`.

Fields have the same names on both sides, so one loop over the message's own description turns any
of them; a struct without a message, or a field without its twin, fails the round-trip test. What a
question means is not known here.
"""

from collections.abc import Mapping
from typing import TypeVar, cast

import msgspec
from google.protobuf.message import DecodeError, Message

from chordial_node.boundary import control
from chordial_node.boundary.control import ANSWERS, Answer, Question, Refused
from chordial_node.ids import ID_LENGTH
from chordial_node.wire import control_pb2 as pb

SERVICE = "chordial.control.v1.Control"
REFUSED_METADATA = "chordial-refused-bin"

T = TypeVar("T", bound=msgspec.Struct)

MESSAGES: Mapping[type[msgspec.Struct], type[Message]] = {
    control.Refused: pb.Refused,
    control.Done: pb.Done,
    control.AskStatus: pb.StatusRequest,
    control.MemberStatus: pb.MemberStatus,
    control.StatusAnswer: pb.StatusAnswer,
    control.AskTrace: pb.TraceRequest,
    control.Hop: pb.Hop,
    control.Contact: pb.Contact,
    control.TraceAnswer: pb.TraceAnswer,
    control.Put: pb.PutRequest,
    control.Get: pb.GetRequest,
    control.Remove: pb.RemoveRequest,
    control.ValueAnswer: pb.ValueAnswer,
    control.SetUser: pb.SetUserRequest,
    control.RemoveUser: pb.RemoveUserRequest,
    control.ListUsers: pb.ListUsersRequest,
    control.UserStatus: pb.UserStatus,
    control.UsersAnswer: pb.UsersAnswer,
    control.Drain: pb.DrainRequest,
    control.DrainAnswer: pb.DrainAnswer,
    control.Lookup: pb.LookupRequest,
    control.LookupAnswer: pb.LookupAnswer,
    control.ForceTrace: pb.ForceTraceRequest,
    control.ForcedTrace: pb.ForcedTrace,
    control.Configure: pb.ConfigureRequest,
}
"""Each struct of the control service and the message that carries it."""

METHODS: Mapping[str, type[Question]] = {
    "Status": control.AskStatus,
    "Trace": control.AskTrace,
    "Put": control.Put,
    "Get": control.Get,
    "Remove": control.Remove,
    "SetUser": control.SetUser,
    "RemoveUser": control.RemoveUser,
    "ListUsers": control.ListUsers,
    "Drain": control.Drain,
    "Lookup": control.Lookup,
    "ForceTrace": control.ForceTrace,
    "Configure": control.Configure,
}
"""Each method of the service and the question it asks; `ANSWERS` has what it returns."""

_STRUCTS = {message.DESCRIPTOR.full_name: struct for struct, message in MESSAGES.items()}
_PATHS = {question: f"/{SERVICE}/{name}" for name, question in METHODS.items()}


class CodecError(ValueError):
    """Bytes that are not what the service takes; the message says what is wrong."""


def path_of(question: Question) -> str:
    """Return the gRPC path of the method that asks this question."""
    return _PATHS[type(question)]


def encode(struct: msgspec.Struct) -> bytes:
    """Return a question, an answer or a part of one as protobuf bytes."""
    return _to_message(struct).SerializeToString()


def decode_question(kind: type[Question], data: bytes) -> Question:
    """Return the question that the bytes hold; CodecError says what is wrong."""
    question = _decode(kind, data)
    if isinstance(question, control.Lookup) and len(question.resource_id) != ID_LENGTH:
        raise CodecError(f"resource_id is {ID_LENGTH} bytes, not {len(question.resource_id)}")
    return question


def decode_answer(kind: type[Question], data: bytes) -> Answer:
    """Return the answer to a question of this kind; CodecError says what is wrong."""
    return _decode(ANSWERS[kind], data)


def decode_refused(data: bytes) -> Refused:
    """Return the refusal that trailing metadata held; CodecError says what is wrong."""
    return _decode(Refused, data)


def _decode(kind: type[T], data: bytes) -> T:
    message = MESSAGES[kind]()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise CodecError(f"this is no {message.DESCRIPTOR.name}: {error}") from error
    return cast("T", _to_struct(message))


def _to_message(struct: msgspec.Struct) -> Message:
    message = MESSAGES[type(struct)]()
    for name in struct.__struct_fields__:
        _set(message, name, getattr(struct, name))
    return message


def _set(message: Message, name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, dict):
        getattr(message, name).update(value)
    elif isinstance(value, tuple):
        items = [_to_message(v) if isinstance(v, msgspec.Struct) else v for v in value]
        getattr(message, name).extend(items)
    else:
        setattr(message, name, value)


def _to_struct(message: Message) -> msgspec.Struct:
    values: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = dict(value)
        elif field.is_repeated:
            value = tuple(_to_struct(v) if isinstance(v, Message) else v for v in value)
        elif field.has_presence and not message.HasField(field.name):
            value = None
        values[field.name] = value
    return _STRUCTS[message.DESCRIPTOR.full_name](**values)
