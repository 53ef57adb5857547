"""Via branches that say which peer wrote them (RFC 3261 §8.1.1.7).

An answer may reach another peer than the one that sent the request, because all of them share one
address: the branch carries the first bytes of the Node-ID of its owner. What is done with a stray
answer is decided by the usage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chordial_node.ids import NodeId

if TYPE_CHECKING:
    from random import Random

MAGIC = b"z9hG4bK"
"""What each branch of RFC 3261 begins with; a branch without it is one of RFC 2543."""
PREFIX_LENGTH = 6
_OURS = MAGIC + b"-c"
_PREFIX_END = len(_OURS) + 2 * PREFIX_LENGTH


def branch(node_id: NodeId, random: Random) -> bytes:
    """Return a new branch that carries the first six bytes of a Node-ID."""
    return b"%b%b%016x" % (_OURS, node_id[:PREFIX_LENGTH].hex().encode(), random.getrandbits(64))


def owner_prefix(written: bytes) -> bytes | None:
    """Return the first six bytes of the Node-ID of the peer that wrote a branch, or None."""
    if not written.startswith(_OURS):
        return None
    try:
        prefix = bytes.fromhex(written[len(_OURS) : _PREFIX_END].decode("ascii"))
    except ValueError:
        return None
    return prefix if len(prefix) == PREFIX_LENGTH else None
