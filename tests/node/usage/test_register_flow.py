"""REGISTER, header by header (sip.md 2 and rules 4, 5, 10 to 14)."""

import msgspec
import pytest

from chordial_node.boundary.control import Drain
from chordial_node.boundary.notices import Registered
from chordial_node.overlay.kinds import KindId
from chordial_node.sip.message import Message
from chordial_node.usage.bindings import DIRECT, FLOW, Registration, device_key
from chordial_node.usage.domains import resource_of
from tests.node.usage.phone import Phone
from tests.node.usage.rig import Wire

NAT = ("198.51.100.7", 40112)
PRIVATE = "192.168.1.20:5060"
ALICE = resource_of(b"alice@chordial.test")


def wired(edges: int = 2) -> Wire:
    wire = Wire(edges)
    for user in ("alice", "bob"):
        wire.add_user(user)
    return wire


def behind_nat(wire: Wire, edge: int = 0, instance: str = "urn:uuid:A") -> Phone:
    contact = f"sip:alice@{PRIVATE}"
    return Phone(wire, "alice", NAT, edge=edge, contact=contact, sent_by=PRIVATE, instance=instance)


def stored(wire: Wire) -> list[Registration]:
    shelf = wire.shared.shelves[ALICE, KindId.REGISTRATION]
    return [
        msgspec.msgpack.decode(each.value, type=Registration)
        for each in shelf.entries.values()
        if each.exists
    ]


def test_a_stranger_is_challenged_once_without_state_and_without_a_fetch() -> None:
    wire = wired()
    phone = behind_nat(wire)
    phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line()))
    challenge = phone.answer(b"REGISTER")
    assert challenge.status == 401
    assert b"received=198.51.100.7" in (challenge.first(b"via") or b"")
    assert b"rport=40112" in (challenge.first(b"via") or b"")
    assert challenge.to_tag
    [value] = challenge.lines(b"www-authenticate")
    assert value.startswith(b'Digest realm="chordial.test", nonce="')
    assert value.endswith(b'algorithm=MD5, qop="auth"')
    assert wire.shared.fetches == 0
    assert wire.edges[0].transactions.open_count == 0


def test_a_registration_is_stored_as_the_reference_flow_says() -> None:
    wire = wired()
    phone = behind_nat(wire)
    answer = phone.register()
    assert answer.status == 200
    [registration] = stored(wire)
    assert registration.edge == wire.edges[0].own
    assert registration.remote == NAT
    assert registration.reach == FLOW
    assert registration.contact == b"sip:alice@192.168.1.20:5060"
    assert registration.instance == b"<urn:uuid:A>"
    assert (registration.call_id, registration.cseq) == (b"r-alice", 2)
    assert 270 <= registration.granted <= 300
    [contact] = answer.lines(b"contact")
    assert contact == (
        b'<sip:alice@192.168.1.20:5060>;expires=%d;+sip.instance="<urn:uuid:A>"'
        % registration.granted
    )
    for absent in (b"path", b"service-route", b"require"):
        assert absent not in answer
    [notice] = [each for _, each in wire.notices if isinstance(each, Registered)]
    assert notice.edge == wire.edges[0].own
    assert wire.edges[0].server.registrations == 1


def test_one_fetch_gets_credentials_and_bindings() -> None:
    wire = wired()
    behind_nat(wire).register()
    assert wire.shared.fetches == 1


def test_a_nonce_of_another_edge_is_stale_and_then_the_same_key_is_overwritten() -> None:
    wire = wired()
    phone = behind_nat(wire)
    phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line()))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", b"sip:chordial.test")
    phone.edge = 1
    phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line(), proof))
    challenge = phone.answer(b"REGISTER")
    assert challenge.status == 401
    assert b"stale=true" in (challenge.first(b"www-authenticate") or b"")
    assert wire.shared.fetches == 0
    phone.edge = 0
    assert phone.register().status == 200
    phone.edge = 1
    assert phone.register().status == 200
    assert [each.edge for each in stored(wire)] == [wire.edges[1].own]


