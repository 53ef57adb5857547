"""Phones that move and peers that die (sip.md 1, 2, 8, 9 and the flows of a dead edge)."""

import pytest

from chordial_node.sip.flows import Flow
from chordial_node.sip.message import Message
from tests.node.usage.phone import Phone
from tests.node.usage.rig import Wire
from tests.node.usage.test_call_flow import BOB, Pair


def three(tcp: bool = True, *, direct: bool = True) -> Pair:
    pair = Pair.__new__(Pair)
    pair.wire = Wire(3)
    for user in ("alice", "bob"):
        pair.wire.add_user(user)
    pair.alice = Phone(
        pair.wire,
        "alice",
        ("198.51.100.7", 40112),
        contact="sip:alice@192.168.1.20:5060",
        sent_by="192.168.1.20:5060",
    )
    pair.bob = Phone(pair.wire, "bob", ("10.0.0.9", 33020), edge=1, tcp=tcp)
    if not direct:
        pair.bob.contact = b"sip:bob@192.168.0.9:5060"
    pair.alice.register()
    pair.bob.register()
    return pair


def test_the_callers_edge_is_dead_and_the_caller_hangs_up() -> None:
    pair = three()
    invite, answer = pair.answer()
    pair.wire.kill(0)
    pair.alice.edge = 2
    pair.alice.send(pair.alice.within_call(b"BYE", invite, answer, as_caller=True))
    pair.wire.run()
    [bye] = pair.bob.requests(b"BYE")
    pair.bob.reply(bye, 200)
    assert pair.alice.answer(b"BYE").status == 200


def test_the_callers_edge_is_dead_and_the_callee_hangs_up_b() -> None:
    """The ring says that alice is at another peer now: handed over."""
    pair = three()
    invite, answer = pair.answer()
    pair.wire.kill(0)
    pair.alice.edge = 2
    pair.alice.register()
    pair.bob.send(pair.bob.within_call(b"BYE", invite, answer, as_caller=False))
    pair.wire.run()
    [bye] = pair.alice.requests(b"BYE")
    assert bye.target == b"sip:alice@192.168.1.20:5060"
    handed = [m for to, m in pair.wire.edges[1].sent if to == "E3"]
    assert len(handed[0].values(b"route")) == 1
    pair.alice.reply(bye, 200)
    assert pair.bob.answer(b"BYE").status == 200


def test_the_callers_edge_is_dead_and_the_callee_hangs_up_c() -> None:
    """Reach direct: the other edge sends it itself."""
    pair = three()
    pair.alice = Phone(pair.wire, "alice", ("10.0.0.3", 5060))
    pair.alice.register(call_id=b"r2")
    invite, answer = pair.answer()
    pair.wire.kill(0)
    pair.bob.send(pair.bob.within_call(b"BYE", invite, answer, as_caller=False))
    pair.wire.run()
    [bye] = pair.alice.requests(b"BYE")
    pair.alice.reply(bye, 200)


def test_the_callers_edge_is_dead_and_the_callee_hangs_up_d() -> None:
    """Nobody reaches her: 408 to the phone, which ends the dialog."""
    pair = three()
    invite, answer = pair.answer()
    pair.wire.kill(0)
    pair.bob.send(pair.bob.within_call(b"BYE", invite, answer, as_caller=False))
    assert pair.bob.answer(b"BYE").status == 408


def test_a_call_through_a_dead_edge_leaves_nothing_behind() -> None:
    """What the caller's edge asked for is answered, though nobody hears it."""
    pair = three()
    pair.ring()
    pair.wire.kill(0)
    pair.wire.run(9.0)
    [cancel] = pair.bob.requests(b"CANCEL")
    pair.bob.reply(cancel, 200)
    pair.bob.reply(pair.bob.requests(b"INVITE")[0], 487)
    pair.wire.run(0.1)
    assert pair.wire.edges[1].transactions.open_count == 0


def test_a_copy_whose_peer_dies_is_answered_and_forgotten() -> None:
    pair = three()
    invite = _ring_as_stranger(pair)
    pair.wire.kill(0)
    pair.alice.edge = 2
    pair.alice.send(invite)
    pair.wire.run(9.0)
    assert pair.bob.requests(b"CANCEL") == []
    assert pair.wire.edges[1].transactions.open_count == 1


