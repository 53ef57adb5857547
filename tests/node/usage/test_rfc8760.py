"""RFC 8760: which hashes a challenge offers."""

from chordial_node.sip.headers import parse_auth
from chordial_node.sip.message import Message
from tests.node.usage.phone import Phone
from tests.node.usage.rig import Wire

BOTH = ("SHA-256", "MD5")


def phone_of(digest: tuple[str, ...]) -> Phone:
    wire = Wire(1, digest=digest)
    wire.add_user("alice")
    return Phone(wire, "alice", ("10.0.0.3", 5060))


def test_both_are_offered_in_the_order_that_was_set() -> None:
    """RFC 8760 §2.3: one header for each, the preferred one on top."""
    phone = phone_of(BOTH)
    phone.send(phone.request(b"REGISTER", b"sip:chordial.test", phone.contact_line()))
    lines = phone.answer(b"REGISTER").lines(b"www-authenticate")
    assert [parse_auth(each).params[b"algorithm"] for each in lines] == [b"SHA-256", b"MD5"]


def test_the_one_on_top_may_be_answered() -> None:
    """RFC 8760 §2.4: a client uses the topmost that it knows."""
    assert phone_of(BOTH).register().status == 200


def test_an_algorithm_that_was_not_offered_is_challenged_again() -> None:
    """RFC 8760 §2.4: what was not offered proves nothing."""
    weak, strong = phone_of(("MD5",)), phone_of(("SHA-256",))
    uri = b"sip:chordial.test"
    for phone in (weak, strong):
        phone.send(phone.request(b"REGISTER", uri, phone.contact_line()))
    offered = strong.answer(b"REGISTER").raw.replace(b"algorithm=SHA-256", b"algorithm=MD5")
    from_md5 = strong.digest(Message(offered), b"REGISTER", uri)
    strong.send(strong.request(b"REGISTER", uri, strong.contact_line(), from_md5))
    assert strong.answer(b"REGISTER").status == 401
    assert strong.register().status == 200
    assert weak.register().status == 200
