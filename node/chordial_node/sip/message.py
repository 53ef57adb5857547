"""A SIP message as a lazy view of its bytes.

RFC 3261 §7, §8.1.1, §18.2.1 and §18.3. The bytes are never rewritten: header lines are found once,
values are read when asked for. What is answered is made in `response.py`, what goes on in
`forward.py`; what is to be done with a message is decided by neither.
"""

import re

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.headers import (
    COMPACT,
    SINGLE,
    TOKEN,
    CSeq,
    NameAddr,
    Params,
    Via,
    parse_content_length,
    parse_cseq,
    parse_max_forwards,
    parse_name_addr,
    parse_via,
    split_spans,
    split_values,
    tag_of,
)
from chordial_node.sip.uri import SipUri, Uri, parse_uri

_SPELLINGS = (
    "Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Length",
    "Content-Type", "Route", "Record-Route", "Authorization", "Proxy-Authorization", "Expires",
    "User-Agent", "Allow", "Supported", "Require", "Proxy-Require", "Event", "Subject", "Accept",
    "P-Asserted-Identity", "Privacy", "Server", "Path", "Refer-To", "Reason", "Session-Expires",
)  # fmt: skip
_KNOWN = (
    {name.encode(): name.lower().encode() for name in _SPELLINGS}
    | {name.lower().encode(): name.lower().encode() for name in _SPELLINGS}
    | COMPACT
)
_METHODS = frozenset(
    b"INVITE ACK BYE CANCEL REGISTER OPTIONS MESSAGE INFO UPDATE PRACK SUBSCRIBE NOTIFY REFER "
    b"PUBLISH".split()
)
_MANDATORY = frozenset((b"via", b"from", b"to", b"call-id", b"cseq"))
_ONCE = frozenset(
    (b"from", b"to", b"call-id", b"cseq", b"max-forwards", b"content-length", b"expires")
)
_STATUS_LINE = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?", re.IGNORECASE)
_VERSION = re.compile(rb"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)
_FOLD = re.compile(rb"[ \t]*\r\n[ \t]+")
_CALL_ID = re.compile(rb"[^\x00-\x20\x7f]+")
_SOURCES = (b"rport", b"received")
_SOURCE_PARAMS = re.compile(
    rb";\s*+(?:rport|received)\s*+(?:=\s*+[^;\s,]*+\s*+)?(?=;|$)", re.IGNORECASE
)

MAX_LINES = 512
"""More header lines than any honest message has: bounds the work for one message."""

Line = tuple[int, int, int]
"""A header line: where it starts, where its value starts, where it ends (before CRLF)."""


class Message:
    """One SIP request or response. All text is bytes; header names are asked for in lower case.

    The constructor reads the start line and the header lines, and raises RemoteProtocolError with
    status None (silence) for bytes that are no SIP message. `check` raises for the faults that are
    to be answered, so a fault can be answered with `respond` and the same object.
    """

    __slots__ = (
        "_body_end", "_call_id", "_cseq", "_lines", "_marked_via", "_problem", "_repeated", "_tags",
        "_uri", "_via", "body_start", "is_request", "method", "raw", "reason", "status", "target",
    )  # fmt: skip

    def __init__(self, raw: bytes) -> None:
        """Read start line and header lines; what is wrong with them is told by `check`."""
        if raw[:1] in (b"\r", b"\n"):
            raw = raw.lstrip(b"\r\n")
        self.raw = raw
        self.is_request = True
        self.method = b""
        self.target = b""
        self.status = 0
        self.reason = b""
        self._problem: RemoteProtocolError | None = None
        self._lines: dict[bytes, tuple[int, ...]] = {}
        self._repeated: list[bytes] = []
        self._via: Via | None = None
        self._call_id: bytes | None = None
        self._cseq: CSeq | None = None
        self._uri: Uri | None = None
        self._tags: tuple[bytes, bytes] | None = None
        self._marked_via: tuple[int, int, bytes] | None = None
        head_end = raw.find(b"\r\n\r\n")
        if head_end < 0:
            self._fault(400, "Header Not Ended")
            head_end = len(raw) - 2 if raw.endswith(b"\r\n") else len(raw)
        self.body_start = min(head_end + 4, len(raw))
        head = raw[:head_end]
        lines = head.split(b"\r\n")
        if not head.count(b"\n") == head.count(b"\r") == len(lines) - 1:
            self._fault(400, "Bare CR or LF in Header")  # the next hop might see a header there
        self._read_start_line(lines[0])
        self._read_lines(lines)
        self._body_end = len(raw)
        self._cut_body()

    @classmethod
    def parse(cls, raw: bytes) -> "Message":
        """A message that has passed `check`."""
        message = cls(raw)
        message.check()
        return message

    def check(self) -> None:
        """Raise RemoteProtocolError for what RFC 3261 wants answered; status None means silence."""
        try:
            self._check()
        except RemoteProtocolError as error:
            if self.is_request and self.method != b"ACK" and b"via" in self._lines:
                raise
            raise RemoteProtocolError(None, error.reason) from error

    # values ------------------------------------------------------------------------------------

    def __contains__(self, name: bytes) -> bool:
        """Whether a header of that name is present."""
        return name in self._lines

    def first(self, name: bytes) -> bytes | None:
        """The value of the first header line of that name, unfolded, or None."""
        place = self._lines.get(name)
        if place is None:
            return None
        value = self.raw[place[1] : place[2]].strip()
        return _FOLD.sub(b" ", value) if b"\n" in value else value

    def lines(self, name: bytes) -> list[bytes]:
        """The values of all header lines of that name, unfolded, not split at commas."""
        return [_FOLD.sub(b" ", self.raw[value:end]).strip() for _, value, end in self.places(name)]

    def values(self, name: bytes) -> list[bytes]:
        """All values of that header, lines and commas taken apart where the grammar allows."""
        if name in SINGLE:
            return self.lines(name)
        return [value for line in self.lines(name) for value in split_values(line)]

    def places(self, name: bytes) -> list[Line]:
        """Where the header lines of that name lie in `raw`."""
        flat = self._lines.get(name, ())
        return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]

    def addresses(self, name: bytes) -> list[NameAddr]:
        """The values of Contact, Route, Record-Route and their like, read."""
        return [parse_name_addr(value) for value in self.values(name)]

    @property
    def body(self) -> bytes:
        """The body, without what a datagram carries beyond Content-Length."""
        return self.raw[self.body_start : self._body_end]

    @property
    def size(self) -> int:
        """The length of the message in `raw`."""
        return self._body_end

    @property
    def uri(self) -> Uri:
        """The Request-URI read; RemoteProtocolError(400) when it is malformed."""
        if self._uri is None:
            uri = parse_uri(self.target)
            if isinstance(uri, SipUri) and uri.headers:
                raise RemoteProtocolError(400, "Headers in Request-URI")
            self._uri = uri
        return self._uri

    @property
    def call_id(self) -> bytes:
        """The Call-ID."""
        if self._call_id is None:
            self._call_id = self.first(b"call-id") or b""
        return self._call_id

    @property
    def cseq(self) -> CSeq:
        """The CSeq read."""
        if self._cseq is None:
            self._cseq = parse_cseq(self.first(b"cseq") or b"")
        return self._cseq

    @property
    def from_tag(self) -> bytes:
        """The tag of From, empty when there is none."""
        return self._tags[0] if self._tags else tag_of(self.first(b"from") or b"")

    @property
    def to_tag(self) -> bytes:
        """The tag of To, empty when there is none."""
        return self._tags[1] if self._tags else tag_of(self.first(b"to") or b"")

    @property
    def from_address(self) -> NameAddr:
        """From, read."""
        return parse_name_addr(self.first(b"from") or b"")

    @property
    def to_address(self) -> NameAddr:
        """To, read."""
        return parse_name_addr(self.first(b"to") or b"")

    @property
    def via(self) -> Via:
        """The topmost Via value read, with the source that `note_source` wrote into it."""
        if self._via is None:
            start, end = self.first_via_span()
            value = self.raw[start:end]
            self._via = parse_via(_FOLD.sub(b" ", value) if b"\n" in value else value)
        return self._via

    @property
    def max_forwards(self) -> int:
        """Max-Forwards, 70 where it is missing."""
        value = self.first(b"max-forwards")
        return 70 if value is None else parse_max_forwards(value)

    @property
    def marked_via(self) -> tuple[int, int, bytes] | None:
        """The span of the topmost Via value and what `note_source` made of it."""
        return self._marked_via

    def first_via_span(self) -> tuple[int, int]:
        """Where the topmost Via value lies in `raw`."""
        place = self._lines.get(b"via")
        if place is None:
            raise RemoteProtocolError(400, "Missing Via")
        start, end = split_spans(self.raw[place[1] : place[2]])[0]
        return place[1] + start, place[1] + end

    def note_source(self, host: bytes, port: int) -> None:
        """Note in the topmost Via where the request came from (§18.2.1, RFC 3581 §4).

        `raw` stays as it is; responses and forwards carry the noted value.
        """
        via = self.via
        forged = b"received" in via.params or via.params.get(b"rport") is not None
        if not via.wants_rport and via.host == host and not forged:
            return
        start, end = self.first_via_span()
        text = _SOURCE_PARAMS.sub(b"", self.raw[start:end])
        noted: Params = {b"received": host}
        if via.wants_rport:
            text += b";rport=%d" % port
            noted[b"rport"] = b"%d" % port
        self._marked_via = (start, end, text + b";received=" + host)
        others = {name: value for name, value in via.params.items() if name not in _SOURCES}
        self._via = Via(via.transport, via.host, via.port, others | noted)

    # reading -----------------------------------------------------------------------------------

    def _fault(self, status: int, reason: str) -> None:
        if self._problem is None:
            self._problem = RemoteProtocolError(status, reason)

    def _read_start_line(self, line: bytes) -> None:
        if line[:4].upper() == b"SIP/":
            found = _STATUS_LINE.fullmatch(line)
            if found is None:
                raise RemoteProtocolError(None, "Malformed status line")
            self.is_request = False
            self.status, self.reason = int(found[1]), found[2] or b""
            return
        parts = line.split(b" ")
        self.method = parts[0]
        if self.method not in _METHODS and TOKEN.fullmatch(self.method) is None:
            raise RemoteProtocolError(None, "Not SIP")
        if len(parts) == 3 and parts[2] == b"SIP/2.0" and b":" in parts[1]:
            self.target = parts[1]
            if self.target[:1] == b"<":
                self._fault(400, "Malformed Request-URI")
            return
        words = line.split()
        if len(words) < 2 or not any(_VERSION.fullmatch(word) for word in words[1:]):
            raise RemoteProtocolError(None, "Not SIP")
        self.target = words[1]
        if words[-1].upper() != b"SIP/2.0" and _VERSION.fullmatch(words[-1]):
            self._fault(505, "Version Not Supported")
        elif len(parts) != 3 or words[-1] != parts[2] or b":" not in self.target:
            self._fault(400, "Malformed Request-Line")

    def _read_lines(self, lines: list[bytes]) -> None:
        """Index the header lines: name → (start, value, end) for each line, flat."""
        if len(lines) > MAX_LINES:
            self._fault(400, "Too Many Headers")
            del lines[MAX_LINES:]
        index = self._lines
        known = _KNOWN
        position = len(lines[0]) + 2
        name: bytes | None = None
        for line in lines[1:]:
            end = position + len(line)
            colon = line.find(b":")
            spelled = known.get(line[:colon]) if colon > 0 else None
            if spelled is None:
                if line[:1] in (b" ", b"\t"):
                    self._continue(name, end)
                    position = end + 2
                    continue
                spelled = self._unusual_name(line, colon)
            name = spelled
            if name is not None:
                place = (position, position + colon + 1, end)
                if name in index:
                    self._repeated.append(name)
                    index[name] += place
                else:
                    index[name] = place
            position = end + 2

    def _continue(self, name: bytes | None, end: int) -> None:
        """Let the line before reach to the end of a folded one."""
        if name is None:
            self._fault(400, "Malformed Header")
        else:
            self._lines[name] = (*self._lines[name][:-1], end)

    def _unusual_name(self, line: bytes, colon: int) -> bytes | None:
        name = line[:colon].rstrip(b" \t") if colon > 0 else b""
        if TOKEN.fullmatch(name) is None:
            self._fault(400, "Malformed Header")
            return None
        name = name.lower()
        return _KNOWN.get(name, name)

    def _cut_body(self) -> None:
        value = self.first(b"content-length")
        if value is None:
            return
        try:
            length = parse_content_length(value)
        except RemoteProtocolError as error:
            self._problem = self._problem or error
            return
        if length > len(self.raw) - self.body_start:
            self._fault(400, "Content-Length Beyond End")
        else:
            self._body_end = self.body_start + length

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem
        index = self._lines
        for name in self._repeated:
            if name in _ONCE:
                raise RemoteProtocolError(400, f"Repeated {name.decode()}")
        if not index.keys() >= _MANDATORY:
            missing = [name.decode() for name in sorted(_MANDATORY) if name not in index]
            raise RemoteProtocolError(400, f"Missing {', '.join(missing)}")
        method = self.cseq.method
        if self.is_request and method != self.method:
            raise RemoteProtocolError(400, "CSeq Method Mismatch")
        self.method = method
        if _CALL_ID.fullmatch(self.call_id) is None:
            raise RemoteProtocolError(400, "Malformed Call-ID")
        self._tags = (tag_of(self.first(b"from") or b""), tag_of(self.first(b"to") or b""))
        _ = self.via, self.max_forwards  # both raise where they are malformed