def test_a_caller_that_is_challenged_by_another_edge_takes_its_own_place() -> None:
    """sip.md 9: the nonce was the dead edge's, so the INVITE comes back with a higher CSeq.

    Its answers must carry that CSeq: the first is cancelled, the phone rings for the second.
    """
    pair = three()
    pair.ring()
    pair.wire.kill(0)
    pair.alice.edge = 2
    sent = Message(pair.alice.call(BOB))
    first, second = pair.bob.requests(b"INVITE")
    assert second.cseq.number == sent.cseq.number > first.cseq.number
    order = [m.method for m in pair.bob.received if m.is_request]
    assert order == [b"INVITE", b"CANCEL", b"INVITE"]
    pair.bob.reply(first, 487)
    pair.bob.reply(second, 200)
    answer = pair.alice.answer(b"INVITE")
    assert (answer.status, answer.cseq.number) == (200, sent.cseq.number)
    pair.alice.send(pair.alice.within_call(b"ACK", second, answer, as_caller=True))
    pair.wire.run(10.0)
    assert pair.bob.requests(b"ACK")[-1].cseq.number == sent.cseq.number
    assert len(pair.bob.requests(b"CANCEL")) == 1


def test_a_caller_that_moves_to_the_callees_edge_takes_its_own_place() -> None:
    pair = three()
    pair.ring()
    pair.wire.kill(0)
    pair.alice.edge = 1
    pair.alice.call(BOB)
    order = [m.method for m in pair.bob.received if m.is_request]
    assert order == [b"INVITE", b"CANCEL", b"INVITE"]
    pair.bob.reply(pair.bob.requests(b"INVITE")[0], 487)
    pair.bob.reply(pair.bob.requests(b"INVITE")[1], 200)
    assert pair.alice.answer(b"INVITE").status == 200


def test_a_copy_that_reaches_the_callees_edge_itself_is_attached() -> None:
    pair = three()
    invite = _ring_as_stranger(pair)
    pair.wire.kill(0)
    pair.alice.edge = 1
    pair.alice.send(invite)
    pair.wire.run()
    [first] = pair.bob.requests(b"INVITE")
    assert pair.alice.statuses(b"INVITE") == [100, 180]
    pair.bob.reply(first, 200)
    assert pair.alice.answer(b"INVITE").status == 200


def test_an_invite_that_a_later_one_has_replaced_is_merged() -> None:
    """RFC 3261 §8.2.2.2: it may come last, the phone must not ring for it again."""
    pair = three()
    _ring_as_stranger(pair)
    late = pair.alice.request(
        b"INVITE",
        BOB,
        pair.alice.contact_line(None),
        from_uri=b"sip:eve@example.org",
        call_id=b"s",
        cseq=pair.alice.cseq - 1,
    )
    pair.alice.edge = 2
    pair.alice.send(late)
    assert pair.alice.answer(b"INVITE").status == 482
    assert len(pair.bob.requests(b"INVITE")) == 1


def _ring_as_stranger(pair: Pair) -> bytes:
    """Let bob's phone ring for an INVITE that nobody challenges; return it."""
    pair.alice.user = b"eve"
    stranger = b"sip:eve@example.org"
    invite = pair.alice.request(
        b"INVITE", BOB, pair.alice.contact_line(None), from_uri=stranger, call_id=b"s"
    )
    pair.alice.send(invite)
    pair.wire.run()
    pair.bob.reply(pair.bob.requests(b"INVITE")[-1], 180)
    pair.wire.run()
    pair.alice.received.clear()
    return invite


def test_a_caller_that_moved_while_its_edge_lives() -> None:
    """The first token of a phone's request is popped, too, when another follows."""
    pair = three()
    invite, answer = pair.answer()
    pair.alice.edge = 2
    pair.alice.send(pair.alice.within_call(b"BYE", invite, answer, as_caller=True))
    pair.wire.run()
    [bye] = pair.bob.requests(b"BYE")
    pair.bob.reply(bye, 200)
    assert pair.alice.answer(b"BYE").status == 200


