"""Keys that must survive a restart: derived from the overlay's numbered SIP keys, never drawn.

Enrollment hands out a numbered key, peers keep it and accept two at a time; a new number follows
each revoked peer. What is made with a key of one purpose says nothing about the
keys of the others. No key is ever written into a log: they have no text form.
"""

import hashlib
from collections.abc import Sequence

import msgspec

KEY_LENGTH = 32
MOST_KEYS = 2
HIGHEST_NUMBER = 255
"""Nonces, tokens and seals spend one byte on the number of their key."""


class OverlayKey(msgspec.Struct, frozen=True):
    """A secret that all enrolled peers of an overlay share, and its number."""

    number: int
    secret: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.number <= HIGHEST_NUMBER:
            raise ValueError(f"an overlay key's number is 0 to {HIGHEST_NUMBER}, not {self.number}")
        if len(self.secret) != KEY_LENGTH:
            raise ValueError(f"an overlay key is {KEY_LENGTH} bytes, not {len(self.secret)}")

    def __repr__(self) -> str:
        return f"OverlayKey(number={self.number})"


class DerivedKeys(msgspec.Struct, frozen=True):
    """The keys of each purpose that one overlay key gives."""

    number: int
    nonce: bytes
    """Authenticates digest nonces (RFC 7616 §3.3)."""
    token: bytes
    """Authenticates the user part of a Record-Route."""
    sealing: bytes
    """Encrypts credentials, AES-256."""

    def __repr__(self) -> str:
        return f"DerivedKeys(number={self.number})"


def derive(key: OverlayKey, overlay_name: str) -> DerivedKeys:
    """Return the keys of each purpose, the same on every peer of an overlay and after a restart."""
    return DerivedKeys(
        number=key.number,
        nonce=_derived(key, overlay_name, b"chordial nonce"),
        token=_derived(key, overlay_name, b"chordial token"),
        sealing=_derived(key, overlay_name, b"chordial seal"),
    )


class KeyRing:
    """The keys that count at present: one to make things with, and its predecessor to open them."""

    __slots__ = ("_by_number", "current", "overlay_name")

    def __init__(self, overlay_name: str, keys: Sequence[OverlayKey]) -> None:
        """Hold one or two overlay keys, the present one first."""
        if not 1 <= len(keys) <= MOST_KEYS:
            raise ValueError(f"an overlay has one or {MOST_KEYS} SIP keys, not {len(keys)}")
        derived = [derive(key, overlay_name) for key in keys]
        self.overlay_name = overlay_name
        self.current = derived[0]
        self._by_number = {each.number: each for each in derived}
        if len(self._by_number) != len(keys):
            raise ValueError(f"two SIP keys have the number {keys[0].number}")

    def take(self, renewed: "KeyRing") -> None:
        """Hold the keys of another one, from now on and wherever this one is looked at."""
        self.current = renewed.current
        self._by_number = renewed._by_number

    def get(self, number: int) -> DerivedKeys | None:
        """Return the keys of a number if they still count."""
        return self._by_number.get(number)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers that count, the present one first."""
        return tuple(self._by_number)


def _derived(key: OverlayKey, overlay_name: str, purpose: bytes) -> bytes:
    return hashlib.blake2b(
        overlay_name.encode(), key=key.secret, person=purpose, digest_size=KEY_LENGTH
    ).digest()
