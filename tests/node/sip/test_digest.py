"""Challenges and credentials: written, read, checked."""

import pytest

from chordial_node.security.credentials import Algorithm, ha1
from chordial_node.sip.digest import answer, challenge, of_realm, read_credentials, verify
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import parse_auth

GOOD = (
    b'Digest username="bob", realm="chordial.test", nonce="n", uri="sip:chordial.test", '
    b'response="DFE56131D1958046689D83306477ECC1", qop=auth, nc=0000001a, cnonce="c"'
)


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("qop", [True, False])
def test_who_answers_a_challenge_with_the_password_is_believed(
    algorithm: Algorithm, qop: bool
) -> None:
    asked = parse_auth(challenge(b'a "realm"', b"nonce", algorithm, qop=qop))
    for password, believed in ((b"right", True), (b"wrong", False)):
        value = answer(
            asked,
            user=b"bob",
            password=password,
            method=b"REGISTER",
            uri=b"sip:chordial.test",
            count=26,
            cnonce=b"c",
        )
        claimed = read_credentials(parse_auth(value))
        assert claimed.nc == (26 if qop else 0)
        secret = ha1(algorithm, b"bob", b'a "realm"', b"right")
        assert verify(claimed, secret, b"REGISTER") is believed
        assert not verify(claimed, secret, b"INVITE")


def test_the_default_challenge_is_md5_with_auth() -> None:
    """`sip.md` 4: one challenge, the algorithm that every phone knows."""
    assert challenge(b"chordial.test", b"n") == (
        b'Digest realm="chordial.test", nonce="n", algorithm=MD5, qop="auth"'
    )
    assert b", stale=true" in challenge(b"chordial.test", b"n", stale=True)


def test_credentials_are_read() -> None:
    claimed = read_credentials(parse_auth(GOOD))
    assert (claimed.username, claimed.realm, claimed.nc) == (b"bob", b"chordial.test", 26)
    assert claimed.response == b"dfe56131d1958046689d83306477ecc1"
    assert claimed.algorithm is Algorithm.MD5


def test_a_count_without_leading_zeros_is_a_count() -> None:
    claimed = read_credentials(parse_auth(GOOD.replace(b"nc=0000001a", b'nc="1A"')))
    assert (claimed.nc, claimed.nc_text) == (26, b"1A")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Digest", b"Basic"),
        (b'username="bob", ', b""),
        (b"qop=auth", b"qop=auth-int"),
        (b'cnonce="c"', b'cnonce=""'),
        (b"nc=0000001a", b"nc=00000001a"),
        (b"nc=0000001a", b"nc=-000001a"),
        (b"nc=0000001a", b"nc=0000001g"),
        (b"nc=0000001a, ", b""),
        (b"qop=auth", b"algorithm=MD5-sess"),
        (b'uri="', b"uri="),
    ],
)
def test_credentials_that_cannot_be_checked_are_400(old: bytes, new: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_credentials(parse_auth(GOOD.replace(old, new)))
    assert caught.value.status == 400


def test_the_realm_of_a_header_is_found_without_believing_it() -> None:
    assert of_realm(GOOD, b"chordial.test") == parse_auth(GOOD)
    for other in (b"Basic Zm9v", b'Bearer realm="chordial.test"', GOOD.replace(b"chordial", b"x")):
        assert of_realm(other, b"chordial.test") is None
