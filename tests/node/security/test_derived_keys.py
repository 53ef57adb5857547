"""Keys derived from the overlay's numbered keys: the same after a restart, apart by purpose."""

import pytest

from chordial_node.security.derived_keys import KeyRing, OverlayKey, derive

FIRST = OverlayKey(1, bytes(range(32)))
SECOND = OverlayKey(2, bytes(reversed(range(32))))


def test_the_same_key_gives_the_same_keys_on_every_peer_and_after_a_restart() -> None:
    assert derive(OverlayKey(1, bytes(range(32))), "a.test") == derive(FIRST, "a.test")
    assert derive(FIRST, "a.test").nonce.hex().startswith("2905e7443882924a")


def test_purposes_overlays_and_numbers_have_keys_of_their_own() -> None:
    keys = [
        key
        for derived in (
            derive(FIRST, "a.test"),
            derive(FIRST, "b.test"),
            derive(SECOND, "a.test"),
        )
        for key in (derived.nonce, derived.token, derived.sealing)
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}


def test_a_ring_makes_with_the_first_and_opens_with_both() -> None:
    ring = KeyRing("a.test", [SECOND, FIRST])
    assert ring.current == derive(SECOND, "a.test")
    assert ring.get(1) == derive(FIRST, "a.test")
    assert ring.get(3) is None
    assert ring.numbers == (2, 1)


def test_no_key_has_a_text_form() -> None:
    derived = derive(FIRST, "a.test")
    assert repr(FIRST) == "OverlayKey(number=1)"
    assert f"{derived}" == "DerivedKeys(number=1)"


@pytest.mark.parametrize("keys", [[], [FIRST, SECOND, OverlayKey(3, bytes(32))]])
def test_a_ring_of_none_or_three_is_refused(keys: list[OverlayKey]) -> None:
    with pytest.raises(ValueError, match="one or 2 SIP keys"):
        KeyRing("a.test", keys)


def test_two_keys_of_one_number_are_refused() -> None:
    with pytest.raises(ValueError, match="two SIP keys have the number 1"):
        KeyRing("a.test", [FIRST, OverlayKey(1, bytes(32))])


@pytest.mark.parametrize(("number", "length"), [(256, 32), (-1, 32), (1, 31), (1, 64)])
def test_a_key_of_another_form_is_refused(number: int, length: int) -> None:
    with pytest.raises(ValueError, match="an overlay key"):
        OverlayKey(number, bytes(length))
