"""RFC 3261 §16.6 to §16.10, RFC 5626 §7, RFC 6026: one request, several phones."""

from chordial_node.sip.message import Message
from tests.node.usage.phone import Phone
from tests.node.usage.rig import Wire

BOB = b"sip:bob@chordial.test"


class Forked:
    """alice at the first edge; bob's phones at the others."""

    def __init__(self, *phones: dict[str, str], edges: int = 3) -> None:
        self.wire = Wire(edges)
        for user in ("alice", "bob"):
            self.wire.add_user(user)
        self.alice = Phone(self.wire, "alice", ("198.51.100.7", 5060))
        self.bobs = []
        for number, extra in enumerate(phones):
            phone = Phone(
                self.wire,
                "bob",
                (f"10.0.0.{number + 2}", 5060),
                edge=(number + 1) % edges,
                instance=extra.get("instance", ""),
            )
            contact = phone.contact_line() + extra.get("params", "").encode()
            phone.register(call_id=b"r%d" % number, contact=contact)
            self.bobs.append(phone)

    def call(self, wait: float = 0.2) -> Message:
        return Message(self.alice.call(BOB, wait=wait))

    def invites(self) -> list[int]:
        return [len(phone.requests(b"INVITE")) for phone in self.bobs]

    def cancel(self, invite: Message) -> None:
        self.alice.send(
            self.alice.request(
                b"CANCEL",
                invite.target,
                call_id=invite.call_id,
                cseq=invite.cseq.number,
                branch=invite.via.branch,
            )
        )


def two() -> Forked:
    return Forked({}, {})


def test_all_phones_ring_at_once() -> None:
    """RFC 3261 §16.6: targets of equal q are tried in parallel."""
    forked = two()
    forked.call()
    assert forked.invites() == [1, 1]


def test_devices_at_one_edge_are_two_branches() -> None:
    """sip.md 2: only the caller's edge forks, one branch per device, each with its own Route."""
    forked = Forked({}, {}, edges=2)
    forked.bobs[1].edge = 1
    forked.bobs[1].register(call_id=b"r1")
    forked.call()
    assert forked.invites() == [1, 1]


def test_the_first_2xx_is_forwarded_and_the_others_are_cancelled() -> None:
    """RFC 3261 §16.7 steps 5 and 10: a 2xx ends the search, other branches get CANCEL."""
    forked = two()
    forked.call()
    for phone in forked.bobs:
        phone.reply(phone.requests(b"INVITE")[0], 180)
    forked.wire.run()
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 200)
    assert forked.alice.answer(b"INVITE").status == 200
    assert len(forked.bobs[1].requests(b"CANCEL")) == 1
    assert forked.bobs[0].requests(b"CANCEL") == []


def test_a_later_2xx_is_forwarded_too() -> None:
    """RFC 6026 §7.2 and RFC 3261 §16.7 step 5: every 2xx to an INVITE goes to the caller."""
    forked = two()
    forked.call()
    for number, phone in enumerate(forked.bobs):
        phone.reply(phone.requests(b"INVITE")[0], 200, tag=b"t%d" % number)
    forked.wire.run()
    tags = [m.to_tag for m in forked.alice.responses(b"INVITE") if m.status == 200]
    assert sorted(tags) == [b"t0", b"t1"]


def test_a_time_out_does_not_hide_behind_a_worse_class() -> None:
    """RFC 3261 §16.7 steps 2 and 6: it counts as a 408, and 4xx goes before 5xx."""
    forked = two()
    forked.call()
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 500)
    assert forked.alice.answer(b"INVITE", wait=34.0).status == 408


def test_every_provisional_but_100_is_forwarded() -> None:
    """RFC 3261 §16.7 step 5."""
    forked = two()
    forked.call()
    for status, phone in zip((180, 183), forked.bobs, strict=True):
        phone.reply(phone.requests(b"INVITE")[0], 100)
        phone.reply(phone.requests(b"INVITE")[0], status)
    forked.wire.run()
    assert forked.alice.statuses(b"INVITE") == [407, 100, 180, 183]


def test_the_best_refusal_is_chosen_when_all_have_answered() -> None:
    """RFC 3261 §16.7 step 6: the lowest class; nothing is sent while a branch is open."""
    forked = two()
    forked.call()
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 500)
    forked.wire.run()
    assert forked.alice.statuses(b"INVITE") == [407, 100]
    forked.bobs[1].reply(forked.bobs[1].requests(b"INVITE")[0], 486)
    assert forked.alice.answer(b"INVITE").status == 486