def test_a_new_call_skips_an_edge_known_dead() -> None:
    pair = three(tcp=False, direct=False)
    pair.wire.kill(1)
    pair.alice.call(BOB)
    assert pair.alice.statuses(b"INVITE")[-1] == 480


def test_a_new_call_reaches_a_direct_phone_of_a_dead_edge() -> None:
    pair = three(tcp=False)
    pair.wire.kill(1)
    pair.alice.call(BOB)
    [invite] = pair.bob.requests(b"INVITE")
    pair.bob.edge = 0
    pair.bob.reply(invite, 200)
    assert pair.alice.answer(b"INVITE").status == 200


def test_no_100_within_a_second_fails_the_branch_and_tells_the_detector() -> None:
    pair = three(direct=False)
    pair.wire.kill(1, is_known=False)
    pair.alice.call(BOB, wait=0.9)
    assert pair.alice.statuses(b"INVITE")[-1] == 100
    pair.wire.run(0.3)
    assert pair.alice.statuses(b"INVITE")[-1] == 480
    assert pair.caller_edge.peer.doubted == [pair.wire.edges[1].own]


def test_a_peer_that_is_far_away_is_given_five_round_trips() -> None:
    pair = three(direct=False)
    pair.wire.shared.round_trip = 0.4
    pair.wire.kill(1, is_known=False)
    pair.alice.call(BOB, wait=1.9)
    assert pair.alice.statuses(b"INVITE")[-1] == 100
    pair.wire.run(0.3)
    assert pair.alice.statuses(b"INVITE")[-1] == 480


@pytest.mark.parametrize("tcp", [False, True])
def test_a_direct_phone_is_reached_past_a_peer_that_does_not_answer(tcp: bool) -> None:
    """sip.md 2: (b) has failed, (c) is left."""
    pair = three(tcp=tcp)
    pair.wire.kill(1, is_known=False)
    pair.alice.call(BOB, wait=1.3)
    [invite] = pair.bob.requests(b"INVITE")
    pair.bob.edge = 0
    pair.bob.reply(invite, 200)
    assert pair.alice.answer(b"INVITE").status == 200


def test_a_silent_phone_is_not_tried_past_its_peer() -> None:
    """Its edge says 408: no other way leads to it."""
    pair = three(tcp=False)
    pair.alice.call(BOB, wait=40.0)
    assert len({each.via.branch for each in pair.bob.requests(b"INVITE")}) == 1
    assert pair.alice.statuses(b"INVITE")[-1] == 408


def test_a_branch_without_a_1xx_ends_with_its_peer() -> None:
    pair = three(direct=False)
    pair.wire.kill(1, is_known=False)
    pair.alice.call(BOB, wait=0.1)
    pair.wire.learn_death(1)
    pair.wire.run(0.1)
    assert pair.alice.statuses(b"INVITE")[-1] == 480


def test_a_branch_with_no_more_than_the_100_of_a_dead_peer_ends_with_it() -> None:
    """sip.md 19: set-up through a killed peer fails within ten seconds, not after timer C."""
    pair = three()
    pair.alice.call(BOB)
    assert len(pair.bob.requests(b"INVITE")) == 1
    pair.wire.kill(1)
    pair.wire.run(0.1)
    assert pair.alice.statuses(b"INVITE")[-1] == 480


def test_a_late_2xx_goes_on_after_a_final_refusal() -> None:
    """sip.md 8 and RFC 3261 §16.7 step 5: the caller's phone ends what it did not expect."""
    pair = three(tcp=False)
    pair.alice.call(BOB)
    [invite] = pair.bob.requests(b"INVITE")
    pair.wire.kill(1)
    pair.wire.run(0.1)
    assert pair.alice.statuses(b"INVITE")[-1] == 480
    pair.bob.edge = 2
    pair.bob.reply(invite, 200)
    assert pair.alice.answer(b"INVITE").status == 200


