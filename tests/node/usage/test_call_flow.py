"""INVITE, ACK and BYE over two edges and over one, header by header (sip.md 2)."""

import pytest

from chordial_node.boundary.notices import CallAnswered, CallEnded, CallRouted, SpanEnded
from chordial_node.sip.message import Message
from chordial_node.sip.tokens import DeviceToken, SideToken, open_token
from chordial_node.usage.domains import resource_of
from tests.node.usage.phone import SDP, Phone
from tests.node.usage.rig import KEYS, Edge, Wire

BOB = b"sip:bob@chordial.test"


class Pair:
    """alice behind a NAT over UDP, bob over TCP; at two edges, or both at the first."""

    def __init__(self, edges: int = 2, sampling: float = 0.0) -> None:
        self.wire = Wire(max(edges, 2), sampling)
        for user in ("alice", "bob", "carol"):
            self.wire.add_user(user)
        self.alice = Phone(
            self.wire,
            "alice",
            ("198.51.100.7", 40112),
            contact="sip:alice@192.168.1.20:5060",
            sent_by="192.168.1.20:5060",
        )
        self.bob = Phone(self.wire, "bob", ("10.0.0.9", 33020), edge=edges - 1, tcp=True)
        self.bob.contact = b"sip:bob@10.0.0.9:5822;transport=tcp"
        self.alice.register()
        self.bob.register()

    @property
    def caller_edge(self) -> Edge:
        return self.wire.edges[0]

    @property
    def callee_edge(self) -> Edge:
        return self.wire.edges[self.bob.edge]

    def ring(self) -> tuple[Message, Message]:
        """Call until it rings: the INVITE as sent and as it came to bob."""
        sent = self.alice.call(
            BOB + b";transport=udp",
            b"Route: <sip:203.0.113.10:5060;lr>",
            b"P-Asserted-Identity: <sip:boss@chordial.test>",
            b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01",
            b"X-Unknown: kept,  byte for byte",
        )
        invite = self.bob.requests(b"INVITE")[-1]
        self.bob.reply(invite, 180)
        self.wire.run()
        return Message.parse(sent), invite

    def answer(self) -> tuple[Message, Message]:
        """Call, and bob takes it: the INVITE as it came to bob, the 200 as it came to alice."""
        _, invite = self.ring()
        self.bob.reply(invite, 200)
        answer = self.alice.answer(b"INVITE")
        self.alice.send(self.alice.within_call(b"ACK", invite, answer, as_caller=True))
        self.wire.run()
        return invite, answer


def between_edges(edge: Edge, method: bytes) -> Message:
    """The last request of a method that an edge sent to another."""
    return [m for to, m in edge.sent if to.startswith("E") and m.is_request and m.method == method][
        -1
    ]


def tokens_of(message: Message, header: bytes) -> list[SideToken | DeviceToken | None]:
    return [
        open_token(value.partition(b"sip:")[2].partition(b"@")[0], message.call_id, KEYS)
        for value in message.values(header)
    ]


def test_the_hop_between_the_edges() -> None:
    pair = Pair()
    sent, _ = pair.ring()
    hop = between_edges(pair.caller_edge, b"INVITE")
    n1, n2 = (edge.own.hex().encode() for edge in pair.wire.edges[:2])
    assert hop.target == pair.bob.contact
    ours, alices = hop.values(b"via")
    assert ours.startswith(b"SIP/2.0/TLS %b.peer.invalid;branch=z9hG4bK" % n1)
    assert pair.caller_edge.own[:6].hex().encode() in ours
    assert alices.endswith(b";rport=40112;received=198.51.100.7")
    [route] = hop.values(b"route")
    assert route.endswith(b"@%b.peer.invalid;lr>" % n2)
    [device] = tokens_of(hop, b"route")
    assert isinstance(device, DeviceToken)
    assert device.resource == resource_of(b"bob@chordial.test")
    [record] = hop.values(b"record-route")
    assert record.endswith(b"@203.0.113.10:5060;lr>")
    [side] = tokens_of(hop, b"record-route")
    assert isinstance(side, SideToken)
    assert (side.host, side.port) == ("198.51.100.7", 40112)
    assert side.resource == resource_of(b"alice@chordial.test")
    assert hop.first(b"max-forwards") == b"69"
    assert hop.first(b"max-breadth") == b"60"
    assert hop.lines(b"p-asserted-identity") == [b"<sip:alice@chordial.test>"]
    assert b"proxy-authorization" not in hop
    assert b"traceparent" not in hop
    assert hop.body == sent.body == SDP


