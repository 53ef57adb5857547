"""The published examples of digest authentication (RFC 2617, RFC 7616, RFC 8760)."""

import pytest

from chordial_node.security.credentials import Algorithm, ha1
from chordial_node.sip.digest import challenge, read_credentials, response, verify
from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import parse_auth


def test_rfc2617_example() -> None:
    """RFC 2617 §3.5: the response of Mufasa to the example challenge."""
    claimed = read_credentials(
        parse_auth(
            b'Digest username="Mufasa", realm="testrealm@host.com", '
            b'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, '
            b'nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", '
            b'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
        )
    )
    secret = ha1(Algorithm.MD5, b"Mufasa", b"testrealm@host.com", b"Circle Of Life")
    assert secret == b"939e7578ed9e3c518a452acee763bce9"
    assert verify(claimed, secret, b"GET")


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (Algorithm.MD5, b"8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm.SHA_256, b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc7616_example(algorithm: Algorithm, expected: bytes) -> None:
    """RFC 7616 §3.9.1: one challenge, answered by MD5 and by SHA-256."""
    claimed = read_credentials(
        parse_auth(
            b'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
            b"algorithm=" + algorithm.value.encode() + b", "
            b'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
            b'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
            b'response="' + expected + b'"'
        )
    )
    secret = ha1(algorithm, b"Mufasa", b"http-auth@example.org", b"Circle of Life")
    assert response(claimed, secret, b"GET") == expected


def test_rfc3261_without_qop_is_still_answered() -> None:
    """RFC 3261 §22.4: credentials without qop follow RFC 2069."""
    claimed = read_credentials(
        parse_auth(
            b'Digest username="Mufasa", realm="testrealm@host.com", '
            b'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", '
            b'response="670fd8c2df070c60b045671b8b24ff02"'
        )
    )
    secret = ha1(Algorithm.MD5, b"Mufasa", b"testrealm@host.com", b"Circle Of Life")
    assert verify(claimed, secret, b"GET")


def test_rfc8760_algorithms_are_named_by_token() -> None:
    """RFC 8760 §2.1: the algorithm is a token, and case does not count."""
    assert b"algorithm=SHA-256," in challenge(b"r", b"n", Algorithm.SHA_256)
    value = b'Digest username="a", realm="r", nonce="n", uri="sip:r", response="x", algorithm='
    assert read_credentials(parse_auth(value + b"sha-256")).algorithm is Algorithm.SHA_256
    with pytest.raises(RemoteProtocolError):
        read_credentials(parse_auth(value + b"SHA-512-256"))
