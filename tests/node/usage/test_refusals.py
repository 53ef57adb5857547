"""Who is let through, and who is not (sip.md 3, 7, 8, 16, 18, 21)."""

import pytest

from chordial_node.sip.admission import CHALLENGES_PER_SECOND
from chordial_node.sip.message import Message
from chordial_node.sip.tokens import DeviceToken, make
from chordial_node.usage.domains import resource_of
from tests.node.usage.phone import Phone
from tests.node.usage.rig import KEYS, PEER
from tests.node.usage.test_call_flow import BOB, Pair

STRANGER = b"sip:eve@example.org"


def eve(pair: Pair) -> Phone:
    return Phone(pair.wire, "eve", ("192.0.2.66", 5060))


def proven(phone: Phone, method: bytes, uri: bytes, *lines: bytes, to: bytes = b"") -> Message:
    """Send a request with a proof, and return the last answer."""
    phone.send(phone.request(method, uri, *lines, to=to))
    challenge = phone.answer(method)
    if challenge.status != 407:
        return challenge
    proof = phone.digest(challenge, method, uri)
    phone.send(phone.request(method, uri, *lines, proof, to=to))
    return phone.answer(method)


def test_a_forged_tag_and_route_are_no_relay() -> None:
    pair = Pair()
    mallory = Phone(pair.wire, "mallory", ("192.0.2.66", 5060))
    victim = Phone(pair.wire, "victim", ("192.0.2.77", 5660))
    target = b"sip:x@192.0.2.77:5660"
    route = b"Route: <sip:192.0.2.77:5660;lr>"
    to = b"<%b>;tag=forged" % target
    for own in (b"sip:alice@chordial.test", STRANGER):
        mallory.send(mallory.request(b"INVITE", target, route, to=to, from_uri=own))
        assert mallory.answer(b"INVITE").status in (407, 481, 403)
    assert victim.received == []


def test_a_token_of_another_call_gives_no_right() -> None:
    pair = Pair()
    invite, _ = pair.answer()
    route = b"Route: " + b", ".join(invite.values(b"record-route"))
    thief = Phone(pair.wire, "mallory", ("192.0.2.66", 5060))
    thief.send(thief.request(b"BYE", BOB, route, to=b"<sip:bob@chordial.test>;tag=x"))
    assert thief.answer(b"BYE").status == 407
    assert pair.bob.requests(b"BYE") == []


def test_a_token_with_a_changed_byte_gives_no_right() -> None:
    pair = Pair()
    invite, _ = pair.answer()
    value = invite.values(b"record-route")[0]
    at = value.index(b"sip:") + 30
    forged = value[:at] + (b"A" if value[at : at + 1] != b"A" else b"B") + value[at + 1 :]
    to = b"<sip:bob@chordial.test>;tag=tbob"
    pair.alice.send(pair.alice.request(b"INFO", BOB, b"Route: " + forged, to=to, call_id=b"other"))
    assert pair.alice.answer(b"INFO").status == 407


def test_a_token_learnt_while_it_rang_begins_no_new_call() -> None:
    """A caller that was proven nothing has tokens as soon as a phone rings."""
    pair = Pair()
    stranger = eve(pair)
    contact = b"Contact: <sip:eve@192.0.2.66:5060>"
    stranger.send(stranger.request(b"INVITE", BOB, contact, from_uri=STRANGER, call_id=b"s"))
    pair.wire.run()
    [invite] = pair.bob.requests(b"INVITE")
    pair.bob.reply(invite, 180)
    ringing = stranger.answer(b"INVITE")
    routes = [b"Route: " + value for value in ringing.values(b"record-route")[::-1]]
    alice = b"sip:alice@chordial.test"
    spoofed = (b"Answer-Mode: Auto", contact, *routes)
    stranger.send(stranger.request(b"INVITE", BOB, *spoofed, from_uri=alice, call_id=b"s"))
    assert stranger.answer(b"INVITE").status == 407
    stranger.send(stranger.request(b"REFER", BOB, *routes, from_uri=STRANGER, call_id=b"s"))
    assert stranger.answer(b"REFER").status == 403
    stranger.send(stranger.request(b"NOTIFY", BOB, *routes, from_uri=STRANGER, call_id=b"s"))
    assert stranger.answer(b"NOTIFY").status == 481
    assert [m.method for m in pair.bob.received if m.is_request] == [b"INVITE"]