def test_the_callees_edge_dies_while_it_rings_and_the_call_is_answered() -> None:
    """B's 200 reaches a third peer: past the dead one, to the edge that waits for it."""
    pair = three(tcp=False)
    _, invite = pair.ring()
    pair.wire.kill(1)
    pair.wire.run(1.5)
    assert pair.alice.statuses(b"INVITE")[-1] == 180
    pair.bob.edge = 2
    pair.bob.reply(invite, 200)
    answer = pair.alice.answer(b"INVITE")
    assert answer.status == 200
    pair.alice.send(pair.alice.within_call(b"ACK", invite, answer, as_caller=True))
    pair.wire.run()
    assert len(pair.bob.requests(b"ACK")) == 1


def test_an_answer_that_lands_on_another_peer_goes_to_its_owner() -> None:
    pair = three(tcp=False)
    _, invite = pair.ring()
    pair.bob.edge = 2
    pair.bob.reply(invite, 200)
    assert pair.alice.answer(b"INVITE").status == 200


def test_an_answer_that_lands_on_the_callers_edge_itself() -> None:
    pair = three(tcp=False)
    _, invite = pair.ring()
    pair.wire.kill(1)
    pair.bob.edge = 0
    pair.bob.reply(invite, 200)
    assert pair.alice.answer(b"INVITE").status == 200


def test_the_one_edge_of_both_dies_while_it_rings_and_the_call_is_answered() -> None:
    pair = Pair(1)
    pair.bob = Phone(pair.wire, "bob", ("10.0.0.5", 5060))
    pair.bob.register(call_id=b"r-udp")
    pair.alice.call(BOB)
    [invite] = pair.bob.requests(b"INVITE")
    pair.wire.kill(0)
    pair.bob.edge = pair.alice.edge = 1
    pair.bob.reply(invite, 200)
    answer = pair.alice.answer(b"INVITE")
    assert answer.status == 200
    pair.alice.send(pair.alice.within_call(b"ACK", invite, answer, as_caller=True))
    pair.wire.run()
    assert len(pair.bob.requests(b"ACK")) == 1


def test_a_forged_response_is_sent_to_nobody() -> None:
    """The branch of a dead peer is no secret; the Via below it may name any victim."""
    pair = three()
    pair.wire.kill(0)
    victim = Phone(pair.wire, "victim", ("192.0.2.77", 5060))
    branch = b"z9hG4bK-c" + pair.wire.edges[0].own[:6].hex().encode() + b"0" * 16
    pair.bob.send(
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 203.0.113.10;branch=%b\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.77:5060;branch=z9hG4bKv\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n" % branch
    )
    pair.wire.run()
    assert victim.received == []


def test_the_callers_edge_dies_while_it_rings() -> None:
    """Nobody takes its place in eight seconds: the phone stops ringing."""
    pair = three()
    pair.ring()
    pair.wire.kill(0)
    pair.wire.run(7.0)
    assert pair.bob.requests(b"CANCEL") == []
    pair.wire.run(2.0)
    assert len(pair.bob.requests(b"CANCEL")) == 1


def test_a_second_copy_of_an_invite_is_attached_and_gets_all_answers() -> None:
    pair = three()
    invite = _ring_as_stranger(pair)
    [first] = pair.bob.requests(b"INVITE")
    pair.wire.kill(0)
    pair.alice.edge = 2
    pair.alice.send(invite)
    pair.wire.run()
    assert len(pair.bob.requests(b"INVITE")) == 1
    assert pair.alice.statuses(b"INVITE") == [100, 180]
    pair.wire.run(10.0)
    assert pair.bob.requests(b"CANCEL") == []
    pair.bob.reply(first, 200)
    answer = pair.alice.answer(b"INVITE")
    assert answer.status == 200
    assert len(answer.values(b"via")) == 1
    pair.alice.send(pair.alice.within_call(b"ACK", first, answer, as_caller=True))
    pair.wire.run()
    assert len(pair.bob.requests(b"ACK")) == 1


