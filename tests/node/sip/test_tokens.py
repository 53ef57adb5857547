"""Tokens: every peer opens them, nobody else makes them, each fits one call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.ids import ResourceId
from chordial_node.security.derived_keys import KeyRing, OverlayKey
from chordial_node.sip.tokens import (
    NO_DEVICE,
    DeviceToken,
    SideToken,
    Token,
    make,
    open_token,
)
from chordial_node.sip.uri import parse_sip_uri

OLD, NEW = OverlayKey(17, b"o" * 32), OverlayKey(18, b"n" * 32)
KEYS = KeyRing("test", (OLD,))
RESOURCE = ResourceId(bytes(range(16)))
V4 = SideToken(b"node1234", 0, 1, "198.51.100.7", 40112, RESOURCE, b"device-a")
V6 = SideToken(b"node1234", 255, 2, "2001:db8::7", 65535, RESOURCE, NO_DEVICE)
DEVICE = DeviceToken(RESOURCE, b"device-b")


@pytest.mark.parametrize(("token", "length"), [(V4, 68), (V6, 84), (DEVICE, 47)])
def test_a_token_comes_back_as_it_was_made(token: Token, length: int) -> None:
    text = make(token, b"call-1", KEYS)
    assert len(text) == length
    assert open_token(text, b"call-1", KEYS) == token
    assert parse_sip_uri(b"sip:" + text + b"@203.0.113.10:5060;lr").user == text


@pytest.mark.parametrize("token", [V4, V6, DEVICE])
def test_a_token_fits_its_call_its_overlay_and_its_key_only(token: Token) -> None:
    text = make(token, b"call-1", KEYS)
    assert open_token(text, b"call-2", KEYS) is None
    assert open_token(text, b"call-1", KeyRing("other", (OLD,))) is None
    assert open_token(text, b"call-1", KeyRing("test", (NEW, OLD))) == token
    assert open_token(text, b"call-1", KeyRing("test", (NEW,))) is None


@given(st.integers(0, 67), st.binary(min_size=1, max_size=1))
def test_a_changed_token_is_refused(place: int, put: bytes) -> None:
    text = make(V4, b"call-1", KEYS)
    changed = text[:place] + put + text[place + 1 :]
    assert changed == text or open_token(changed, b"call-1", KEYS) is None


@given(st.binary(max_size=90))
def test_any_user_is_a_token_or_none(user: bytes) -> None:
    assert open_token(user, b"call-1", KEYS) is None
