"""To tags of our own responses, which an ACK carries back to us (RFC 3261 §8.2.7, §19.3).

A keyed hash of what the ACK repeats: the ACK to a refusal that was sent without a transaction is
recognised, and nobody else can make one. Tags of phones are none of this module's.
"""

import hashlib

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.message import Message

KEY_LENGTH = 16


class Tags:
    """Makes To tags, and knows its own."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Make tags with a key; peers that share it know each other's."""
        self._key = key

    def of(self, request: Message) -> bytes:
        """Return the To tag of our responses to a request, the same for its ACK."""
        try:
            named = b"%b\0%b\0%d" % (request.call_id, request.from_tag, request.cseq.number)
        except RemoteProtocolError:
            named = request.raw[:256]  # a malformed request, answered with 400: any tag will do
        return hashlib.blake2b(named, key=self._key, digest_size=8).hexdigest().encode()

    def is_ours(self, ack: Message) -> bool:
        """Tell whether an ACK acknowledges a response that we made ourselves."""
        return ack.to_tag == self.of(ack)
