"""Messages out of a stream: where one ends and the next begins, and the pings between them.

RFC 3261 §18.3 and RFC 5626 §4.4.1 (double CRLF asks, single CRLF answers). It finds boundaries and
keeps limits; what is in a message, and what to do after an error (close), is decided above.
"""

import re
from enum import Enum

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import parse_content_length

MAX_HEAD = 16 * 1024
MAX_BODY = 64 * 1024
PONG = b"\r\n"
"""The answer to a ping."""

_LENGTH = re.compile(
    rb"\r\n(?:content-length|l)[ \t]*+:(?:[ \t]|\r\n[ \t])*+([^\r\n]*+)", re.IGNORECASE
)


class Keepalive(Enum):
    """What a keepalive between two messages asks for."""

    PING = "ping"  # to be answered with PONG
    PONG = "pong"  # the answer to one of ours


class Framing:
    """The receiving half of one connection: bytes in, whole messages out."""

    __slots__ = ("_buffer", "_max_body", "_max_head", "_searched")

    def __init__(self, max_head: int = MAX_HEAD, max_body: int = MAX_BODY) -> None:
        """Begin at the start of a stream, with the limits of one message."""
        self._buffer = bytearray()
        self._max_head = max_head
        self._max_body = max_body
        self._searched = 0

    def receive(self, data: bytes) -> None:
        """Take what arrived; `next_message` gives what is complete."""
        self._buffer += data

    @property
    def is_empty(self) -> bool:
        """Whether nothing of an unfinished message waits."""
        return not self._buffer

    def next_message(self) -> bytes | Keepalive | None:
        """The next whole message or keepalive, or None until more arrives.

        RemoteProtocolError means that the boundary is lost: answer with its head if it has one,
        then close. Nothing is read from the stream after it.
        """
        buffer = self._buffer
        if buffer[:1] == b"\r" or buffer[:1] == b"\n":
            return self._keepalive()
        end = buffer.find(b"\r\n\r\n", self._searched)
        if (end if end >= 0 else len(buffer)) > self._max_head:
            raise RemoteProtocolError(None, "Header too large")
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            return None
        self._searched = end
        size = end + 4 + self._body_length(bytes(buffer[: end + 4]))
        if len(buffer) < size:
            return None
        message = bytes(buffer[:size])
        del buffer[:size]
        self._searched = 0
        return message

    def _body_length(self, head: bytes) -> int:
        lengths = _LENGTH.findall(head)
        if not lengths:
            raise RemoteProtocolError(400, "Missing Content-Length", head=head)
        if len(lengths) > 1:
            raise RemoteProtocolError(400, "Repeated Content-Length", head=head)
        try:
            length = parse_content_length(lengths[0].strip())
        except RemoteProtocolError as error:
            raise RemoteProtocolError(error.status, error.reason, head=head) from error
        if length > self._max_body:
            raise RemoteProtocolError(413, "Request Entity Too Large", head=head)
        return length

    def _keepalive(self) -> Keepalive | None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n\r\n"):
            del buffer[:4]
            return Keepalive.PING
        if buffer == b"\r" or buffer == b"\r\n" or buffer == b"\r\n\r":
            return None  # half a ping perhaps
        if buffer.startswith(b"\r\n"):
            del buffer[:2]
            return Keepalive.PONG
        raise RemoteProtocolError(None, "Bare CR or LF between messages")