def test_the_100_comes_before_anything_is_looked_at() -> None:
    pair = Pair()
    pair.ring()
    answers = [m for to, m in pair.callee_edge.sent if to == "E1" and not m.is_request]
    assert [m.status for m in answers[:2]] == [100, 180]
    assert pair.alice.statuses(b"INVITE") == [407, 100, 180]


def test_what_reaches_the_phone() -> None:
    pair = Pair()
    sent, invite = pair.ring()
    assert invite.target == pair.bob.contact
    top, n1, alices = invite.values(b"via")
    assert top.startswith(b"SIP/2.0/TCP 203.0.113.10:5060;branch=z9hG4bK")
    assert top.endswith(b";rport")
    assert b"peer.invalid" in n1
    assert b"192.168.1.20" in alices
    upper, lower = invite.values(b"record-route")
    assert upper.endswith(b"@203.0.113.10:5060;transport=tcp;lr>")
    assert lower.endswith(b"@203.0.113.10:5060;lr>")
    second, first = tokens_of(invite, b"record-route")
    assert isinstance(second, SideToken)
    assert isinstance(first, SideToken)
    assert (second.host, second.port) == pair.bob.remote
    assert (first.host, first.port) == pair.alice.remote
    assert invite.first(b"max-forwards") == b"68"
    for removed in (b"route", b"traceparent", b"proxy-authorization"):
        assert removed not in invite
    for kept in (b"contact", b"x-unknown", b"from", b"to", b"call-id", b"cseq"):
        assert invite.lines(kept) == sent.lines(kept)
    assert invite.lines(b"p-asserted-identity") == [b"<sip:alice@chordial.test>"]
    assert b"X-Unknown: kept,  byte for byte\r\n" in invite.raw


def test_an_edge_adds_little_more_than_the_model_did() -> None:
    """sip.md 1 and 20: 380 bytes over both edges with all that a call needs."""
    pair = Pair()
    sent, invite = pair.ring()
    proof = len(b"Proxy-Authorization: ") + len(sent.first(b"proxy-authorization") or b"")
    assert len(invite.raw) - (len(sent.raw) - proof) < 2 * 220


def test_privacy_hides_the_identity_from_the_phone_alone() -> None:
    pair = Pair()
    pair.alice.call(BOB, b"Privacy: id")
    [invite] = pair.bob.requests(b"INVITE")
    assert b"p-asserted-identity" not in invite
    assert b"p-asserted-identity" in between_edges(pair.caller_edge, b"INVITE")


def test_answers_pop_one_via_at_each_edge() -> None:
    pair = Pair()
    sent, invite = pair.ring()
    pair.bob.reply(invite, 200)
    answer = pair.alice.answer(b"INVITE")
    [via] = answer.values(b"via")
    assert via.startswith((sent.first(b"via") or b"").partition(b";rport")[0])
    assert b"rport=40112;received=198.51.100.7" in via
    assert answer.values(b"record-route") == invite.values(b"record-route")


def test_joined_vias_of_an_answer_are_taken_apart() -> None:
    """SIPp joins several Vias in one header: only the first value is popped."""
    pair = Pair()
    _, invite = pair.ring()
    vias = b", ".join(invite.values(b"via"))
    to = (invite.first(b"to") or b"") + b";tag=x"
    pair.bob.send(
        b"SIP/2.0 200 OK\r\nVia: %b\r\nFrom: %b\r\nTo: %b\r\nCall-ID: %b\r\nCSeq: %b\r\n"
        b"Contact: <sip:b@h>\r\nContent-Length: 0\r\n\r\n"
        % (vias, invite.lines(b"from")[0], to, invite.call_id, invite.lines(b"cseq")[0])
    )
    answer = pair.alice.answer(b"INVITE")
    assert answer.status == 200
    assert len(answer.values(b"via")) == 1


