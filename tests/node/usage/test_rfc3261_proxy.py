"""RFC 3261 §16: what a proxy checks before it forwards."""

import pytest

from chordial_node.sip.message import Message
from tests.node.usage.phone import Phone
from tests.node.usage.test_call_flow import BOB, Pair
from tests.node.usage.test_refusals import STRANGER, eve, proven


@pytest.mark.parametrize("uri", [b"tel:+15551234", b"urn:service:sos"])
def test_other_schemes_are_416(uri: bytes) -> None:
    """RFC 3261 §16.3 step 2."""
    pair = Pair()
    pair.alice.send(pair.alice.request(b"INVITE", uri))
    assert pair.alice.answer(b"INVITE").status == 416


def test_max_forwards_of_zero_is_483() -> None:
    """RFC 3261 §16.3 step 3."""
    pair = Pair()
    pair.alice.send(pair.alice.request(b"INVITE", BOB, max_forwards=0))
    assert pair.alice.answer(b"INVITE").status == 483


def test_a_proxy_extension_that_we_lack_is_420() -> None:
    """RFC 3261 §16.3 step 5."""
    pair = Pair()
    pair.alice.send(pair.alice.request(b"INVITE", BOB, b"Proxy-Require: privacy"))
    answer = pair.alice.answer(b"INVITE")
    assert answer.status == 420
    assert answer.first(b"unsupported") == b"privacy"


def test_a_proxy_extension_is_refused_in_a_dialog_too() -> None:
    """RFC 3261 §16.3 step 5: each request is checked, whatever it follows."""
    pair = Pair()
    invite, answer = pair.answer()
    required = b"Proxy-Require: privacy"
    pair.alice.send(pair.alice.within_call(b"INFO", invite, answer, required, as_caller=True))
    assert pair.alice.answer(b"INFO").status == 420
    assert pair.bob.requests(b"INFO") == []


def test_an_extension_that_options_to_us_requires_is_420() -> None:
    """RFC 3261 §8.2.2.3: a user agent server names what it does not support."""
    pair = Pair()
    us = b"sip:203.0.113.10:5060"
    pair.alice.send(pair.alice.request(b"OPTIONS", us, b"Require: 100rel"))
    answer = pair.alice.answer(b"OPTIONS")
    assert answer.status == 420
    assert answer.first(b"unsupported") == b"100rel"


def test_a_request_of_no_call_that_leads_elsewhere_is_481() -> None:
    """RFC 3261 §12.2.2: a phone ends a dialog on 481, whatever became of its tokens."""
    pair = Pair()
    to = b"<sip:bob@10.0.0.9:5822>;tag=gone"
    assert proven(pair.alice, b"BYE", b"sip:bob@10.0.0.9:5822", to=to).status == 481


def test_a_cancel_without_its_invite_is_481() -> None:
    """RFC 3261 §9.2."""
    pair = Pair()
    pair.alice.send(pair.alice.request(b"CANCEL", BOB))
    assert pair.alice.answer(b"CANCEL").status == 481


def test_options_to_us_is_answered_without_state() -> None:
    """RFC 3261 §11.2 and §8.2.7."""
    pair = Pair()
    stranger = eve(pair)
    stranger.send(stranger.request(b"OPTIONS", b"sip:203.0.113.10:5060", from_uri=STRANGER))
    answer = stranger.answer(b"OPTIONS")
    assert answer.status == 200
    assert b"INVITE" in (answer.first(b"allow") or b"")
    assert pair.caller_edge.transactions.open_count == 0


def test_options_to_a_user_reaches_the_phone() -> None:
    """RFC 3261 §11."""
    pair = Pair()
    stranger = eve(pair)
    stranger.send(stranger.request(b"OPTIONS", BOB, from_uri=STRANGER))
    pair.wire.run()
    pair.bob.reply(pair.bob.requests(b"OPTIONS")[0], 200)
    assert stranger.answer(b"OPTIONS").status == 200


