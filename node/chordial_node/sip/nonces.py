"""Nonces that every peer can tell from forged ones, and that only their issuer accepts.

`sip.md` 5 and RFC 7616 §3.3, §5.4. A challenge leaves no state behind; a nonce has some only once
somebody authenticated with it. Key, issuer and boot number come from outside, as does the time.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from enum import Enum

from chordial_node.security.derived_keys import KeyRing

RANDOM_LENGTH = 6
_PREFIX_LENGTH = 6
_MAC_LENGTH = 8
_WINDOW = 64
_FIELDS = struct.Struct("!B6sII6s")  # key number, issuer, boot, time, random


class NonceState(Enum):
    """What a nonce is worth here and now."""

    VALID = "valid"
    STALE = "stale"  # genuine, but of another peer, another boot, too old or used up: ask again
    FORGED = "forged"  # no peer of this overlay made it


class Nonces:
    """The nonces of one peer: made, judged, and counted once they have authenticated."""

    __slots__ = ("_boot", "_floor", "_issuer", "_keys", "_lifetime", "_limit", "_used")

    def __init__(
        self, keys: KeyRing, issuer: bytes, boot: int, lifetime: float, limit: int = 100_000
    ) -> None:
        """Issue in the name of a Node-ID and a boot number; keep at most `limit` used nonces."""
        self._keys = keys
        self._issuer = issuer[:_PREFIX_LENGTH]
        self._boot = boot & 0xFFFFFFFF
        self._lifetime = lifetime
        self._limit = limit
        self._floor = -1  # nonces up to this time without a window are stale: theirs was dropped
        self._used: dict[bytes, _Window] = {}

    def __len__(self) -> int:
        """How many nonces have a window."""
        return len(self._used)

    def renew_keys(self, keys: KeyRing) -> None:
        """Take other overlay keys; nonces of a key that no longer counts become forged."""
        self._keys = keys

    def make(self, wall: float, random: bytes) -> bytes:
        """A nonce for a challenge; `random` is six bytes."""
        key = self._keys.current
        fields = _FIELDS.pack(
            key.number, self._issuer, self._boot, int(wall) & 0xFFFFFFFF, random
        )  # fmt: skip
        return base64.urlsafe_b64encode(fields + _mac(key.nonce, fields)).rstrip(b"=")

    def judge(self, nonce: bytes, wall: float) -> NonceState:
        """Whether a nonce is genuine, ours and young enough; it costs no state and no look-up."""
        return self._judged(nonce, wall)[0]

    def _judged(self, nonce: bytes, wall: float) -> tuple[NonceState, int]:
        """What a nonce is worth, and when it was made."""
        opened = self._open(nonce)
        if opened is None:
            return NonceState.FORGED, 0
        issuer, boot, made = opened
        if issuer != self._issuer or boot != self._boot or wall - made > self._lifetime:
            return NonceState.STALE, made
        if nonce not in self._used and made <= self._floor:
            return NonceState.STALE, made
        return NonceState.VALID, made

    def use(self, nonce: bytes, nc: int, wall: float) -> NonceState:
        """Spend one use of a nonce whose digest was right; a second use of the same is stale.

        With qop, `nc` counts the uses (from 1). Without, `nc` is 0 and the nonce serves once: the
        digest covers nothing of a request by which a second could be told from a replay.
        """
        state, made = self._judged(nonce, wall)
        if state is not NonceState.VALID:
            return state
        window = self._used.get(nonce)
        if window is None:
            self._make_room(wall)
            window = self._used[nonce] = _Window(made)
        return NonceState.VALID if window.accept(nc) else NonceState.STALE

    def _make_room(self, wall: float) -> None:
        """Forget what is too old to be accepted anyway, then the oldest, which becomes stale."""
        while self._used:
            oldest = next(iter(self._used))
            made = self._used[oldest].made
            if wall - made <= self._lifetime:
                if len(self._used) < self._limit:
                    return
                self._floor = max(self._floor, made)
            del self._used[oldest]

    def _open(self, nonce: bytes) -> tuple[bytes, int, int] | None:
        try:
            raw = base64.b64decode(nonce + b"=" * (-len(nonce) % 4), b"-_", validate=True)
        except binascii.Error:
            return None
        if len(raw) != _FIELDS.size + _MAC_LENGTH:
            return None
        fields = raw[: _FIELDS.size]
        number, issuer, boot, made, _ = _FIELDS.unpack(fields)
        key = self._keys.get(number)
        if key is None or not hmac.compare_digest(_mac(key.nonce, fields), raw[_FIELDS.size :]):
            return None
        if base64.urlsafe_b64encode(raw).rstrip(b"=") != nonce:
            return None  # a second spelling of the same bytes would be a second window
        return issuer, boot, made


class _Window:
    """Which of the last 64 counts of a nonce were seen."""

    __slots__ = ("_highest", "_is_spent", "_seen", "made")

    def __init__(self, made: int) -> None:
        self.made = made
        self._highest = 0
        self._seen = 0  # bit i: the count `highest - i`
        self._is_spent = False  # once, without a count

    def accept(self, nc: int) -> bool:
        if self._is_spent:
            return False
        if nc == 0:
            self._is_spent = self._highest == 0
            return self._is_spent
        if nc > self._highest:
            self._seen = (self._seen << min(nc - self._highest, _WINDOW) | 1) & (1 << _WINDOW) - 1
            self._highest = nc
            return True
        age = self._highest - nc
        if age >= _WINDOW or self._seen >> age & 1:
            return False
        self._seen |= 1 << age
        return True


def _mac(key: bytes, fields: bytes) -> bytes:
    return hashlib.blake2b(fields, key=key, digest_size=_MAC_LENGTH).digest()
