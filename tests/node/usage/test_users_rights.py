"""What a user's record allows: a disabled user, and as many contacts as it may have."""

import pytest

from chordial_node.boundary.control import Done, SetUser
from chordial_node.overlay.kinds import KindId
from chordial_node.security.credentials import make_credentials, resource_of_user, seal_credentials
from chordial_node.usage.credentials import CACHE_SECONDS
from tests.node.usage.phone import Phone
from tests.node.usage.rig import DOMAIN, KEYS, Wire
from tests.node.usage.test_call_flow import BOB, Pair
from tests.node.usage.test_questions import ask


def set_user(
    wire: Wire, user: str, password: str = "", *, state: str = "enabled", max_contacts: int = 0
) -> None:
    made = make_credentials(
        user, DOMAIN, password or f"{user}pw", state=state, max_contacts=max_contacts
    )
    sealed = seal_credentials(KEYS, made, bytes(12))
    assert isinstance(ask(wire, SetUser(user, DOMAIN, sealed)), Done)


def phone(wire: Wire, number: int, user: str = "dora") -> Phone:
    return Phone(wire, user, ("198.51.100.7", 5060 + number), instance=f"urn:uuid:{number}")


def test_a_disabled_user_cannot_register_and_who_guesses_learns_nothing() -> None:
    wire = Wire(2)
    set_user(wire, "dora", state="disabled")
    assert phone(wire, 1).register().status == 403
    set_user(wire, "dave", "another", state="disabled")
    assert phone(wire, 2, "dave").register().status == 401


def test_disabling_ends_what_was_registered() -> None:
    wire = Wire(2)
    set_user(wire, "dora")
    assert phone(wire, 1).register().status == 200
    set_user(wire, "dora", state="disabled")
    shelf = wire.shared.shelves[resource_of_user("dora", DOMAIN), KindId.REGISTRATION]
    assert not any(entry.exists for entry in shelf.entries.values())


def test_a_disabled_user_is_called_as_one_who_is_away() -> None:
    """RFC 3261 §21.4.18: a user who is known and cannot be reached now gets 480."""
    pair = Pair()
    set_user(pair.wire, "bob", state="disabled")
    pair.wire.run(CACHE_SECONDS)
    pair.alice.call(BOB)
    assert pair.alice.answer(b"INVITE").status == 480
    assert pair.bob.requests(b"INVITE") == []


def test_a_binding_that_slipped_in_is_not_called_either() -> None:
    pair = Pair()
    shelf = pair.wire.shared.shelves[resource_of_user("bob", DOMAIN), KindId.REGISTRATION]
    kept = dict(shelf.entries)
    set_user(pair.wire, "bob", state="disabled")
    shelf.entries.update(kept)
    pair.wire.run(CACHE_SECONDS)
    pair.alice.call(BOB)
    assert pair.alice.answer(b"INVITE").status == 480


def test_a_disabled_user_cannot_call() -> None:
    pair = Pair()
    set_user(pair.wire, "alice", state="disabled")
    pair.wire.run(CACHE_SECONDS)
    pair.alice.call(BOB)
    assert pair.alice.answer(b"INVITE").status == 403


@pytest.mark.parametrize(("own", "allowed"), [(1, 1), (2, 2), (0, 10), (99, 10)])
def test_a_user_has_as_many_contacts_as_its_record_says_but_not_more_than_all_others(
    own: int, allowed: int
) -> None:
    wire = Wire(1)
    set_user(wire, "dora", max_contacts=own)
    statuses = [phone(wire, number).register().status for number in range(1, allowed + 2)]
    assert statuses == [200] * allowed + [403]


def test_an_enabled_user_registers_again() -> None:
    wire = Wire(1)
    set_user(wire, "dora", state="disabled")
    desk = phone(wire, 1)
    assert desk.register().status == 403
    set_user(wire, "dora")
    assert desk.register().status == 200