def test_our_address_in_route_is_popped_and_gives_no_right() -> None:
    pair = Pair()
    pair.alice.send(
        pair.alice.request(b"INVITE", BOB, b"Route: <sip:203.0.113.10;lr>", call_id=b"x")
    )
    assert pair.alice.answer(b"INVITE").status == 407


def test_from_must_be_the_authenticated_user() -> None:
    pair = Pair()
    uri = BOB
    pair.alice.send(pair.alice.request(b"INVITE", uri, from_uri=b"sip:carol@chordial.test"))
    proof = pair.alice.digest(pair.alice.answer(b"INVITE"), b"INVITE", uri)
    pair.alice.send(pair.alice.request(b"INVITE", uri, proof, from_uri=b"sip:carol@chordial.test"))
    assert pair.alice.answer(b"INVITE").status == 403


def test_a_from_at_our_address_claims_our_domain() -> None:
    pair = Pair()
    stranger = eve(pair)
    stranger.send(stranger.request(b"INVITE", BOB, from_uri=b"sip:alice@203.0.113.10:5060"))
    assert stranger.answer(b"INVITE").status == 407


def test_a_replayed_proxy_authorization_calls_nobody() -> None:
    pair = Pair()
    sent = Message(pair.alice.call(BOB))
    thief = Phone(pair.wire, "alice", ("192.0.2.66", 5060))
    proof = b"Proxy-Authorization: " + (sent.first(b"proxy-authorization") or b"")
    for edge in (0, 1):
        thief.edge = edge
        thief.send(thief.request(b"INVITE", BOB, proof, call_id=b"thief%d" % edge))
        assert thief.answer(b"INVITE").status == 407
    assert len(pair.bob.requests(b"INVITE")) == 1


def test_strangers_may_call_without_a_proof_but_bring_no_authority() -> None:
    pair = Pair()
    stranger = eve(pair)
    stranger.call(
        BOB,
        b"P-Asserted-Identity: <sip:boss@chordial.test>",
        b"Call-Info: <sip:x>;answer-after=0, <http://h/i.png>;purpose=icon",
        b"Alert-Info: <http://example.org/auto-answer>",
        b"Answer-Mode: Auto",
        call_id=b"s",
    )
    assert stranger.statuses(b"INVITE")[:1] == [407]
    stranger.received.clear()
    headers = (
        b"Contact: <sip:eve@192.0.2.66>",
        b"P-Asserted-Identity: <sip:boss@chordial.test>",
        b"Call-Info: <sip:x>;answer-after=0, <http://h/i.png>;purpose=icon",
        b"Alert-Info: <http://example.org/auto-answer>",
        b"Answer-Mode: Auto",
        b"Priv-Answer-Mode: Auto",
    )
    stranger.send(stranger.request(b"INVITE", BOB, *headers, from_uri=STRANGER, call_id=b"s2"))
    pair.wire.run()
    [invite] = pair.bob.requests(b"INVITE")
    for name in (b"p-asserted-identity", b"alert-info", b"answer-mode", b"priv-answer-mode"):
        assert name not in invite
    assert invite.values(b"call-info") == [b"<http://h/i.png>;purpose=icon"]


