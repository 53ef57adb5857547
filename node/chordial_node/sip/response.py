"""Responses to a request, and the two requests that a hop makes of one: CANCEL and ACK.

RFC 3261 §8.2.6, §9.1, §17.1.1.3. Lines are copied as they stand. Which status is right is decided
by whoever asks.
"""

from collections.abc import Iterable

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.message import Message

HeaderLines = Iterable[tuple[bytes, bytes]]
"""Headers to add: name as it is to be spelled, value."""

REASONS = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 183: "Session Progress",
    200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 407: "Proxy Authentication Required",
    408: "Request Timeout", 413: "Request Entity Too Large", 416: "Unsupported URI Scheme",
    420: "Bad Extension", 421: "Extension Required", 423: "Interval Too Brief",
    430: "Flow Failed", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
    486: "Busy Here", 487: "Request Terminated", 489: "Bad Event", 500: "Server Internal Error",
    501: "Not Implemented", 503: "Service Unavailable", 505: "Version Not Supported",
    513: "Message Too Large", 600: "Busy Everywhere", 603: "Decline",
}  # fmt: skip


def respond(
    request: Message,
    status: int,
    reason: str = "",
    *,
    to_tag: bytes = b"",
    headers: HeaderLines = (),
    body: bytes = b"",
) -> bytes:
    """Make a response by §8.2.6; `to_tag` is added where To has none, never to a 100."""
    phrase = (reason or REASONS.get(status, "")).encode("utf-8")
    parts = [b"SIP/2.0 %d " % status, phrase.replace(b"\r", b" ").replace(b"\n", b" "), b"\r\n"]
    parts += _copied(request, b"via")
    if 100 < status < 300:
        parts += _copied(request, b"record-route")
    parts += _copied(request, b"from")
    to = _copied(request, b"to")
    if to and to_tag and status > 100 and not _has_to_tag(request):
        to[-1] = b";tag=" + to_tag + b"\r\n"
    parts += to
    parts += _copied(request, b"call-id")
    parts += _copied(request, b"cseq")
    if status == 100:
        parts += _copied(request, b"timestamp")
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"Content-Length: %d\r\n\r\n" % len(body), body)
    return b"".join(parts)


def respond_to_fault(request: Message, error: RemoteProtocolError, to_tag: bytes) -> bytes | None:
    """Answer what `check` or a later reading found wrong; None where silence is right."""
    if error.status is None or not request.is_request or request.method == b"ACK":
        return None
    if b"via" not in request:
        return None
    return respond(request, error.status, error.reason, to_tag=to_tag, headers=error.headers)


def cancel(request: Message) -> bytes:
    """Make the CANCEL of a request as it was sent (§9.1)."""
    return _hop_request(request, b"CANCEL", _copied(request, b"to"))


def acknowledge(invite: Message, response: Message) -> bytes:
    """Make the ACK of an INVITE as it was sent, for a response other than 2xx (§17.1.1.3)."""
    return _hop_request(invite, b"ACK", _copied(response, b"to"))


def _hop_request(request: Message, method: bytes, to: list[bytes]) -> bytes:
    start, end = request.first_via_span()
    via = request.raw[start:end]
    parts = [method, b" ", request.target, b" SIP/2.0\r\nVia: ", via, b"\r\n"]
    parts += _copied(request, b"route")
    parts += (b"Max-Forwards: 70\r\n", *_copied(request, b"from"), *to)
    parts += _copied(request, b"call-id")
    parts.append(b"CSeq: %d %b\r\nContent-Length: 0\r\n\r\n" % (request.cseq.number, method))
    return b"".join(parts)


def _copied(message: Message, name: bytes) -> list[bytes]:
    """The lines of a header as they stand, in pieces; the last piece is a CRLF."""
    raw = message.raw
    marked = message.marked_via if name == b"via" else None
    parts: list[bytes] = []
    for start, _, end in message.places(name):
        if marked is not None:
            parts += (raw[start : marked[0]], marked[2], raw[marked[1] : end])
            marked = None
        else:
            parts.append(raw[start:end])
        parts.append(b"\r\n")
    return parts


def _has_to_tag(request: Message) -> bool:
    try:
        return b"tag" in request.to_address.params
    except RemoteProtocolError:
        return True  # unreadable: nothing is added to it
