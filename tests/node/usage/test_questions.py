"""What the usages answer to the control service."""

import pytest

from chordial_node.boundary.control import (
    Answer,
    AskTrace,
    Done,
    Get,
    Hop,
    ListUsers,
    Put,
    Question,
    Refused,
    RemoveUser,
    SetUser,
    TraceAnswer,
    UsersAnswer,
    UserStatus,
    ValueAnswer,
)
from chordial_node.boundary.effects import Answered
from chordial_node.overlay.kinds import KindId
from chordial_node.security.credentials import make_credentials, resource_of_user, seal_credentials
from tests.node.usage.phone import Phone
from tests.node.usage.rig import DOMAIN, KEYS, Wire


def sealed(user: str, password: str = "pw") -> bytes:
    return seal_credentials(KEYS, make_credentials(user, DOMAIN, password), b"n" * 12)


def ask(wire: Wire, question: Question) -> Answer:
    edge = wire.edges[0]
    before = len(edge.answers)
    edge.turn(lambda: edge.server.on_asked(7, question))
    wire.run(1.0)
    [answered] = [each for each in edge.answers[before:] if isinstance(each, Answered)]
    assert answered.call == 7
    return answered.answer


def test_a_user_that_was_set_can_register() -> None:
    wire = Wire(2)
    assert isinstance(ask(wire, SetUser("dora", DOMAIN, sealed("dora", "dorapw"))), Done)
    assert Phone(wire, "dora", ("10.0.0.2", 5060), edge=1).register().status == 200


def test_a_removed_user_and_all_its_bindings_are_gone() -> None:
    wire = Wire(2)
    ask(wire, SetUser("dora", DOMAIN, sealed("dora", "dorapw")))
    phone = Phone(wire, "dora", ("10.0.0.2", 5060), edge=0)
    phone.register()
    assert isinstance(ask(wire, RemoveUser("dora", DOMAIN)), Done)
    assert phone.register().status == 401
    shelf = wire.shared.shelves[resource_of_user("dora", DOMAIN), KindId.REGISTRATION]
    assert not any(entry.exists for entry in shelf.entries.values())


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (SetUser("dora", "example.org", sealed("dora")), "forbidden"),
        (SetUser("dora", DOMAIN, sealed("dave")), "forbidden"),
        (SetUser("dora", DOMAIN, b"nothing"), "forbidden"),
        (RemoveUser("nobody", DOMAIN), "not_found"),
        (AskTrace("nonsense"), "invalid_message"),
        (AskTrace("node:12"), "invalid_message"),
        (AskTrace("sip:bob@example.org"), "not_found"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_reason(question: Question, code: str) -> None:
    answer = ask(Wire(1), question)
    assert isinstance(answer, Refused)
    assert answer.code == code
    assert answer.reason


def test_values_are_put_and_got() -> None:
    wire = Wire(1)
    ask(wire, Put(b"key", b"value", 60.0))
    answer = ask(wire, Get(b"key"))
    assert isinstance(answer, ValueAnswer)
    assert (answer.found, answer.value, answer.copies) == (True, b"value", 3)


def test_users_of_the_own_range_are_listed_without_secrets() -> None:
    wire = Wire(1)
    for user in ("dora", "emil"):
        ask(wire, SetUser(user, DOMAIN, sealed(user, f"{user}pw")))
    Phone(wire, "emil", ("10.0.0.2", 5060)).register()
    answer = ask(wire, ListUsers())
    assert isinstance(answer, UsersAnswer)
    assert sorted(answer.users, key=lambda each: each.user) == [
        UserStatus("dora", DOMAIN, False, key_number=1),
        UserStatus("emil", DOMAIN, True, contacts=1, key_number=1),
    ]


def test_the_list_tells_who_keeps_a_user() -> None:
    wire = Wire(1)
    made = make_credentials("dora", DOMAIN, "pw", source="calls/dora/uid-1")
    ask(wire, SetUser("dora", DOMAIN, seal_credentials(KEYS, made, b"n" * 12)))
    answer = ask(wire, ListUsers())
    assert isinstance(answer, UsersAnswer)
    assert [each.source for each in answer.users] == ["calls/dora/uid-1"]


def test_a_trace_shows_the_way_and_the_contacts_at_its_end() -> None:
    wire = Wire(2)
    wire.add_user("bob")
    Phone(wire, "bob", ("10.0.0.2", 5060), edge=1).register()
    hop = Hop(wire.edges[0].own, "p1", "self", 0.0, 0.0)
    answer = ask(wire, AskTrace("sip:bob@chordial.test"))
    assert isinstance(answer, TraceAnswer)
    assert answer.hops == (hop,)
    [contact] = answer.contacts
    assert contact.contact == "sip:bob@10.0.0.2:5060"
    assert contact.edge == wire.edges[1].own
    assert contact.reach == "direct"
    assert 0 < contact.expires_in <= 300
