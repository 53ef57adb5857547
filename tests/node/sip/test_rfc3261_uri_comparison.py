"""RFC 3261 §19.1.4: when two URIs are the same."""

import pytest

from chordial_node.sip.uri import parse_uri, same_uri


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"sip:%61lice@atlanta.com;transport=TCP", b"sip:alice@AtlanTa.CoM;Transport=tcp"),
        (b"sip:carol@chicago.com", b"sip:carol@chicago.com;newparam=5"),
        (b"sip:carol@chicago.com", b"sip:carol@chicago.com;security=on"),
        (
            b"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            b"sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            b"sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            b"sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        (b"sip:a@[2001:db8::1]", b"sip:a@[2001:DB8:0:0::1]"),
        (b"tel:1", b"TEL:1"),
    ],
)
def test_equivalent_uris(first: bytes, second: bytes) -> None:
    """RFC 3261 §19.1.4: escapes, case and order that carry no meaning do not count."""
    assert same_uri(parse_uri(first), parse_uri(second))
    assert same_uri(parse_uri(second), parse_uri(first))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"SIP:ALICE@AtlanTa.CoM;Transport=udp", b"sip:alice@AtlanTa.CoM;Transport=UDP"),
        (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com:5060"),
        (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com;transport=udp"),
        (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com:6000;transport=tcp"),
        (b"sip:carol@chicago.com", b"sip:carol@chicago.com?Subject=next%20meeting"),
        (b"sip:bob@phone21.boxesbybob.com", b"sip:bob@192.0.2.4"),
        (b"sip:carol@chicago.com;security=on", b"sip:carol@chicago.com;security=off"),
        (b"sip:carol@chicago.com;user=phone", b"sip:carol@chicago.com"),
        (b"sip:carol@chicago.com;maddr=192.0.2.1", b"sip:carol@chicago.com"),
        (b"sip:a%3Bb@h", b"sip:a;b@h"),
        (b"sip:a@h", b"sips:a@h"),
        (b"sip:a@h", b"sip:a:b@h"),
        (b"sip:a@h", b"tel:1"),
    ],
)
def test_different_uris(first: bytes, second: bytes) -> None:
    """RFC 3261 §19.1.4: what may lead elsewhere is another URI."""
    assert not same_uri(parse_uri(first), parse_uri(second))
    assert not same_uri(parse_uri(second), parse_uri(first))
