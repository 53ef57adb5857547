"""A request as it leaves: its bytes, and what its transaction is found by (RFC 3261 §17.1.3).

Whoever made it knows branch and method, so nothing is read twice. It is read only where a CANCEL or
an ACK is to be made of it. How it is made is none of this module's business.
"""

import msgspec

from chordial_node.sip.message import Message


class Outgoing(msgspec.Struct, frozen=True):
    """A request whose topmost Via is ours."""

    raw: bytes
    method: bytes
    branch: bytes

    def read(self) -> Message:
        """Return the request, read."""
        return Message(self.raw)
