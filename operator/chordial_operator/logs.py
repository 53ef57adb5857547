"""The operator's log: one JSON object a line, on standard error.

What is worth a line is decided where it happens. Fields of a record beyond message and error are
left out on purpose: nothing secret can come here by being attached.
"""

import logging
import sys
from datetime import UTC, datetime

import msgspec

QUIET = ("kopf", "aiohttp", "asyncio", "kubernetes")
"""Libraries that tell every object they touch."""


class JsonFormatter(logging.Formatter):
    """Renders a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info is not None and record.exc_info[0] is not None:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up_logs(level: str) -> None:
    """Send every record of this level and above to standard error, libraries' warnings alone."""
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level.upper())
    if level != "debug":
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
