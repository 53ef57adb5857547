"""INVITEs that wait for an answer, by call and device: one phone never rings twice for one call.

`sip.md` 9: when the caller's packets move to another peer, the same INVITE comes once more through
it. With the same CSeq it joins the first. With a higher one (the other peer has challenged it: the
nonce was not its own) it takes its place: the CSeq of answers and ACK must be the caller's, so it
cannot join. What a fork does then is decided in `fork.py`.
"""

from chordial_node.sip.errors import RemoteProtocolError
from chordial_node.sip.message import Message
from chordial_node.usage.fork import MOST_COPIES, Fork

Key = tuple[bytes, bytes, bytes]
"""Call-ID, From tag and device, by whatever peer the INVITE comes."""


class Pending:
    """The forks that wait for an answer of a phone of this edge."""

    __slots__ = ("_forks", "_keys")

    def __init__(self) -> None:
        """Begin with none."""
        self._forks: dict[Key, tuple[int, Fork]] = {}
        self._keys: dict[Fork, list[Key]] = {}

    def claim(self, request: Message, device: bytes, fork: Fork) -> Fork | None:
        """Note that a fork rings a device, or return the one that does so for the same INVITE.

        RemoteProtocolError(482) for an INVITE that a later one has replaced (RFC 3261 §8.2.2.2).
        """
        if request.method != b"INVITE" or request.to_tag:
            return None
        key, number = (request.call_id, request.from_tag, device), request.cseq.number
        earlier, held = self._forks.get(key, (0, None))
        if held is not None and held is not fork and not held.is_over:
            if number < earlier:
                raise RemoteProtocolError(482, "A Later INVITE Is Pending")
            if number == earlier:
                if len(held.copies) >= MOST_COPIES:
                    raise RemoteProtocolError(482, "Too Many Copies")
                return held
            held.withdraw()
        self._forks[key] = (number, fork)
        self._keys.setdefault(fork, []).append(key)
        return None

    def release(self, fork: Fork) -> None:
        """Forget a fork that is over."""
        for key in self._keys.pop(fork, ()):
            held = self._forks.get(key)
            if held is not None and held[1] is fork:
                del self._forks[key]