def test_a_6xx_ends_the_search() -> None:
    """RFC 3261 §16.7 step 5: on a 6xx all pending branches are cancelled, and it is the answer."""
    forked = two()
    forked.call()
    forked.bobs[1].reply(forked.bobs[1].requests(b"INVITE")[0], 180)
    forked.wire.run()
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 603)
    forked.wire.run()
    assert len(forked.bobs[1].requests(b"CANCEL")) == 1
    forked.bobs[1].reply(forked.bobs[1].requests(b"INVITE")[0], 487)
    assert forked.alice.answer(b"INVITE").status == 603


def test_a_503_of_a_phone_condemns_no_server() -> None:
    """RFC 3261 §16.7 step 6: a proxy does not forward a 503 it does not mean itself."""
    forked = Forked({})
    forked.call()
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 503)
    assert forked.alice.answer(b"INVITE").status == 500


def test_challenges_of_all_branches_are_joined() -> None:
    """RFC 3261 §16.7 step 7: the caller must be able to answer all of them at once."""
    forked = two()
    forked.call()
    for number, phone in enumerate(forked.bobs):
        header = b'WWW-Authenticate: Digest realm="phone%d", nonce="n"' % number
        phone.reply(phone.requests(b"INVITE")[0], 401, header)
    answer = forked.alice.answer(b"INVITE")
    assert answer.status == 401
    assert len(answer.lines(b"www-authenticate")) == 2


def test_a_lower_q_is_tried_after_the_higher_has_refused() -> None:
    """RFC 3261 §16.6: targets may be tried in order of q."""
    forked = Forked({"params": ";q=0.2"}, {"params": ";q=0.9"})
    forked.call()
    assert forked.invites() == [0, 1]
    forked.bobs[1].reply(forked.bobs[1].requests(b"INVITE")[0], 486)
    forked.wire.run()
    assert forked.invites() == [1, 1]
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 200)
    assert forked.alice.answer(b"INVITE").status == 200


def test_bindings_of_one_instance_are_alternatives() -> None:
    """RFC 5626 §7: never in parallel; the next is tried when the flow has failed."""
    same = {"instance": "urn:uuid:B"}
    forked = Forked({**same, "params": ";reg-id=1"}, {**same, "params": ";reg-id=2"})
    forked.call()
    assert forked.invites() == [0, 1]
    forked.bobs[1].reply(forked.bobs[1].requests(b"INVITE")[0], 430)
    forked.wire.run()
    assert forked.invites() == [1, 1]


def test_an_alternative_is_not_tried_when_the_device_itself_has_refused() -> None:
    """RFC 5626 §7: a final answer of the device ends the attempt to reach it."""
    same = {"instance": "urn:uuid:B"}
    forked = Forked({**same, "params": ";reg-id=1"}, {**same, "params": ";reg-id=2"})
    forked.call()
    forked.bobs[1].reply(forked.bobs[1].requests(b"INVITE")[0], 486)
    assert forked.alice.answer(b"INVITE").status == 486
    assert forked.invites() == [0, 1]


def test_max_breadth_is_split_over_the_branches() -> None:
    """RFC 5393 §5.3.3.1: the sum over the branches is no more than what came in."""
    forked = two()
    forked.call()
    assert [p.requests(b"INVITE")[0].first(b"max-breadth") for p in forked.bobs] == [b"30", b"30"]


def test_a_fork_beyond_max_breadth_is_440() -> None:
    """RFC 5393 §5.3.3.2."""
    forked = two()
    forked.alice.call(BOB, b"Max-Breadth: 1")
    assert forked.alice.statuses(b"INVITE")[-1] == 440


def test_at_most_ten_branches() -> None:
    """sip.md 18."""
    forked = Forked(*({} for _ in range(10)), edges=2)
    forked.call()
    assert forked.invites() == [1] * 10


def test_a_loop_is_482() -> None:
    """RFC 3261 §16.3 step 4: a phone that sends the request back is not asked again."""
    forked = Forked({})
    forked.call()
    [invite] = forked.bobs[0].requests(b"INVITE")
    records = [b"Record-Route: " + value for value in invite.values(b"record-route")]
    stranger = b"sip:eve@example.org"
    forked.bobs[0].send(
        forked.bobs[0].request(b"INVITE", BOB, *records, from_uri=stranger, call_id=b"call")
    )
    assert forked.bobs[0].answer(b"INVITE").status == 482


