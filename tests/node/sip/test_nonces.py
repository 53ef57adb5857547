"""Nonces: who accepts them, how often, and what becomes of the rest (`sip.md` 5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.sip.nonces import Nonces, NonceState

OLD, NEW = OverlayKey(1, b"o" * 32), OverlayKey(2, b"n" * 32)
ISSUER = bytes(range(16))
NOW = 1_800_000_000.0
DRAWN = b"random"


def keys(*present: OverlayKey) -> KeyRing:
    return KeyRing("test", present or (OLD,))


def nonces(issuer: bytes = ISSUER, boot: int = 7, limit: int = 100) -> Nonces:
    return Nonces(keys(), issuer, boot, lifetime=600, limit=limit)


def test_only_the_issuer_of_this_boot_accepts() -> None:
    ours = nonces()
    nonce = ours.make(NOW, DRAWN)
    assert len(nonce) == 39
    assert ours.judge(nonce, NOW) is NonceState.VALID
    assert nonces(issuer=bytes(16)).judge(nonce, NOW) is NonceState.STALE
    assert nonces(boot=8).judge(nonce, NOW) is NonceState.STALE


def test_a_nonce_grows_old() -> None:
    ours = nonces()
    nonce = ours.make(NOW, DRAWN)
    assert ours.judge(nonce, NOW + 600) is NonceState.VALID
    assert ours.judge(nonce, NOW + 601) is NonceState.STALE


@given(st.integers(0, 38), st.binary(min_size=1, max_size=1))
def test_a_changed_nonce_is_forged(place: int, put: bytes) -> None:
    ours = nonces()
    nonce = ours.make(NOW, DRAWN)
    changed = nonce[:place] + put + nonce[place + 1 :]
    if changed != nonce:
        assert ours.judge(changed, NOW) is NonceState.FORGED


@given(st.binary(max_size=60))
def test_any_bytes_are_judged(nonce: bytes) -> None:
    assert nonces().judge(nonce, NOW) is NonceState.FORGED


def test_a_key_that_follows_another_opens_its_nonces() -> None:
    ours = nonces()
    nonce = ours.make(NOW, DRAWN)
    ours.renew_keys(keys(NEW, OLD))
    assert ours.judge(nonce, NOW) is NonceState.VALID
    ours.renew_keys(keys(NEW))
    assert ours.judge(nonce, NOW) is NonceState.FORGED


def test_no_count_serves_twice() -> None:
    ours = nonces()
    nonce = ours.make(NOW, DRAWN)
    counts = [1, 3, 2, 3, 70, 2, 7, 7, 71, 70]
    seen = [ours.use(nonce, nc, NOW) is NonceState.VALID for nc in counts]
    assert seen == [True, True, True, False, True, False, True, False, True, False]


@given(st.lists(st.integers(1, 200), max_size=60))
def test_the_window_agrees_with_a_list_of_all_counts(counts: list[int]) -> None:
    ours = nonces()
    nonce = ours.make(NOW, DRAWN)
    used: list[int] = []
    for nc in counts:
        fresh = nc not in used and nc > max(used, default=0) - 64
        assert (ours.use(nonce, nc, NOW) is NonceState.VALID) is fresh
        if fresh:
            used.append(nc)


def test_without_qop_a_nonce_serves_one_request() -> None:
    ours = nonces()
    nonce = ours.make(NOW, DRAWN)
    assert ours.use(nonce, 0, NOW) is NonceState.VALID
    assert ours.use(nonce, 0, NOW) is NonceState.STALE
    assert ours.use(nonce, 1, NOW) is NonceState.STALE
    counted = ours.make(NOW, b"other!")
    assert ours.use(counted, 1, NOW) is NonceState.VALID
    assert ours.use(counted, 0, NOW) is NonceState.STALE


def test_a_challenge_leaves_no_state() -> None:
    ours = nonces()
    for i in range(50):
        ours.judge(ours.make(NOW, b"%06d" % i), NOW)
    assert len(ours) == 0


def test_what_a_full_table_forgets_is_stale_and_not_new() -> None:
    ours = nonces(limit=3)
    made = [ours.make(NOW + i, b"%06d" % i) for i in range(5)]
    for nonce in made[:4]:
        assert ours.use(nonce, 1, NOW + 5) is NonceState.VALID
    assert len(ours) == 3
    assert ours.use(made[0], 1, NOW + 5) is NonceState.STALE
    assert ours.use(made[0], 2, NOW + 5) is NonceState.STALE
    assert ours.use(made[1], 2, NOW + 5) is NonceState.VALID
    assert ours.use(made[4], 1, NOW + 5) is NonceState.VALID


def test_old_windows_make_room_without_turning_others_stale() -> None:
    ours = nonces(limit=1)
    first, second = ours.make(NOW, b"first!"), ours.make(NOW + 1000, b"second")
    waiting = ours.make(NOW + 1000, b"waits!")
    assert ours.use(first, 1, NOW) is NonceState.VALID
    assert ours.use(second, 1, NOW + 1000) is NonceState.VALID
    assert ours.judge(waiting, NOW + 1000) is NonceState.VALID


@pytest.mark.parametrize("skew", [-5.0, 0.0])
def test_a_clock_that_is_set_back_harms_nobody(skew: float) -> None:
    ours = nonces()
    assert ours.judge(ours.make(NOW, DRAWN), NOW + skew) is NonceState.VALID