@pytest.mark.parametrize(
    "claim",
    [b"P-Asserted-Identity", b"P-Preferred-Identity", b"Remote-Party-ID", b"traceparent"],
)
def test_what_a_phone_says_of_its_identity_is_not_passed_on(claim: bytes) -> None:
    """RFC 3325 §5: neither in a request nor in a response."""
    pair = Pair()
    said = claim + b": <sip:boss@chordial.test>"
    pair.alice.call(BOB, said)
    [invite] = pair.bob.requests(b"INVITE")
    assert b"boss" not in invite.raw
    pair.bob.reply(invite, 180, said)
    pair.bob.reply(invite, 200, said)
    pair.wire.run()
    for answer in pair.alice.responses(b"INVITE"):
        assert b"boss" not in answer.raw


def test_a_call_of_a_stranger_lives_in_both_directions() -> None:
    pair = Pair()
    stranger = eve(pair)
    contact = b"Contact: <sip:eve@192.0.2.66:5060>"
    stranger.send(stranger.request(b"INVITE", BOB, contact, from_uri=STRANGER, call_id=b"s"))
    pair.wire.run()
    [invite] = pair.bob.requests(b"INVITE")
    pair.bob.reply(invite, 200)
    answer = stranger.answer(b"INVITE")
    stranger.send(stranger.within_call(b"ACK", invite, answer, as_caller=True))
    pair.bob.send(pair.bob.within_call(b"BYE", invite, answer, as_caller=False))
    pair.wire.run()
    assert len(pair.bob.requests(b"ACK")) == 1
    [bye] = stranger.requests(b"BYE")
    stranger.reply(bye, 200)
    assert pair.bob.answer(b"BYE").status == 200


@pytest.mark.parametrize("method", [b"MESSAGE", b"REFER", b"SUBSCRIBE", b"INFO", b"PUBLISH"])
def test_strangers_may_send_nothing_else(method: bytes) -> None:
    pair = Pair()
    stranger = eve(pair)
    stranger.send(stranger.request(method, BOB, from_uri=STRANGER))
    assert stranger.answer(method).status == 403


def test_our_bare_address_is_no_user_for_strangers() -> None:
    pair = Pair()
    stranger = eve(pair)
    stranger.send(stranger.request(b"INVITE", b"sip:bob@203.0.113.10", from_uri=STRANGER))
    assert stranger.answer(b"INVITE").status == 404
    for name in (b"100", b"101", b"102"):
        uri = b"sip:%b@203.0.113.10" % name
        stranger.send(stranger.request(b"INVITE", uri, from_uri=STRANGER))
    pair.wire.run()
    assert stranger.statuses(b"INVITE") == [404]


def test_strangers_cannot_tell_absent_users_from_unknown_ones() -> None:
    pair = Pair()
    stranger = eve(pair)
    for user in (b"carol", b"nobody"):
        uri = b"sip:%b@chordial.test" % user
        stranger.send(stranger.request(b"INVITE", uri, from_uri=STRANGER, call_id=user))
        assert stranger.answer(b"INVITE").status == 480


def test_a_stranger_who_tries_name_after_name_is_not_answered_for_long() -> None:
    """sip.md 10: a Fetch for every random user name must not be had for nothing."""
    pair = Pair()
    stranger = eve(pair)
    for number in range(CHALLENGES_PER_SECOND + 20):
        uri = b"sip:user%d@chordial.test" % number
        call_id = b"scan-%d" % number
        stranger.send(stranger.request(b"INVITE", uri, from_uri=STRANGER, call_id=call_id))
    pair.wire.run()
    assert len(stranger.statuses(b"INVITE")) <= CHALLENGES_PER_SECOND + 1


def test_a_stranger_that_is_not_heard_of_again_is_told_once() -> None:
    """sip.md 10: with a forged source each copy would go to somebody who never asked."""
    pair = Pair()
    stranger = eve(pair)
    uri = b"sip:nobody@chordial.test"
    stranger.send(stranger.request(b"INVITE", uri, from_uri=STRANGER))
    pair.wire.run(40.0)
    assert stranger.statuses(b"INVITE") == [480]