def test_a_replayed_authorization_registers_nobody() -> None:
    """The digest covers neither Contact nor Call-ID: the count of its nonce is spent."""
    wire = wired()
    phone = behind_nat(wire)
    uri = b"sip:chordial.test"
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line()))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", uri)
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line(), proof))
    assert phone.answer(b"REGISTER").status == 200
    thief = Phone(wire, "alice", ("192.0.2.66", 5060))
    for edge in (0, 1):
        thief.edge = edge
        thief.send(thief.request(b"REGISTER", uri, thief.contact_line(), proof, call_id=b"thief"))
        assert thief.answer(b"REGISTER").status == 401
    assert [each.remote for each in stored(wire)] == [NAT]


def test_a_forged_nonce_is_challenged_without_a_fetch() -> None:
    wire = wired()
    phone = behind_nat(wire)
    uri = b"sip:chordial.test"
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line()))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", uri)
    start = proof.index(b'nonce="') + 20
    forged = (
        proof[:start] + (b"A" if proof[start : start + 1] != b"A" else b"B") + proof[start + 1 :]
    )
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line(), forged))
    assert phone.answer(b"REGISTER").status == 401
    assert wire.shared.fetches == 0


def test_unknown_users_and_wrong_passwords_get_the_same_answer() -> None:
    wire = wired()
    answers = []
    for user, secret in (("nobody", "nobody"), ("alice", "wrong")):
        phone = Phone(wire, user, (f"198.51.100.{len(user)}", 5060))
        phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line()))
        challenge = phone.answer(b"REGISTER")
        phone.user = secret.encode()
        proof = phone.digest(challenge, b"REGISTER", b"sip:chordial.test")
        proof = proof.replace(b'username="wrong"', b'username="alice"')
        phone.user = user.encode()
        phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line(), proof))
        answers.append(phone.answer(b"REGISTER"))
    first, second = answers
    assert (first.status, first.reason) == (second.status, second.reason) == (401, b"Unauthorized")
    assert [line.partition(b'nonce="')[0] for line in first.lines(b"www-authenticate")] == [
        line.partition(b'nonce="')[0] for line in second.lines(b"www-authenticate")
    ]


def test_ten_wrong_answers_a_minute_lock_one_address_out_and_no_other() -> None:
    wire = wired(1)
    thief = Phone(wire, "alice", ("192.0.2.66", 5060))
    uri = b"sip:chordial.test"
    for _ in range(10):
        thief.send(thief.request(b"REGISTER", uri, thief.contact_line()))
        proof = thief.digest(thief.answer(b"REGISTER"), b"REGISTER", uri)
        wrong = proof.replace(b'cnonce="cn"', b'cnonce="xx"')
        thief.send(thief.request(b"REGISTER", uri, thief.contact_line(), wrong))
        assert thief.answer(b"REGISTER").status == 401
    assert thief.register().status == 401
    assert behind_nat(wire).register().status == 200
    wire.run(121.0)
    assert thief.register().status == 200


def test_challenges_that_stay_unanswered_end_in_silence() -> None:
    wire = wired(1)
    phone = behind_nat(wire)
    for number in range(80):
        line = phone.contact_line()
        phone.send(phone.request(b"REGISTER", b"sip:chordial.test", line, call_id=b"x%d" % number))
    wire.run(0.1)
    assert 45 <= len(phone.responses(b"REGISTER")) <= 60
    wire.run(2.0)
    assert phone.register().status == 200
    assert wire.edges[0].transactions.open_count == 0


@pytest.mark.parametrize("contact", ["sip:x@chordial.test", "sip:x@203.0.113.10:5060"])
def test_a_contact_at_our_own_domain_or_listener_is_refused(contact: str) -> None:
    wire = wired()
    phone = Phone(wire, "alice", NAT, contact=contact)
    assert phone.register().status == 403


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(60, 60, 60), (120, 120, 120), (300, 270, 300), (3600, 270, 300)]
)
def test_what_is_asked_is_granted_up_to_the_limit(asked: int, least: int, most: int) -> None:
    wire = wired()
    behind_nat(wire).register(expires=asked)
    assert least <= stored(wire)[0].granted <= most


