"""Signatures of what only some may say: configuration, credentials, revocations, announcements.

RFC 6940 §6.3.4, narrowed: what every enrolled peer may say (registrations, open values) is not
signed one by one (docs/decisions/0008). Ed25519, because the same key and text always give the same
signature, on which the total order of values depends; ECDSA must never sign a value. The
simulator's twin costs a hundredth and keeps nobody out.
"""

import hashlib
from enum import StrEnum
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEED_LENGTH = 32


class Purpose(StrEnum):
    """What a signature is for: one made for a purpose never counts for another."""

    CONFIGURATION = "configuration"
    CREDENTIALS = "credentials"
    BAD_NODE = "bad-node"
    ANNOUNCEMENT = "announcement"


class Signatures(Protocol):
    """One holder of a key, and anybody who checks."""

    @property
    def public_key(self) -> bytes:
        """What others check this holder's signatures with."""

    def sign(self, purpose: Purpose, text: bytes) -> bytes:
        """Sign a text for a purpose."""

    def verify(self, public_key: bytes, purpose: Purpose, text: bytes, signature: bytes) -> bool:
        """Tell whether the holder of a public key signed a text for a purpose."""


class Ed25519Signatures:
    """Signatures of RFC 8032, from a seed of 32 secret bytes."""

    __slots__ = ("_private_key", "_public_key")

    def __init__(self, seed: bytes) -> None:
        """Take up a key; ValueError when the seed is not 32 bytes."""
        if len(seed) != SEED_LENGTH:
            raise ValueError(f"an Ed25519 seed is {SEED_LENGTH} bytes, not {len(seed)}")
        self._private_key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public_key = self._private_key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._public_key

    def sign(self, purpose: Purpose, text: bytes) -> bytes:
        """Sign a text for a purpose: 64 bytes, always the same."""
        return self._private_key.sign(_for_purpose(purpose, text))

    def verify(self, public_key: bytes, purpose: Purpose, text: bytes, signature: bytes) -> bool:
        """Tell whether the holder of a public key signed a text for a purpose."""
        try:
            key = Ed25519PublicKey.from_public_bytes(public_key)
            key.verify(signature, _for_purpose(purpose, text))
        except (ValueError, InvalidSignature):
            return False
        return True


class SimulatedSignatures:
    """The simulator's twin: any change is noticed, but whoever knows a public key can sign."""

    __slots__ = ("_public_key",)

    def __init__(self, seed: bytes) -> None:
        """Take up a key of the same form as the real one."""
        self._public_key = hashlib.blake2b(seed, digest_size=32).digest()

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._public_key

    def sign(self, purpose: Purpose, text: bytes) -> bytes:
        """Mark a text for a purpose: 64 bytes, always the same."""
        return _mark(self._public_key, purpose, text)

    def verify(self, public_key: bytes, purpose: Purpose, text: bytes, signature: bytes) -> bool:
        """Tell whether a text was marked with a public key for a purpose."""
        return signature == _mark(public_key, purpose, text)


def _for_purpose(purpose: Purpose, text: bytes) -> bytes:
    return b"chordial " + purpose.encode() + b"\0" + text


def _mark(public_key: bytes, purpose: Purpose, text: bytes) -> bytes:
    return hashlib.blake2b(_for_purpose(purpose, text), key=public_key[:64]).digest()
