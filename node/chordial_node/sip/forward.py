"""A forwarded message, made by slicing: what nobody asked to change stays byte for byte.

RFC 3261 §16.6 and §16.7. It changes bytes as it is told; which Via, Route or target a request gets
is decided by the proxy.
"""

from collections.abc import Callable

from chordial_node.sip.headers import SINGLE, split_spans
from chordial_node.sip.message import Message

_Edit = tuple[int, int, bytes]
_Kept = tuple[int, int, int, list[tuple[int, int]], list[bool]]
"""A header line, its values in `raw`, and which of them are kept."""


class Forward:
    """The changes to one message on its way; `to_bytes` gives the message that leaves."""

    __slots__ = ("_added", "_edits", "_kept", "_message", "_pushed")

    def __init__(self, message: Message) -> None:
        """Begin with the message as it came, and the source that was noted in its topmost Via."""
        self._message = message
        self._edits: list[_Edit] = []
        self._pushed: dict[bytes, list[bytes]] = {}
        self._added: list[bytes] = []
        self._kept: dict[bytes, list[_Kept]] = {}

    def replace_uri(self, uri: bytes) -> None:
        """Put another Request-URI into the start line."""
        start = self._message.raw.index(self._message.target, len(self._message.method) + 1)
        self._edits.append((start, start + len(self._message.target), uri))

    def set_max_forwards(self, hops: int) -> None:
        """Set Max-Forwards, adding it where it is missing."""
        self.set(b"max-forwards", b"Max-Forwards", b"%d" % hops)

    def push_via(self, value: bytes) -> None:
        """Put a Via on top."""
        self.push(b"Via", value)

    def pop_via(self) -> None:
        """Take the topmost Via value away, leaving others of the same line."""
        self.pop(b"via")

    def push(self, name: bytes, value: bytes) -> None:
        """Put a header line above all others of its name, at the top where there is none."""
        self._pushed.setdefault(name.lower(), []).append(name + b": " + value + b"\r\n")

    def add(self, name: bytes, value: bytes) -> None:
        """Put a header line below all others."""
        self._added.append(name + b": " + value + b"\r\n")

    def set(self, lower: bytes, name: bytes, value: bytes) -> None:
        """Set a header that stands once: its value is replaced, or the line added."""
        places = self._message.places(lower)
        if not places:
            self.add(name, value)
            return
        _, start, end = places[0]
        self._edits.append((start, end, b" " + value))

    def pop(self, name: bytes, count: int = 1) -> None:
        """Take the topmost values of a header away."""
        for *_, flags in self._keeping(name):
            for i, kept in enumerate(flags):
                if count and kept:
                    flags[i] = False
                    count -= 1

    def remove(self, name: bytes) -> None:
        """Take a header away altogether."""
        for *_, flags in self._keeping(name):
            flags[:] = [False] * len(flags)

    def remove_values(self, name: bytes, unwanted: Callable[[bytes], bool]) -> None:
        """Take those values of a header away that are unwanted, seen without spaces around."""
        raw = self._message.raw
        for *_, spans, flags in self._keeping(name):
            for i, (first, last) in enumerate(spans):
                if unwanted(raw[first:last].strip()):
                    flags[i] = False

    def ensure_content_length(self) -> None:
        """Add Content-Length where it is missing, as streams need it (§18.3)."""
        if b"content-length" not in self._message:
            self.add(b"Content-Length", b"%d" % len(self._message.body))

    def to_bytes(self) -> bytes:
        """The message with all changes."""
        message = self._message
        raw = message.raw
        head_end = message.body_start - 2
        edits = self._edits
        for name, lines in self._pushed.items():
            places = message.places(name)
            place = places[0][0] if places else raw.index(b"\r\n") + 2
            edits.append((place, place, b"".join(reversed(lines))))
        for kept in self._kept.values():
            self._cut(kept)
        if message.marked_via is not None and b"via" not in self._kept:
            edits.append(message.marked_via)
        if self._added:
            edits.append((head_end, head_end, b"".join(self._added)))
        edits.sort(key=_place)
        parts: list[bytes] = []
        position = 0
        for start, end, text in edits:
            parts += (raw[position:start], text)
            position = end
        parts.append(raw[position : message.size])
        return b"".join(parts)

    def _keeping(self, name: bytes) -> list[_Kept]:
        """The lines of a header with the values that are still kept."""
        kept = self._kept.get(name)
        if kept is None:
            raw = self._message.raw
            kept = []
            for line, value, end in self._message.places(name):
                spans = _spans(name, raw, value, end)
                kept.append((line, value, end, spans, [True] * len(spans)))
            self._kept[name] = kept
        return kept

    def _cut(self, kept: list[_Kept]) -> None:
        raw = self._message.raw
        for line, value, end, spans, flags in kept:
            if True not in flags:
                self._edits.append((line, end + 2, b""))
            elif False in flags:
                left = [raw[a:b] for (a, b), keep in zip(spans, flags, strict=True) if keep]
                self._edits.append((value, end, b" " + b", ".join(left)))


def _place(edit: _Edit) -> tuple[int, int]:
    return edit[0], edit[1]


def _spans(name: bytes, raw: bytes, value: int, end: int) -> list[tuple[int, int]]:
    if name in SINGLE or raw.find(b",", value, end) < 0:
        return [(value, end)]
    return [(value + first, value + last) for first, last in split_spans(raw[value:end])]