def test_users_are_told_who_is_unknown() -> None:
    pair = Pair()
    assert proven(pair.alice, b"MESSAGE", b"sip:carol@chordial.test").status == 480
    assert proven(pair.alice, b"MESSAGE", b"sip:nobody@chordial.test").status == 404


@pytest.mark.parametrize("uri", [b"sip:x@169.254.169.254;transport=tcp", b"sip:x@example.org"])
def test_calls_to_other_domains_are_off(uri: bytes) -> None:
    pair = Pair()
    assert proven(pair.alice, b"INVITE", uri).status == 403
    stranger = eve(pair)
    stranger.send(stranger.request(b"INVITE", uri, from_uri=STRANGER))
    assert stranger.answer(b"INVITE").status == 403


def test_sips_goes_to_bindings_made_over_tls_only() -> None:
    pair = Pair()
    assert proven(pair.alice, b"INVITE", b"sips:bob@chordial.test").status == 480


def test_a_request_to_ones_own_aor_never_comes_back_down_its_flow() -> None:
    pair = Pair()
    assert proven(pair.alice, b"MESSAGE", b"sip:alice@chordial.test").status == 480
    second = Phone(pair.wire, "alice", ("10.0.0.3", 5060), instance="urn:uuid:2")
    second.register(call_id=b"r-second")
    pair.alice.send(pair.alice.request(b"MESSAGE", b"sip:alice@chordial.test"))
    proven(pair.alice, b"MESSAGE", b"sip:alice@chordial.test")
    assert len(second.requests(b"MESSAGE")) == 1
    assert pair.alice.requests(b"MESSAGE") == []


def test_an_ack_that_follows_no_call_is_dropped() -> None:
    pair = Pair()
    stranger = eve(pair)
    stranger.send(stranger.request(b"ACK", b"sip:x@192.0.2.77", b"Route: <sip:192.0.2.77;lr>"))
    pair.wire.run()
    assert stranger.received == []
    assert [to for to, _ in pair.caller_edge.sent if "192.0.2.77" in to] == []


def test_a_request_of_a_peer_must_lead_to_us() -> None:
    """A stolen peer cannot use the others as relays to the outside (sip.md 3)."""
    pair = Pair()
    edge, other = pair.wire.edges[0], pair.wire.edges[1]
    number = edge.accept(other, 99, PEER, ("10.244.0.2", 41000))
    host = other.own.hex().encode() + b".peer.invalid"
    third = b"sip:x@192.0.2.77"
    for route in (b"<sip:192.0.2.77;lr>", b"<sip:x@%b;lr>" % host):
        edge.receive(
            number,
            b"MESSAGE %b SIP/2.0\r\nVia: SIP/2.0/TLS %b;branch=z9hG4bKz%d\r\nRoute: %b\r\n"
            b"From: <sip:a@b>;tag=1\r\nTo: <%b>\r\nCall-ID: p\r\nCSeq: 1 MESSAGE\r\n"
            b"Content-Length: 0\r\n\r\n" % (third, host, len(route), route, third),
        )
        pair.wire.run()
        assert edge.sent[-1][1].status == 403
    assert [to for to, _ in edge.sent if "192.0.2.77" in to] == []


def test_a_phone_may_not_use_what_peers_tell_each_other() -> None:
    pair = Pair()
    device = DeviceToken(resource_of(b"bob@chordial.test"), bytes(8))
    token = make(device, b"c-alice", KEYS)
    host = pair.wire.edges[0].own.hex().encode()
    route = b"Route: <sip:%b@%b.peer.invalid;lr>" % (token, host)
    pair.alice.send(pair.alice.request(b"MESSAGE", BOB, route))
    assert pair.alice.answer(b"MESSAGE").status == 407


def test_too_many_routes_are_refused() -> None:
    pair = Pair()
    routes = [b"Route: <sip:203.0.113.10;lr>"] * 17
    pair.alice.send(pair.alice.request(b"MESSAGE", BOB, *routes))
    assert pair.alice.answer(b"MESSAGE").status == 400