@pytest.mark.parametrize("edges", [1, 2])
def test_ack_and_bye_follow_the_tokens_to_both_phones(edges: int) -> None:
    pair = Pair(edges)
    invite, answer = pair.answer()
    [ack] = pair.bob.requests(b"ACK")
    assert ack.target == pair.bob.contact
    assert b"route" not in ack
    pair.bob.send(pair.bob.within_call(b"BYE", invite, answer, as_caller=False))
    pair.wire.run()
    [bye] = pair.alice.requests(b"BYE")
    assert bye.target == b"sip:alice@192.168.1.20:5060"
    assert b"route" not in bye
    pair.alice.reply(bye, 200)
    assert pair.bob.answer(b"BYE").status == 200


@pytest.mark.parametrize("edges", [1, 2])
def test_the_caller_hangs_up(edges: int) -> None:
    pair = Pair(edges)
    invite, answer = pair.answer()
    pair.alice.send(pair.alice.within_call(b"BYE", invite, answer, as_caller=True))
    pair.wire.run()
    [bye] = pair.bob.requests(b"BYE")
    pair.bob.reply(bye, 200)
    assert pair.alice.answer(b"BYE").status == 200
    assert 407 not in pair.alice.statuses(b"BYE")


def test_one_edge_for_both_has_one_via_and_two_record_routes() -> None:
    pair = Pair(1)
    _, invite = pair.ring()
    assert len(invite.values(b"via")) == 2
    second, first = tokens_of(invite, b"record-route")
    assert isinstance(second, SideToken)
    assert isinstance(first, SideToken)
    assert (second.host, first.host) == ("10.0.0.9", "198.51.100.7")
    assert invite.first(b"max-forwards") == b"69"


@pytest.mark.parametrize("method", [b"INVITE", b"UPDATE", b"INFO", b"MESSAGE", b"PRACK", b"REFER"])
def test_requests_of_a_call_pass_in_both_directions(method: bytes) -> None:
    pair = Pair()
    invite, answer = pair.answer()
    for phone, other in ((pair.alice, pair.bob), (pair.bob, pair.alice)):
        phone.send(phone.within_call(method, invite, answer, as_caller=phone is pair.alice))
        pair.wire.run()
        request = other.requests(method)[-1]
        assert b"record-route" not in request
        other.reply(request, 200)
        assert phone.answer(method).status == 200


@pytest.mark.parametrize("edges", [1, 2])
def test_a_message_goes_to_the_phone_and_its_answer_comes_back(edges: int) -> None:
    pair = Pair(edges)
    plain = b"Content-Type: text/plain"
    pair.alice.send(pair.alice.request(b"MESSAGE", BOB, plain, body=b"hello"))
    proof = pair.alice.digest(pair.alice.answer(b"MESSAGE"), b"MESSAGE", BOB)
    pair.alice.send(pair.alice.request(b"MESSAGE", BOB, plain, proof, body=b"hello"))
    pair.wire.run()
    [message] = pair.bob.requests(b"MESSAGE")
    assert message.body == b"hello"
    assert b"record-route" not in message
    pair.bob.reply(message, 202)
    assert pair.alice.answer(b"MESSAGE").status == 202
    assert 100 not in pair.alice.statuses(b"MESSAGE")


def test_a_phone_that_keeps_no_route_set_may_end_its_call() -> None:
    """aiovoip sends BYE to the first Request-URI, without Route."""
    pair = Pair()
    _, answer = pair.answer()
    to = answer.first(b"to") or b""
    pair.alice.send(pair.alice.request(b"BYE", BOB, to=to, call_id=b"call"))
    pair.wire.run()
    [bye] = pair.bob.requests(b"BYE")
    assert bye.target == pair.bob.contact
    assert b"route" not in bye
    pair.bob.reply(bye, 200)
    assert pair.alice.answer(b"BYE").status == 200


