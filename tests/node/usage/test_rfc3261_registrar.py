"""RFC 3261 §10: what a registrar does with a REGISTER."""

from chordial_node.boundary.notices import RequestRefused, Unregistered
from tests.node.usage.phone import Phone
from tests.node.usage.test_register_flow import behind_nat, stored, wired


def test_too_brief_a_registration_gets_423_with_the_least() -> None:
    """RFC 3261 §10.2.8: 423 carries Min-Expires."""
    answer = behind_nat(wired()).register(expires=59)
    assert answer.status == 423
    assert answer.first(b"min-expires") == b"60"


def test_expires_zero_removes_and_the_answer_lists_the_rest() -> None:
    """RFC 3261 §10.2.2 and §10.3 step 8."""
    wire = wired()
    desk = behind_nat(wire)
    other = Phone(wire, "alice", ("198.51.100.8", 5060), instance="urn:uuid:B")
    desk.register()
    other.register()
    answer = desk.register(expires=0)
    assert answer.status == 200
    [left] = answer.lines(b"contact")
    assert b"urn:uuid:B" in left
    assert any(isinstance(each, Unregistered) for _, each in wire.notices)


def test_a_star_removes_everything_and_needs_expires_zero() -> None:
    """RFC 3261 §10.2.2 and §10.3 step 6."""
    wire = wired()
    phone = behind_nat(wire)
    phone.register()
    star = b"Contact: *"
    assert phone.register(b"Expires: 60", contact=star).status == 400
    assert phone.register(b"Expires: 0", contact=star).status == 200
    assert stored(wire) == []


def test_a_register_without_contact_lists_what_stands() -> None:
    """RFC 3261 §10.2.3."""
    wire = wired()
    phone = behind_nat(wire)
    phone.register()
    answer = phone.register(contact=b"Subject: nothing")
    assert answer.status == 200
    assert len(answer.lines(b"contact")) == 1
    assert wire.shared.stores == 2 + 1


def test_a_late_register_does_not_undo_a_later_one() -> None:
    """RFC 3261 §10.3 step 7: a CSeq that is not higher changes nothing."""
    wire = wired()
    phone = behind_nat(wire)
    phone.register()
    phone.cseq = 0
    assert phone.register().status in (200, 400)
    phone.cseq = 0
    uri = b"sip:chordial.test"
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line(), call_id=b"r-alice"))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", uri)
    late = phone.request(b"REGISTER", uri, phone.contact_line(), proof, call_id=b"r-alice", cseq=1)
    phone.send(late)
    assert phone.answer(b"REGISTER").status == 400


def test_a_late_register_does_not_undo_a_removal() -> None:
    """RFC 3261 §10.3 step 7, after the binding is gone."""
    wire = wired()
    phone = behind_nat(wire)
    phone.register()
    phone.register(expires=0)
    phone.cseq = 1
    uri = b"sip:chordial.test"
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line(), call_id=b"r-alice", cseq=9))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", uri)
    phone.send(
        phone.request(b"REGISTER", uri, phone.contact_line(), proof, call_id=b"r-alice", cseq=2)
    )
    assert phone.answer(b"REGISTER").status == 400
    assert stored(wire) == []


def test_the_same_call_id_and_cseq_gets_the_present_list() -> None:
    """RFC 3261 §10.3 step 7: a copy of what was done is confirmed, not done again."""
    wire = wired()
    phone = behind_nat(wire)
    phone.register()
    before = wire.shared.stores
    phone.cseq = 0
    uri = b"sip:chordial.test"
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line(), call_id=b"r-alice", cseq=2))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", uri)
    phone.send(
        phone.request(b"REGISTER", uri, phone.contact_line(), proof, call_id=b"r-alice", cseq=2)
    )
    answer = phone.answer(b"REGISTER")
    assert answer.status == 200
    assert len(answer.lines(b"contact")) == 1
    assert wire.shared.stores == before


def test_an_extension_we_lack_is_named() -> None:
    """RFC 3261 §8.2.2.3 and §10.3 step 2."""
    answer = behind_nat(wired()).register(b"Require: gruu")
    assert answer.status == 420
    assert answer.first(b"unsupported") == b"gruu"


def test_to_must_be_the_authenticated_user() -> None:
    """RFC 3261 §10.3 step 4: who may register for whom."""
    wire = wired()
    phone = behind_nat(wire)
    to = b"<sip:bob@chordial.test>"
    uri = b"sip:chordial.test"
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line(), to=to))
    proof = phone.digest(phone.answer(b"REGISTER"), b"REGISTER", uri)
    phone.send(phone.request(b"REGISTER", uri, phone.contact_line(), proof, to=to))
    assert phone.answer(b"REGISTER").status == 403
    assert any(isinstance(each, RequestRefused) for _, each in wire.notices)
