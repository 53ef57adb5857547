"""The credentials of SIP users: digest hashes in the overlay, sealed for enrolled peers (RFC 8760).

Any peer can authenticate anyone, with no database and with nobody else up. No password is stored;
what is fetched is kept 30 s, misses too, so that a change holds everywhere within that time. Who
must prove what is decided in `authentication.py`, never here.
"""

from collections.abc import Awaitable
from typing import Protocol

from chordial_node.boundary.events import Address
from chordial_node.ids import NodeId, ResourceId
from chordial_node.kernel.kernel import Kernel
from chordial_node.kernel.tracing import Trace
from chordial_node.overlay.kinds import KINDS, KindId
from chordial_node.overlay.messages import (
    Entry,
    FetchAnswer,
    FetchSpecifier,
    KindData,
    StoreAnswer,
)
from chordial_node.security.credentials import Credentials, open_credentials
from chordial_node.security.derived_keys import KeyRing
from chordial_node.security.sealing import SealError

CACHE_SECONDS = 30.0
_MOST_CACHED = 50_000
WANTED = FetchSpecifier(KindId.CREDENTIALS)
"""What a Fetch asks for that also wants the credentials of an AOR."""


class Overlay(Protocol):
    """What the usages see of `overlay/peer.py`."""

    def fetch(
        self,
        resource: ResourceId,
        specifiers: tuple[FetchSpecifier, ...],
        trace: Trace | None = None,
    ) -> Awaitable[FetchAnswer]:
        """Fetch values of a resource; OverlayError when nobody can answer."""

    def store(
        self, resource: ResourceId, kinds: tuple[KindData, ...], trace: Trace | None = None
    ) -> Awaitable[StoreAnswer]:
        """Store values of a resource, all or nothing; OverlayError when that failed."""

    def is_alive(self, node: NodeId) -> bool:
        """Tell whether a peer is held alive."""

    def is_dead(self, node: NodeId) -> bool:
        """Tell whether a peer is known, and held dead or gone."""

    def sip_address(self, node: NodeId) -> Address | None:
        """Return where a peer listens for SIP of other peers."""

    def peer_name(self, node: NodeId) -> str:
        """Return the name of a peer, for people."""

    def find_node(self, prefix: bytes) -> NodeId | None:
        """Return the peer, alive or not, whose Node-ID begins so; None when none is known."""

    def round_trip(self, node: NodeId) -> float:
        """Return the smoothed round trip to a peer in seconds."""

    def doubt(self, node: NodeId, reason: str) -> None:
        """Tell the failure detector that a peer did not answer in time."""


def credentials_entry(sealed: bytes, now_ms: int, acceptor: NodeId) -> Entry:
    """Return the entry that stores sealed credentials; the owner stamps its times anew."""
    lifetime_ms = int(KINDS[KindId.CREDENTIALS].max_lifetime_seconds * 1000)
    ends = now_ms + lifetime_ms
    return Entry(b"", sealed, True, now_ms, ends, ends, acceptor)


class CredentialStore:
    """Credentials as this peer knows them: fetched when asked for, kept 30 s, misses too."""

    __slots__ = ("_cached", "_kernel", "_keys", "_overlay")

    def __init__(self, kernel: Kernel, overlay: Overlay, keys: KeyRing) -> None:
        """Begin with nothing known."""
        self._kernel = kernel
        self._overlay = overlay
        self._keys = keys
        self._cached: dict[ResourceId, tuple[float, Credentials | None]] = {}

    def is_known(self, resource: ResourceId) -> bool:
        """Tell whether `of` would answer without a Fetch."""
        cached = self._cached.get(resource)
        return cached is not None and cached[0] > self._kernel.now

    async def of(self, resource: ResourceId, trace: Trace | None = None) -> Credentials | None:
        """Return the credentials of an AOR's user; None when there is no such user."""
        cached = self._cached.get(resource)
        if cached is not None and cached[0] > self._kernel.now:
            return cached[1]
        answer = await self._overlay.fetch(resource, (WANTED,), trace)
        return self.learn(resource, answer)

    def learn(self, resource: ResourceId, answer: FetchAnswer) -> Credentials | None:
        """Take the credentials out of an answer to a Fetch that asked for them."""
        found: Credentials | None = None
        for data in answer.kinds:
            if data.kind == KindId.CREDENTIALS:
                found = self._opened(resource, data)
        while len(self._cached) >= _MOST_CACHED:
            self._cached.pop(next(iter(self._cached)))
        self._cached.pop(resource, None)
        self._cached[resource] = (self._kernel.now + CACHE_SECONDS, found)
        return found

    def forget(self, resource: ResourceId) -> None:
        """Forget a user whose credentials were changed through this peer."""
        self._cached.pop(resource, None)

    def _opened(self, resource: ResourceId, data: KindData) -> Credentials | None:
        for entry in data.entries:
            if entry.exists:
                try:
                    return open_credentials(self._keys, resource, entry.value)
                except SealError:
                    self._kernel.counters.seals_unreadable += 1
        return None
