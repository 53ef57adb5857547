"""Notices as log lines: JSON in a container, a line for people on a terminal.

Each kind of notice has its constant message and level here; its fields are the line's fields. What
outsiders can cause is limited in rate, and what was left out is counted. Nothing is decided here.
"""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TextIO

import msgspec

from chordial_node.boundary import notices
from chordial_node.boundary.effects import Notice

BURST = 20
LINES_PER_SECOND = 1.0
"""Of each kind that outsiders can cause, once the burst is used up."""

_D, _I, _W, _E = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
LINES: Mapping[type[Notice], tuple[int, str]] = {
    notices.SpanEnded: (_D, "span ended"),
    notices.ProcedureFaulted: (_E, "procedure ended by a fault of our own"),
    notices.LinkUp: (_D, "link up"),
    notices.LinkDown: (_D, "link down"),
    notices.PeerRefused: (_W, "peer refused"),
    notices.PeerSuspected: (_I, "peer suspected"),
    notices.PeerJoined: (_I, "peer joined"),
    notices.PeerDied: (_I, "peer died"),
    notices.NeighborsChanged: (_D, "neighbors changed"),
    notices.StateChanged: (_I, "state changed"),
    notices.RingFormed: (_I, "ring formed"),
    notices.RingsMerging: (_I, "rings merging"),
    notices.LookupFinished: (_D, "lookup finished"),
    notices.StoreAcknowledged: (_D, "store acknowledged"),
    notices.RangeInStep: (_I, "range in step"),
    notices.RangeDegraded: (_W, "range degraded"),
    notices.RangeHandedOver: (_I, "range handed over"),
    notices.DiskFailed: (_E, "disk refuses writes"),
    notices.DiskRecovered: (_I, "disk takes writes again"),
    notices.Registered: (_D, "registered"),
    notices.Unregistered: (_D, "unregistered"),
    notices.RequestRefused: (_I, "request refused"),
    notices.CallRouted: (_D, "call routed"),
    notices.CallAnswered: (_D, "call answered"),
    notices.CallEnded: (_D, "call ended"),
    notices.DrainTimedOut: (_W, "drain timed out"),
    notices.PhonesMoving: (_I, "phones moving"),
    notices.FlowDied: (_D, "flow died"),
    notices.Ready: (_I, "readiness changed"),
}
LIMITED = (notices.PeerRefused, notices.RequestRefused)


class NodeLog:
    """The log of one node."""

    def __init__(
        self,
        stream: TextIO,
        level: str,
        node: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to a stream, for people where it is a terminal, lines of this level and above."""
        self._logger = logging.Logger(f"chordial.{node}", level.upper())
        handler = logging.StreamHandler(stream)
        handler.setFormatter(HumanFormat() if stream.isatty() else JsonFormat(node))
        self._logger.addHandler(handler)
        self._clock = clock
        self._limits: dict[str, _Limit] = {}

    @property
    def handler(self) -> logging.Handler:
        """What writes the lines; libraries' own loggers may use it too."""
        return self._logger.handlers[0]

    def observers(self) -> dict[type[Notice], Callable[[Notice], None]]:
        """Return what is to be told of each kind of notice that this level shows."""
        return {
            kind: self._observer(kind, level, message)
            for kind, (level, message) in LINES.items()
            if self._logger.isEnabledFor(level)
        }

    def line(self, level: str, message: str, **fields: object) -> None:
        """Write a line of the edge's own."""
        self._logger.log(logging.getLevelName(level.upper()), message, extra={"fields": fields})

    def fault(self, message: str, error: BaseException) -> None:
        """Write a fault of our own, with where it happened."""
        self._logger.error(message, exc_info=error, extra={"fields": {}})

    def limited_line(self, level: str, message: str, **fields: object) -> None:
        """Write a line that outsiders can cause; too many are left out, and counted."""
        if not self._logger.isEnabledFor(logging.getLevelName(level.upper())):
            return
        limit = self._limits.setdefault(message, _Limit(self._clock()))
        if limit.admits(self._clock()):
            if limit.left_out:
                fields["left_out"] = limit.left_out
                limit.left_out = 0
            self.line(level, message, **fields)

    def _observer(self, kind: type[Notice], level: int, message: str) -> Callable[[Notice], None]:
        write = self.limited_line if kind in LIMITED else self.line
        name = logging.getLevelName(level)

        def observe(notice: Notice) -> None:
            write(name, message, **fields_of(notice))

        return observe


class _Limit:
    """A bucket of lines that fills slowly."""

    __slots__ = ("_at", "_room", "left_out")

    def __init__(self, now: float) -> None:
        self._at = now
        self._room = float(BURST)
        self.left_out = 0

    def admits(self, now: float) -> bool:
        """Tell whether there is room for one more line, and take it."""
        self._room = min(float(BURST), self._room + (now - self._at) * LINES_PER_SECOND)
        self._at = now
        if self._room < 1.0:
            self.left_out += 1
            return False
        self._room -= 1.0
        return True


class JsonFormat(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "self": self._node,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {"logger": record.name}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class HumanFormat(logging.Formatter):
    """Time, level, message and fields, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = getattr(record, "fields", {"logger": record.name})
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        line = f"{at} {record.levelname.lower():7} {record.getMessage()}  {told}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def fields_of(notice: Notice) -> dict[str, object]:
    """Return a notice's fields as JSON has them: bytes in hexadecimal digits."""
    return {name: _plain(getattr(notice, name)) for name in notice.__struct_fields__}


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value