def test_message_summary_of_ones_own_aor_is_489() -> None:
    """RFC 6665 §4.2.1.1: an event that nobody serves here."""
    pair = Pair()
    own = b"sip:alice@chordial.test"
    answer = proven(pair.alice, b"SUBSCRIBE", own, b"Event: message-summary")
    assert answer.status == 489
    assert pair.alice.requests(b"SUBSCRIBE") == []


@pytest.mark.parametrize("own", [STRANGER, b"sip:alice@chordial.test"])
def test_notify_outside_a_dialog_is_refused_from_everyone(own: bytes) -> None:
    """RFC 6665 §4.1.3: a NOTIFY of no subscription."""
    pair = Pair()
    pair.alice.send(pair.alice.request(b"NOTIFY", BOB, b"Event: check-sync", from_uri=own))
    assert pair.alice.answer(b"NOTIFY").status == 481
    assert pair.bob.requests(b"NOTIFY") == []


@pytest.mark.parametrize("edges", [1, 2])
def test_a_strict_router_puts_our_record_route_into_the_request_uri(edges: int) -> None:
    """RFC 3261 §16.4: the Request-URI is ours, the last Route is where the request leads."""
    pair = Pair(edges)
    invite, answer = pair.answer()
    for phone, other, routes, contact in (
        (pair.alice, pair.bob, answer.values(b"record-route")[::-1], pair.bob.contact),
        (pair.bob, pair.alice, invite.values(b"record-route"), pair.alice.contact),
    ):
        loose = Message(phone.within_call(b"INFO", invite, answer, as_caller=phone is pair.alice))
        lines = [b"Route: " + value for value in (*routes[1:], b"<%b>" % contact)]
        strict = phone.request(
            b"INFO",
            routes[0].strip(b"<>"),
            *lines,
            to=loose.first(b"to") or b"",
            call_id=loose.call_id,
            cseq=loose.cseq.number,
        )
        own = b"<sip:%b@chordial.test>;tag=f%b" % (phone.user, phone.user)
        phone.send(strict.replace(b"From: " + own, b"From: " + (loose.first(b"from") or b"")))
        pair.wire.run()
        [info] = other.requests(b"INFO")
        assert info.target == contact
        assert b"route" not in info
        other.reply(info, 200)
        assert phone.answer(b"INFO").status == 200


def test_a_call_to_a_sips_uri_records_sips_routes() -> None:
    """RFC 3261 §16.6 step 4: towards TLS phones only, and the call lives by them."""
    pair = Pair()
    alice = Phone(pair.wire, "alice", ("10.0.0.3", 5061), tls=True)
    bob = Phone(pair.wire, "bob", ("10.0.0.8", 5061), tls=True, edge=1)
    for number, phone in enumerate((alice, bob)):
        assert phone.register(call_id=b"tls%d" % number).status == 200
    alice.call(b"sips:bob@chordial.test")
    assert pair.bob.requests(b"INVITE") == []
    [invite] = bob.requests(b"INVITE")
    assert all(each.startswith(b"<sips:") for each in invite.values(b"record-route"))
    assert all(each.endswith(b"@203.0.113.10:5061;lr>") for each in invite.values(b"record-route"))
    bob.reply(invite, 200)
    answer = alice.answer(b"INVITE")
    bob.send(bob.within_call(b"BYE", invite, answer, as_caller=False))
    pair.wire.run()
    [bye] = alice.requests(b"BYE")
    alice.reply(bye, 200)
    assert bob.answer(b"BYE").status == 200


def test_headers_of_a_contact_are_no_part_of_the_request_uri() -> None:
    """RFC 3261 §19.1.1: a Request-URI has none; the phone gets its Contact back as it was."""
    pair = Pair()
    contact = b"<sip:carol@10.0.0.5:5060;a=b?Subject=x>"
    carol = Phone(pair.wire, "carol", ("10.0.0.5", 5060), edge=1)
    answer = carol.register(contact=b"Contact: " + contact)
    assert (answer.first(b"contact") or b"").startswith(contact)
    pair.alice.call(b"sip:carol@chordial.test")
    [invite] = carol.requests(b"INVITE")
    assert invite.target == b"sip:carol@10.0.0.5:5060;a=b"
