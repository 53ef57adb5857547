"""Forwards: only what was asked for changes."""

from hypothesis import given
from hypothesis import strategies as st

from chordial_node.sip.forward import Forward
from chordial_node.sip.message import Message

REQUEST = (
    b"INVITE sip:bob@chordial.test SIP/2.0\r\n"
    b"VIA : SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;rport\r\n"
    b"Route: <sip:one;lr>,  <sip:two;lr>\r\n"
    b"From:  A <sip:a@h>;tag=a\r\n"
    b"Route: <sip:three;lr>\r\n"
    b"To: <sip:b@h>\r\n"
    b"i: c1\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Max-Forwards: 70\r\n"
    b"X-Odd:\r\n"
    b" folded , value\r\n"
    b'Proxy-Authorization: Digest realm="x", nonce="y"\r\n'
    b'Proxy-Authorization: Digest realm="z", nonce="y"\r\n'
    b"\r\n"
    b"body"
)


def forward(raw: bytes = REQUEST) -> Forward:
    return Forward(Message.parse(raw))


def test_nothing_asked_nothing_changed() -> None:
    assert forward().to_bytes() == REQUEST


def test_the_request_uri_is_replaced_and_nothing_else() -> None:
    changed = forward()
    changed.replace_uri(b"sip:bob@10.0.0.9:5822;transport=tcp")
    line = b"INVITE sip:bob@10.0.0.9:5822;transport=tcp SIP/2.0"
    assert changed.to_bytes() == REQUEST.replace(b"INVITE sip:bob@chordial.test SIP/2.0", line)


def test_a_via_goes_on_top_of_the_noted_source() -> None:
    message = Message.parse(REQUEST)
    message.note_source(b"192.0.2.7", 4011)
    changed = Forward(message)
    changed.push_via(b"SIP/2.0/TCP us;branch=z9hG4bKb")
    assert changed.to_bytes() == REQUEST.replace(
        b"VIA : SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;rport",
        b"Via: SIP/2.0/TCP us;branch=z9hG4bKb\r\n"
        b"VIA : SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;rport=4011;received=192.0.2.7",
    )


def test_pushed_headers_stand_in_reverse_order_at_the_top() -> None:
    changed = forward()
    changed.push(b"Record-Route", b"<sip:first;lr>")
    changed.push(b"Record-Route", b"<sip:second;lr>")
    expected = b" SIP/2.0\r\nRecord-Route: <sip:second;lr>\r\nRecord-Route: <sip:first;lr>\r\nVIA"
    assert expected in changed.to_bytes()


def test_routes_are_popped_value_by_value() -> None:
    expected = [
        [b"<sip:two;lr>", b"<sip:three;lr>"],
        [b"<sip:three;lr>"],
        [],
        [],
    ]
    for count, left in enumerate(expected, 1):
        changed = forward()
        changed.pop(b"route", count)
        assert Message.parse(changed.to_bytes()).values(b"route") == left


def test_a_route_is_popped_and_another_pushed() -> None:
    changed = forward()
    changed.pop(b"route", 3)
    changed.push(b"Route", b"<sip:device@n2.peer.invalid;lr>")
    message = Message.parse(changed.to_bytes())
    assert message.values(b"route") == [b"<sip:device@n2.peer.invalid;lr>"]
    assert message.first(b"from") == b"A <sip:a@h>;tag=a"


def test_only_the_first_value_of_a_joined_via_is_popped() -> None:
    response = REQUEST.replace(b"INVITE sip:bob@chordial.test SIP/2.0", b"SIP/2.0 200 OK").replace(
        b"VIA : ", b"VIA : SIP/2.0/TCP us;branch=z9hG4bKb, "
    )
    changed = forward(response)
    changed.pop_via()
    assert Message.parse(changed.to_bytes()).values(b"via") == [
        b"SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;rport"
    ]


def test_credentials_of_one_realm_are_removed_as_lines() -> None:
    changed = forward()
    changed.remove_values(
        b"proxy-authorization", lambda value: value.startswith(b'Digest realm="x"')
    )
    gone = b'Proxy-Authorization: Digest realm="x", nonce="y"\r\n'
    assert changed.to_bytes() == REQUEST.replace(gone, b"")


def test_single_values_of_a_joined_header_are_removed() -> None:
    changed = forward()
    changed.remove_values(b"route", lambda value: value == b"<sip:two;lr>")
    assert changed.to_bytes() == REQUEST.replace(b",  <sip:two;lr>", b"")


def test_headers_are_set_added_and_removed() -> None:
    changed = forward()
    changed.set_max_forwards(69)
    changed.remove(b"x-odd")
    changed.add(b"P-Asserted-Identity", b"<sip:a@h>")
    expected = REQUEST.replace(b"70", b"69").replace(b"X-Odd:\r\n folded , value\r\n", b"")
    expected = expected.replace(b"\r\n\r\n", b"\r\nP-Asserted-Identity: <sip:a@h>\r\n\r\n")
    assert changed.to_bytes() == expected


def test_a_missing_max_forwards_is_added() -> None:
    changed = forward(REQUEST.replace(b"Max-Forwards: 70\r\n", b""))
    changed.set_max_forwards(69)
    assert Message.parse(changed.to_bytes()).max_forwards == 69


def test_a_stream_gets_a_content_length() -> None:
    changed = forward()
    changed.ensure_content_length()
    message = Message.parse(changed.to_bytes())
    assert message.first(b"content-length") == b"4"
    assert message.body == b"body"


NAMES = st.sampled_from([b"Route", b"Supported", b"X-A", b"Subject", b"m", b"Contact", b"Accept"])
VALUES = st.lists(
    st.text('abc<>";=:@ \t', max_size=8).map(lambda text: f"<sip:{plain(text)}>".encode()),
    min_size=1,
    max_size=3,
).map(b" , ".join)


def plain(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in "=:@")


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.integers(0, 4), st.booleans())
def test_a_forward_differs_only_where_asked(
    headers: list[tuple[bytes, bytes]], pops: int, replace: bool
) -> None:
    extra = b"".join(name + b":" + value + b" \r\n" for name, value in headers)
    raw = REQUEST.replace(b"Route: <sip:one;lr>,  <sip:two;lr>\r\n", extra).replace(
        b"Route: <sip:three;lr>\r\n", b""
    )
    before = Message.parse(raw)
    changed = Forward(before)
    changed.pop(b"route", pops)
    changed.push_via(b"SIP/2.0/TCP us;branch=z9hG4bKb")
    if replace:
        changed.replace_uri(b"sip:new@h")
    after = Message.parse(changed.to_bytes())
    assert after.values(b"route") == before.values(b"route")[pops:]
    assert after.values(b"via")[1:] == before.values(b"via")
    assert after.body == before.body
    touched = (b"route:", b"via:", b"invite")
    assert [line for line in raw.split(b"\r\n") if not line.lower().startswith(touched)] == [
        line for line in changed.to_bytes().split(b"\r\n") if not line.lower().startswith(touched)
    ]
