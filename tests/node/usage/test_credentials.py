"""Credentials: hashes, seals, and what is kept for thirty seconds."""

import pytest

from chordial_node.overlay.kinds import KindId
from chordial_node.overlay.messages import KindData
from chordial_node.security.credentials import (
    Algorithm,
    ha1,
    make_credentials,
    open_credentials,
    resource_of_user,
    seal_credentials,
)
from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.security.sealing import SealError
from chordial_node.usage.credentials import CACHE_SECONDS, CredentialStore, credentials_entry
from tests.node.usage.solo import Solo

KEYS = KeyRing("test", (OverlayKey(1, bytes(32)),))
ALICE = resource_of_user("alice", "chordial.test")


def store_alice(solo: Solo, password: str = "alicepw") -> None:
    made = make_credentials("alice", "chordial.test", password)
    sealed = seal_credentials(KEYS, made, bytes(12))
    entry = credentials_entry(sealed, solo.kernel.wall_ms, solo.own)
    data = KindData(KindId.CREDENTIALS, 0, (entry,))
    solo.shared.store(ALICE, (data,), solo.kernel.wall_ms, solo.own)


def test_both_names_of_a_user_have_hashes_of_both_algorithms() -> None:
    made = make_credentials("alice", "chordial.test", "pw")
    assert made.ha1(Algorithm.MD5, False) == ha1(Algorithm.MD5, b"alice", b"chordial.test", b"pw")
    assert made.ha1(Algorithm.SHA_256, True) == ha1(
        Algorithm.SHA_256, b"alice@chordial.test", b"chordial.test", b"pw"
    )


def test_no_hash_is_ever_shown() -> None:
    made = make_credentials("alice", "chordial.test", "pw")
    assert repr(made) == "Credentials(alice@chordial.test)"


def test_a_seal_of_one_user_is_worthless_in_anothers_place() -> None:
    sealed = seal_credentials(KEYS, make_credentials("alice", "chordial.test", "pw"), bytes(12))
    assert open_credentials(KEYS, ALICE, sealed).user == "alice"
    with pytest.raises(SealError):
        open_credentials(KEYS, resource_of_user("bob", "chordial.test"), sealed)


def test_credentials_are_fetched_once_in_thirty_seconds() -> None:
    solo = Solo()
    store_alice(solo)
    store = CredentialStore(solo.kernel, solo.peer, KEYS)
    assert solo.result(store.of(ALICE), 0.1)
    assert solo.result(store.of(ALICE), 0.1)
    assert solo.shared.fetches == 1
    solo.run(CACHE_SECONDS)
    assert solo.result(store.of(ALICE), 0.1)
    assert solo.shared.fetches == 2


def test_misses_are_kept_as_well() -> None:
    solo = Solo()
    store = CredentialStore(solo.kernel, solo.peer, KEYS)
    assert solo.result(store.of(ALICE), 0.1) is None
    assert solo.result(store.of(ALICE), 0.1) is None
    assert solo.shared.fetches == 1


def test_a_changed_password_holds_after_thirty_seconds() -> None:
    solo = Solo()
    store_alice(solo, "old")
    store = CredentialStore(solo.kernel, solo.peer, KEYS)
    before = solo.result(store.of(ALICE), 0.1)
    store_alice(solo, "new")
    assert solo.result(store.of(ALICE), 0.1) == before
    solo.run(CACHE_SECONDS)
    assert solo.result(store.of(ALICE), 0.1) == make_credentials("alice", "chordial.test", "new")


def test_a_seal_that_cannot_be_opened_is_counted_and_is_no_user() -> None:
    solo = Solo()
    store_alice(solo)
    others = KeyRing("test", (OverlayKey(2, bytes(range(32))),))
    store = CredentialStore(solo.kernel, solo.peer, others)
    assert solo.result(store.of(ALICE), 0.1) is None
    assert solo.kernel.counters.seals_unreadable == 1
