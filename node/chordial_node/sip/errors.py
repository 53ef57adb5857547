"""What a remote side did wrong, as data: the status to answer, or silence (RFC 3261 §21).

Parsers raise it, the layer that owns the transaction answers it. A mistake of our own caller is a
ValueError and never one of these.
"""


class RemoteProtocolError(Exception):
    """A message that must be answered with `status`, or with silence when `status` is None."""

    def __init__(
        self,
        status: int | None,
        reason: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        head: bytes | None = None,
    ) -> None:
        """Keep the status line to answer and the headers that belong into the answer.

        `head` is what was read of the message, where only a part could be read (framing).
        """
        super().__init__(f"{status} {reason}" if status is not None else reason)
        self.status = status
        self.reason = reason
        self.headers = headers
        self.head = head
