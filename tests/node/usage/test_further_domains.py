"""Several domains: each is the realm of its own users, the first is what our addresses mean."""

import pytest

from chordial_node.boundary.control import Done, Refused, SetUser
from chordial_node.boundary.effects import Answered
from chordial_node.security.credentials import make_credentials, seal_credentials
from tests.node.usage.phone import Phone
from tests.node.usage.rig import DOMAIN, KEYS, Wire

SECOND = "voice.example.org"
HOME, OFFICE = ("198.51.100.7", 40112), ("198.51.100.8", 40112)


def wired() -> Wire:
    wire = Wire(2, domains=(SECOND, "third.example.org"))
    wire.add_user("alice")
    for user in ("alice", "bob"):
        wire.add_user(user, SECOND)
    return wire


def bob(wire: Wire, edge: int = 0) -> Phone:
    return Phone(wire, "bob", OFFICE, edge=edge, domain=SECOND.encode())


def test_a_user_of_a_second_domain_is_challenged_with_it_and_registers() -> None:
    wire = wired()
    phone = bob(wire)
    uri = b"sip:" + SECOND.encode()
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line()))
    challenge = phone.answer(b"REGISTER")
    assert challenge.status == 401
    assert b'realm="voice.example.org"' in (challenge.first(b"www-authenticate") or b"")
    assert phone.register().status == 200


def test_users_of_two_domains_call_each_other_from_edge_to_edge() -> None:
    wire = wired()
    alice, other = Phone(wire, "alice", HOME), bob(wire, edge=1)
    assert (alice.register().status, other.register().status) == (200, 200)
    alice.call(b"sip:bob@voice.example.org")
    [invite] = other.requests(b"INVITE")
    assert not invite.lines(b"proxy-authorization")
    other.call(b"sip:alice@chordial.test", call_id=b"back")
    [back] = alice.requests(b"INVITE")
    assert b"<sip:bob@voice.example.org>" in (back.first(b"p-asserted-identity") or b"")
    assert not back.lines(b"proxy-authorization")


def test_one_name_in_two_domains_is_two_users() -> None:
    wire = wired()
    here = Phone(wire, "alice", HOME)
    there = Phone(wire, "alice", ("198.51.100.9", 40112), domain=SECOND.encode())
    assert (here.register().status, there.register().status) == (200, 200)
    bob(wire).call(b"sip:alice@voice.example.org", call_id=b"one")
    assert len(there.requests(b"INVITE")) == 1
    assert here.requests(b"INVITE") == []


def test_our_bare_address_means_the_first_domain() -> None:
    wire = wired()
    phone = Phone(wire, "alice", HOME, domain=b"203.0.113.10")
    assert phone.register().status == 200
    bob(wire).call(b"sip:alice@203.0.113.10:5060", call_id=b"one")
    assert len(phone.requests(b"INVITE")) == 1


def test_who_is_known_in_one_domain_is_nobody_in_another() -> None:
    wire = wired()
    assert Phone(wire, "bob", HOME).register().status == 401
    assert Phone(wire, "bob", HOME, domain=b"third.example.org").register().status == 401


def test_a_proof_of_one_domain_is_none_in_another() -> None:
    """The digest is right, for its realm; the address that it shall prove is another one's."""
    wire = wired()
    phone = Phone(wire, "alice", HOME)
    uri = b"sip:chordial.test"
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line()))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", uri)
    to = b"<sip:alice@voice.example.org>"
    phone.send(
        phone.request(
            b"REGISTER", b"sip:voice.example.org", phone.contact_line(), proof, to=to, call_id=b"x"
        )
    )
    answer = phone.answer(b"REGISTER")
    assert answer.status == 401
    assert b'realm="voice.example.org"' in (answer.first(b"www-authenticate") or b"")


def test_to_of_another_domain_than_the_requests_is_not_found() -> None:
    """RFC 3261 §10.3, step 5."""
    wire = wired()
    phone = bob(wire)
    phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line()))
    assert phone.answer(b"REGISTER").status == 404


def test_a_contact_in_a_second_domain_leads_back_to_us() -> None:
    contact = b"Contact: <sip:bob@voice.example.org>"
    assert bob(wired()).register(contact=contact).status == 403


@pytest.mark.parametrize(
    ("domain", "is_taken"), [(DOMAIN, True), (SECOND, True), ("example.net", False)]
)
def test_users_are_kept_for_every_domain_that_is_served(domain: str, is_taken: bool) -> None:
    wire = wired()
    sealed = seal_credentials(KEYS, make_credentials("dora", domain, "dorapw"), b"n" * 12)
    edge = wire.edges[0]
    edge.turn(lambda: edge.server.on_asked(1, SetUser("dora", domain, sealed)))
    wire.run(1.0)
    [answered] = [each for each in edge.answers if isinstance(each, Answered)]
    if is_taken:
        assert isinstance(answered.answer, Done)
        phone = Phone(wire, "dora", HOME, domain=domain.encode())
        assert phone.register().status == 200
    else:
        assert isinstance(answered.answer, Refused)
        assert "serves chordial.test, voice.example.org, third.example.org" in (
            answered.answer.reason
        )