@pytest.mark.parametrize("tcp", [False, True])
def test_two_users_of_one_gateway_may_talk_to_each_other(tcp: bool) -> None:
    """sip.md 18: many AORs may be on one flow; only a request to one's own never comes back."""
    wire = Wire(1)
    gateway = Phone(wire, "alice", ("10.0.0.4", 5060), tcp=tcp)
    for user in (b"bob", b"alice"):
        wire.add_user(user.decode())
        gateway.user = user
        gateway.contact = b"sip:%b@10.0.0.4:5060" % user
        assert gateway.register().status == 200
    gateway.call(BOB)
    [invite] = gateway.requests(b"INVITE")
    gateway.reply(invite, 200)
    answer = gateway.answer(b"INVITE")
    for method in (b"ACK", b"INFO", b"BYE"):
        gateway.send(gateway.within_call(method, invite, answer, as_caller=True))
        wire.run()
        [request] = gateway.requests(method)
        if method != b"ACK":
            gateway.reply(request, 200)
            assert gateway.answer(method).status == 200


def test_nobody_else_may_end_it_that_way() -> None:
    pair = Pair()
    _, answer = pair.answer()
    thief = Phone(pair.wire, "alice", ("192.0.2.66", 5060))
    to = answer.first(b"to") or b""
    thief.send(thief.request(b"BYE", BOB, to=to, call_id=b"call"))
    assert thief.answer(b"BYE").status == 407
    assert pair.bob.requests(b"BYE") == []


def test_calls_are_counted_from_answer_to_bye() -> None:
    pair = Pair()
    invite, answer = pair.answer()
    assert [edge.server.calls for edge in pair.wire.edges[:2]] == [1, 1]
    pair.alice.send(pair.alice.within_call(b"BYE", invite, answer, as_caller=True))
    pair.wire.run()
    assert [edge.server.calls for edge in pair.wire.edges[:2]] == [0, 0]
    told = [type(notice) for number, notice in pair.wire.notices if number == 0]
    assert told.count(CallRouted) == told.count(CallAnswered) == told.count(CallEnded) == 1


@pytest.mark.parametrize("method", [b"INVITE", b"UPDATE"])
def test_a_refreshed_session_is_counted_for_longer(method: bytes) -> None:
    """RFC 4028 §10 and sip.md 17: each refresh begins the time anew."""
    pair = Pair()
    _, invite = pair.ring()
    timed = b"Session-Expires: 90;refresher=uac"
    pair.bob.reply(invite, 200, timed)
    answer = pair.alice.answer(b"INVITE")
    pair.wire.run(80.0)
    pair.alice.send(pair.alice.within_call(method, invite, answer, as_caller=True))
    pair.wire.run()
    pair.bob.reply(pair.bob.requests(method)[-1], 200, timed)
    pair.wire.run(100.0)
    assert [edge.server.calls for edge in pair.wire.edges[:2]] == [1, 1]
    pair.wire.run(100.0)
    assert [edge.server.calls for edge in pair.wire.edges[:2]] == [0, 0]


def test_one_call_is_one_trace_over_both_edges() -> None:
    pair = Pair(sampling=1.0)
    pair.wire.notices.clear()
    pair.answer()
    spans = [each for _, each in pair.wire.notices if isinstance(each, SpanEnded)]
    hop = between_edges(pair.caller_edge, b"INVITE")
    trace_id = (hop.first(b"traceparent") or b"").split(b"-")[1]
    call = [each for each in spans if each.trace_id.hex().encode() == trace_id]
    names = [(each.name, each.kind) for each in call]
    assert names.count(("SIP INVITE", "server")) == 2
    assert names.count(("SIP INVITE", "client")) == 2
    known = {each.span_id for each in call}
    assert [each for each in call if each.parent_id not in known and any(each.parent_id)] == []
    assert b"traceparent" not in pair.bob.requests(b"INVITE")[0]