# CANCEL: the four windows


def test_a_cancel_while_the_location_is_fetched() -> None:
    """RFC 3261 §16.10: no branch yet, the INVITE is answered 487 and nobody rings."""
    forked = two()
    invite = forked.call(wait=0.0015)
    assert forked.invites() == [0, 0]
    forked.cancel(invite)
    assert forked.alice.answer(b"INVITE").status == 487
    assert forked.alice.statuses(b"CANCEL") == [200]
    forked.wire.run(1.0)
    assert all(phone.requests(b"INVITE") == [] for phone in forked.bobs)


def test_a_cancel_before_the_first_provisional() -> None:
    """RFC 3261 §9.1: CANCEL waits for a 1xx of its INVITE."""
    forked = Forked({}, edges=1)
    invite = forked.call(wait=0.01)
    assert forked.invites() == [1]
    forked.cancel(invite)
    forked.wire.run()
    assert forked.bobs[0].requests(b"CANCEL") == []
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 180)
    forked.wire.run()
    [cancel] = forked.bobs[0].requests(b"CANCEL")
    branch = forked.bobs[0].requests(b"INVITE")[0].via.branch
    assert cancel.via.branch == branch
    assert 180 not in forked.alice.statuses(b"INVITE")
    forked.bobs[0].reply(cancel, 200)
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 487)
    assert forked.alice.answer(b"INVITE").status == 487


def test_a_cancel_while_it_rings() -> None:
    """RFC 3261 §16.10: every branch that has a 1xx gets CANCEL, and its 487 travels back."""
    forked = two()
    invite = forked.call()
    for phone in forked.bobs:
        phone.reply(phone.requests(b"INVITE")[0], 180)
    forked.wire.run()
    forked.cancel(invite)
    forked.wire.run()
    for phone in forked.bobs:
        assert len(phone.requests(b"CANCEL")) == 1
        phone.reply(phone.requests(b"INVITE")[0], 487)
    assert forked.alice.answer(b"INVITE").status == 487
    assert all(phone.requests(b"ACK") for phone in forked.bobs)


def test_a_cancel_that_crosses_a_2xx() -> None:
    """RFC 3261 §9.1 and §16.10: the 2xx goes through; the caller will end the call itself."""
    forked = Forked({})
    invite = forked.call()
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 180)
    forked.wire.run()
    forked.cancel(invite)
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 200)
    assert forked.alice.answer(b"INVITE").status == 200


def test_a_cancelled_branch_that_never_answers_is_over_after_64_t1() -> None:
    """RFC 3261 §9.1."""
    forked = Forked({})
    invite = forked.call()
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 180)
    forked.wire.run()
    forked.cancel(invite)
    assert forked.alice.answer(b"INVITE", wait=35.0).status == 487


# time


def test_timer_c_ends_a_branch_that_only_rings() -> None:
    """RFC 3261 §16.6 step 11 and §16.8: cancelled after three minutes without an answer."""
    forked = Forked({})
    forked.call()
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 180)
    forked.wire.run(170.0)
    forked.bobs[0].reply(forked.bobs[0].requests(b"INVITE")[0], 180)
    forked.wire.run(170.0)
    assert forked.bobs[0].requests(b"CANCEL") == []
    forked.wire.run(15.0)
    assert forked.bobs[0].requests(b"CANCEL")


def test_a_phone_that_is_silent_is_408() -> None:
    """RFC 3261 §16.7: a client transaction that times out counts as a 408."""
    forked = Forked({})
    forked.call()
    assert forked.alice.answer(b"INVITE", wait=33.0).status == 408


def test_a_silent_phone_gets_no_408_for_a_message() -> None:
    """RFC 4320 §4.2: no 408 to anything but INVITE; the transaction is forgotten."""
    forked = Forked({}, edges=1)
    proof = b"Subject: none"
    for _ in range(2):
        forked.alice.send(forked.alice.request(b"MESSAGE", BOB, proof))
        challenge = forked.alice.answer(b"MESSAGE")
        if challenge.status == 407:
            proof = forked.alice.digest(challenge, b"MESSAGE", BOB)
    forked.wire.run(40.0)
    assert forked.alice.statuses(b"MESSAGE") == [407]
    assert forked.wire.edges[0].transactions.open_count == 0