def test_a_draining_edge_grants_a_minute() -> None:
    wire = wired()
    wire.edges[0].turn(lambda: wire.edges[0].server.on_asked(1, Drain()))
    phone = behind_nat(wire)
    phone.register()
    assert [each.granted for each in stored(wire)] == [60]


def test_a_new_port_of_the_same_call_id_replaces_without_an_instance() -> None:
    """A TCP phone without instance-id brings another contact with each connection."""
    wire = wired()
    phone = Phone(wire, "alice", ("10.0.0.9", 33020), tcp=True)
    phone.register()
    phone.contact = b"sip:alice@10.0.0.9:33021;transport=tcp"
    phone.register()
    assert [each.contact for each in stored(wire)] == [phone.contact]


def test_the_eleventh_contact_is_refused_unless_an_old_flow_is_dead() -> None:
    wire = wired(2)
    for number in range(10):
        edge = 1 if number == 0 else 0
        phone = Phone(
            wire,
            "alice",
            (f"198.51.100.{number + 10}", 5060),
            edge=edge,
            contact=f"sip:alice@192.168.0.{number}",
            sent_by=f"192.168.0.{number}:5060",
        )
        assert phone.register(call_id=b"r%d" % number).status == 200
    eleventh = behind_nat(wire)
    assert eleventh.register().status == 403
    wire.kill(1)
    assert eleventh.register().status == 200
    assert len(stored(wire)) == 10


@pytest.mark.parametrize(
    ("sent_by", "contact", "reach"),
    [
        ("10.0.0.9:5060", "sip:alice@10.0.0.9:5060", DIRECT),
        ("10.0.0.9:5062", "sip:alice@10.0.0.9:5060", FLOW),
        ("192.168.1.20:5060", "sip:alice@192.168.1.20:5060", FLOW),
        ("10.0.0.9:5060", "sip:alice@phone.invalid", FLOW),
    ],
)
def test_a_phone_is_direct_only_where_no_nat_shows(sent_by: str, contact: str, reach: str) -> None:
    wire = wired()
    Phone(wire, "alice", ("10.0.0.9", 5060), sent_by=sent_by, contact=contact).register()
    assert [each.reach for each in stored(wire)] == [reach]


def test_a_ring_that_does_not_answer_costs_four_seconds_and_a_500() -> None:
    wire = wired()
    phone = behind_nat(wire)
    phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line()))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", b"sip:chordial.test")
    wire.shared.is_silent = True
    phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line(), proof))
    assert phone.answer(b"REGISTER", wait=4.1).status == 500


def test_path_of_a_border_controller_is_kept_and_given_back() -> None:
    wire = wired()
    answer = behind_nat(wire).register(b"Path: <sip:sbc.example.org;lr>", b"Supported: path")
    assert answer.lines(b"path") == [b"<sip:sbc.example.org;lr>"]
    assert stored(wire)[0].path == (b"<sip:sbc.example.org;lr>",)


def test_register_is_never_forwarded() -> None:
    wire = wired()
    phone = behind_nat(wire)
    phone.send(phone.request(b"REGISTER", b"sip:example.org", phone.contact_line()))
    assert phone.answer(b"REGISTER").status == 403


def test_a_restarted_edge_resumes_udp_bindings_from_the_ring() -> None:
    wire = wired()
    callee = Phone(wire, "bob", ("10.0.0.2", 5060), edge=1)
    callee.register()
    wire.edges[1].begin()
    caller = behind_nat(wire)
    caller.call(b"sip:bob@chordial.test")
    assert len(callee.requests(b"INVITE")) == 1


def test_keepalives_go_down_a_flow_that_needs_them() -> None:
    wire = wired()
    phone = behind_nat(wire)
    phone.register()
    wire.run(35.0)
    [ping, *_] = phone.requests(b"OPTIONS")
    assert ping.target == b"sip:alice@192.168.1.20:5060"
    assert ping.first(b"max-forwards") == b"1"


def test_a_device_key_is_eight_bytes() -> None:
    assert len(device_key(Message(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n").uri, b"", 0)) == 8
