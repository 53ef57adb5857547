"""Edges that have died without the failure detector having said so yet (sip.md 2 and 8)."""

from tests.node.usage.phone import Phone
from tests.node.usage.test_dead_edges import three


def test_the_callers_edge_has_died_unheard_and_the_callee_hangs_up() -> None:
    """The failure detector may take its time: the BYE goes past the silent peer at once."""
    pair = three()
    pair.alice = Phone(pair.wire, "alice", ("10.0.0.3", 5060))
    pair.alice.register(call_id=b"r2")
    invite, answer = pair.answer()
    pair.wire.kill(0, is_known=False)
    pair.bob.send(pair.bob.within_call(b"BYE", invite, answer, as_caller=False))
    pair.wire.run(3.0)
    bye = pair.alice.requests(b"BYE")[0]
    assert bye.values(b"route") == []
    pair.alice.edge = 1
    pair.alice.reply(bye, 200)
    assert pair.bob.answer(b"BYE").status == 200


def test_the_callers_edge_has_died_unheard_and_nobody_reaches_her() -> None:
    pair = three()
    invite, answer = pair.answer()
    pair.wire.kill(0, is_known=False)
    pair.bob.send(pair.bob.within_call(b"BYE", invite, answer, as_caller=False))
    pair.wire.run(5.0)
    assert pair.bob.answer(b"BYE").status == 408
