"""Seals open for those who hold the overlay's key, in the place they were made for, unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.ids import resource_id_of
from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.security.sealing import SealError, is_under_present_key, open_seal, seal

OLD = OverlayKey(1, b"\1" * 32)
NEW = OverlayKey(2, b"\2" * 32)
ALICE = resource_id_of(b"sip:alice@chordial.test")
BOB = resource_id_of(b"sip:bob@chordial.test")
NONCE = bytes(range(12))
RING = KeyRing("chordial.test", [OLD])


@given(content=st.binary(max_size=300), nonce=st.binary(min_size=12, max_size=12))
def test_what_was_sealed_is_opened(content: bytes, nonce: bytes) -> None:
    sealed = seal(RING, ALICE, content, nonce)
    assert open_seal(RING, ALICE, sealed) == content


def test_a_seal_hides_its_content() -> None:
    assert b"secret" not in seal(RING, ALICE, b"a secret and more", NONCE)


def test_a_seal_is_the_number_the_nonce_and_the_ciphertext_with_its_tag() -> None:
    sealed = seal(RING, ALICE, b"ha1", NONCE)
    assert sealed[:13] == b"\1" + NONCE
    assert len(sealed) == 1 + 12 + 3 + 16


@given(position=st.integers(0, 31), difference=st.integers(1, 255))
def test_a_changed_seal_does_not_open(position: int, difference: int) -> None:
    sealed = bytearray(seal(RING, ALICE, b"ha1", NONCE))
    sealed[position] ^= difference
    with pytest.raises(SealError):
        open_seal(RING, ALICE, bytes(sealed))


def test_a_seal_moved_to_another_user_does_not_open() -> None:
    with pytest.raises(SealError, match="for another resource"):
        open_seal(RING, BOB, seal(RING, ALICE, b"ha1", NONCE))


def test_old_seals_open_while_the_old_key_is_accepted_and_ask_for_renewal() -> None:
    sealed = seal(RING, ALICE, b"ha1", NONCE)
    both = KeyRing("chordial.test", [NEW, OLD])
    assert open_seal(both, ALICE, sealed) == b"ha1"
    assert is_under_present_key(RING, sealed)
    assert not is_under_present_key(both, sealed)
    assert is_under_present_key(both, seal(both, ALICE, b"ha1", NONCE))


def test_a_seal_under_a_key_that_counts_no_more_says_which() -> None:
    with pytest.raises(SealError, match="under key 1, this peer holds 2"):
        open_seal(KeyRing("chordial.test", [NEW]), ALICE, seal(RING, ALICE, b"ha1", NONCE))


def test_a_seal_of_another_overlay_with_the_same_secret_does_not_open() -> None:
    with pytest.raises(SealError, match="with another key"):
        open_seal(KeyRing("elsewhere.test", [OLD]), ALICE, seal(RING, ALICE, b"ha1", NONCE))


@pytest.mark.parametrize("sealed", [b"", b"\1", bytes(28)])
def test_rubbish_does_not_open(sealed: bytes) -> None:
    with pytest.raises(SealError, match="at least 29 bytes"):
        open_seal(RING, ALICE, sealed)


def test_a_nonce_of_another_length_is_a_callers_fault() -> None:
    with pytest.raises(ValueError, match="12 random bytes, not 11"):
        seal(RING, ALICE, b"ha1", bytes(11))
