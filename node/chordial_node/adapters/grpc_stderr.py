"""Reads what gRPC's C core writes to the process's standard error, and makes log lines of it.

A caller that TLS turns away never reaches our code: that it was there, and why it was refused, is
told by gRPC on file descriptor 2 and nowhere else. One per process, so `run` alone installs it;
Python's own standard error goes on as before. Lines are lost rather than waited for.
"""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from typing import TextIO

LONGEST_LINE = 8_192
_HANDSHAKE = re.compile(
    r"Handshake failed with error \w+: (?:error:[0-9A-Fa-f]+:SSL routines:OPENSSL_internal:)?(.+)"
)
_PREFIX = re.compile(r"^([IWEF])\d{4} [\d:.]+ +\d+ [^\]]*\] ")
_LEVELS = {"I": "debug", "W": "warning", "E": "error", "F": "error"}


class GrpcStderr:
    """Stands between file descriptor 2 and where it led, from its making until `close`."""

    def __init__(
        self,
        refused: Callable[[str, str, str], None],
        log: Callable[[str, str], None],
    ) -> None:
        """Take whom to tell of refused handshakes, and of other lines (level, text)."""
        self._refused = refused
        self._log = log
        self._rest = b""
        self._real = os.dup(2)
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(writing, False)
        os.dup2(writing, 2)
        os.close(writing)
        self._before: TextIO = sys.stderr
        sys.stderr = os.fdopen(os.dup(self._real), "w", buffering=1, errors="backslashreplace")
        asyncio.get_running_loop().add_reader(self._reading, self._on_readable)

    @property
    def stream(self) -> TextIO:
        """Where standard error really leads."""
        return sys.stderr

    def close(self) -> None:
        """Put everything back; what was still unread is told first."""
        self._on_readable()
        asyncio.get_running_loop().remove_reader(self._reading)
        os.dup2(self._real, 2)
        sys.stderr.close()
        sys.stderr = self._before
        os.close(self._real)
        os.close(self._reading)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._reading, 65_536)
        except BlockingIOError:
            return
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LONGEST_LINE:]
        for line in lines:
            self._on_line(line.decode("utf-8", "backslashreplace"))

    def _on_line(self, line: str) -> None:
        found = _HANDSHAKE.search(line)
        if found is not None:
            self._refused("handshake", _told(found[1]), "")
        elif line.strip():
            prefix = _PREFIX.match(line)
            level = _LEVELS[prefix[1]] if prefix else "warning"
            self._log(level, line[prefix.end() :] if prefix else line)


def _told(reason: str) -> str:
    if reason.startswith("PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        return "no certificate was shown"
    head, _, rest = reason.partition(": ")
    if head == "CERTIFICATE_VERIFY_FAILED" and rest:
        return f"the certificate does not count: {rest}"
    return reason
