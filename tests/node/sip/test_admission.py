"""Admission: what is worth parsing, and who may still be challenged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.sip.admission import ChallengeBudget, Verdict, judge
from chordial_node.sip.stun import binding_request

OPTIONS = b"OPTIONS sip:chordial.test SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nUser-Agent: %b\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", Verdict.KEEPALIVE),
        (b"\r\n", Verdict.KEEPALIVE),
        (b"\r\n\r\n", Verdict.KEEPALIVE),
        (b"\0\0\0\0", Verdict.KEEPALIVE),
        (binding_request(b"t" * 12), Verdict.STUN),
        (b"hello", Verdict.NOT_SIP),
        (b"GET / HTTP/1.1\r\nUser-Agent: SIP/2.0\r\n\r\n", Verdict.NOT_SIP),
        (b"\x16\x03\x01" * 20, Verdict.NOT_SIP),
        (b"A" * 90_000, Verdict.TOO_LARGE),
        (OPTIONS % b"baresip v1.0.0", Verdict.ACCEPT),
        (OPTIONS % b"sipsak 0.9.8", Verdict.ACCEPT),
        (OPTIONS % b"friendly-scanner", Verdict.SCANNER),
        (OPTIONS % b"SIPVicious 0.3", Verdict.SCANNER),
        (b"\r\n" + OPTIONS % b"x", Verdict.ACCEPT),
        (OPTIONS % b"x" + b"friendly-scanner", Verdict.ACCEPT),
        (b"SIP/2.0 200 OK\r\n\r\n", Verdict.ACCEPT),
    ],
)
def test_datagrams_are_told_apart_before_they_are_parsed(data: bytes, verdict: Verdict) -> None:
    assert judge(data) is verdict


@given(st.binary(max_size=80))
def test_any_bytes_are_judged(data: bytes) -> None:
    judge(data)


def test_a_source_that_answers_nothing_hears_nothing_more() -> None:
    budget = ChallengeBudget(limit=50)
    assert [budget.spend("192.0.2.1", 1.0) for _ in range(60)] == [True] * 50 + [False] * 10
    assert budget.spend("192.0.2.2", 1.0)
    assert budget.spend("192.0.2.1", 1.5)


def test_answered_challenges_do_not_count() -> None:
    budget = ChallengeBudget(limit=50)
    for _ in range(500):
        assert budget.spend("192.0.2.1", 1.0)
        budget.answered("192.0.2.1", 1.0)
    budget.answered("192.0.2.9", 1.0)
    assert len(budget) == 1


def test_the_table_is_bounded_and_forgets_the_longest_silent() -> None:
    budget = ChallengeBudget(limit=1, max_sources=2)
    assert budget.spend("a", 1.0)
    assert budget.spend("b", 1.0)
    assert not budget.spend("a", 1.0)
    assert budget.spend("c", 1.0)
    assert len(budget) == 2
    assert not budget.spend("a", 1.0)
    assert budget.spend("b", 1.0)