def test_a_symmetric_nat_is_reached_by_its_own_flow_alone() -> None:
    wire = Wire(3)
    for user in ("alice", "carol"):
        wire.add_user(user)
    carol = Phone(
        wire,
        "carol",
        ("198.51.100.7", 61001),
        edge=1,
        contact="sip:carol@192.168.0.9:5060",
        sent_by="192.168.0.9:5060",
    )
    alice = Phone(wire, "alice", ("10.0.0.3", 5060))
    carol.register()
    alice.call(b"sip:carol@chordial.test")
    [invite] = carol.requests(b"INVITE")
    assert invite.target == b"sip:carol@192.168.0.9:5060"
    carol.reply(invite, 200)
    answer = alice.answer(b"INVITE")
    rebound = Phone(
        wire,
        "carol",
        ("198.51.100.7", 61044),
        edge=2,
        contact="sip:carol@192.168.0.9:5060",
        sent_by="192.168.0.9:5060",
    )
    rebound.cseq = carol.cseq
    rebound.register(call_id=b"r-carol")
    del wire.phones[carol.remote]
    wire.edges[1].turn(lambda: wire.edges[1].flows.close(_flow(wire), "three keepalives"))
    alice.send(alice.within_call(b"BYE", invite, answer, as_caller=True))
    wire.run()
    assert len(rebound.requests(b"BYE")) == 1


def test_a_phone_whose_nat_has_rebound_is_reached_where_it_speaks_from() -> None:
    """Its next REGISTER names the new port; the old flow need not be found dead first."""
    pair = three()
    invite, answer = pair.answer()
    del pair.wire.phones[pair.alice.remote]
    pair.alice.remote = ("198.51.100.7", 40999)
    pair.wire.phones[pair.alice.remote] = pair.alice
    pair.alice.register()
    pair.bob.send(pair.bob.within_call(b"BYE", invite, answer, as_caller=False))
    pair.wire.run()
    [bye] = pair.alice.requests(b"BYE")
    pair.alice.reply(bye, 200)
    assert pair.bob.answer(b"BYE").status == 200


def _flow(wire: Wire) -> Flow:
    return wire.edges[1].flows.datagram(0, ("198.51.100.7", 61001))


def test_a_ua_that_listens_on_another_port_is_reached_at_its_contact() -> None:
    """No rport, sends from one port, listens on another: requests go to the contact."""
    pair = three()
    from_port = Phone(pair.wire, "bob", ("10.0.0.5", 49152), edge=1)
    listening = Phone(pair.wire, "bob", ("10.0.0.5", 5060), edge=1)
    from_port.contact = b"sip:bob@10.0.0.5:5060"
    uri = b"sip:chordial.test"
    for _ in range(2):
        lines = [from_port.contact_line()]
        if listening.responses(b"REGISTER"):
            lines.append(from_port.digest(listening.responses(b"REGISTER")[-1], b"REGISTER", uri))
        raw = from_port.request(b"REGISTER", uri, *lines, call_id=b"asym")
        from_port.send(raw.replace(b"10.0.0.5:49152;", b"10.0.0.5:5060;").replace(b";rport", b""))
        pair.wire.run()
    assert listening.statuses(b"REGISTER") == [401, 200]
    pair.alice.call(BOB)
    assert len(listening.requests(b"INVITE")) == 1
    assert from_port.requests(b"INVITE") == []


def test_a_tcp_phone_is_dialed_when_its_connection_is_gone() -> None:
    """Contact host = source address: the binding is direct."""
    pair = three()
    pair.bob.contact = b"sip:bob@10.0.0.9:33020;transport=tcp"
    edge = pair.wire.edges[1]
    for number in list(edge.ends):
        edge.lose(number)
    pair.bob.lose(0)
    pair.alice.call(BOB)
    assert len(pair.bob.requests(b"INVITE")) == 1


def test_a_connection_from_a_former_address_is_not_the_phone_that_had_it() -> None:
    """A NAT gives ports away again: what registered over a connection is known by it alone."""
    pair = three()
    pair.bob.contact = b"sip:bob@192.168.0.9:5060"
    pair.bob.register()
    edge = pair.wire.edges[1]
    for number in list(edge.ends):
        edge.lose(number)
    other = Phone(pair.wire, "carol", pair.bob.remote, edge=1, tcp=True)
    other.send(other.request(b"OPTIONS", b"sip:chordial.test"))
    assert other.answer(b"OPTIONS").status == 200
    pair.alice.call(BOB)
    assert other.requests(b"INVITE") == []
    assert pair.alice.statuses(b"INVITE")[-1] == 480
