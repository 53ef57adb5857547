"""Streams: the same messages come out however the bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.framing import Framing, Keepalive

FIRST = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 5\r\n\r\nhel\r\n"
SECOND = b"OPTIONS sip:b SIP/2.0\r\nX: y\r\nl :\r\n 0\r\n\r\n"


def drain(framing: Framing) -> list[bytes | Keepalive]:
    found = []
    while (message := framing.next_message()) is not None:
        found.append(message)
    return found


@given(st.lists(st.integers(0, 200), max_size=12))
def test_messages_come_out_whole_however_they_are_cut(cuts: list[int]) -> None:
    stream = FIRST + b"\r\n\r\n" + SECOND + b"\r\n" + FIRST
    framing = Framing()
    found = []
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in itertools.pairwise(edges):
        framing.receive(stream[start:end])
        found += drain(framing)
    assert found == [FIRST, Keepalive.PING, SECOND, Keepalive.PONG, FIRST]
    assert framing.is_empty


def test_half_a_ping_is_awaited() -> None:
    framing = Framing()
    for piece in (b"\r", b"\n", b"\r"):
        framing.receive(piece)
        assert framing.next_message() is None
    framing.receive(b"\n")
    assert framing.next_message() is Keepalive.PING


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"OPTIONS sip:a SIP/2.0\r\nX: y\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    ],
)
def test_a_message_without_a_sensible_end_is_answered_by_its_head(data: bytes, status: int) -> None:
    framing = Framing()
    framing.receive(data)
    with pytest.raises(RemoteProtocolError) as caught:
        framing.next_message()
    assert caught.value.status == status
    assert caught.value.head == data


def test_an_endless_header_ends_the_stream_in_silence() -> None:
    framing = Framing(max_head=100)
    framing.receive(b"OPTIONS sip:a SIP/2.0\r\n" + b"X: y\r\n" * 20)
    with pytest.raises(RemoteProtocolError) as caught:
        framing.next_message()
    assert caught.value.status is None


def test_a_lone_line_feed_ends_the_stream_in_silence() -> None:
    framing = Framing()
    framing.receive(b"\n")
    with pytest.raises(RemoteProtocolError):
        framing.next_message()


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_stream_gives_messages_or_a_protocol_error(pieces: list[bytes]) -> None:
    framing = Framing()
    for piece in pieces:
        framing.receive(piece)
        try:
            drain(framing)
        except RemoteProtocolError:
            return
