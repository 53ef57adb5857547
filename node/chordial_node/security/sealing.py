"""Credentials sealed for enrolled peers: AES-256-GCM under the overlay's numbered key.

Any peer can open any seal, a stranger with a copy of a disk none. A seal is the number
of its key (1 byte), a nonce (12) and the ciphertext with its tag (16); the Resource-ID under
which it is stored is bound to it, so that one user's seal is worthless in another's place.
What is inside is not known here. The nonce is drawn by the caller: 96 random bits serve for 2**32
seals under one key, and a key lives until the next peer is revoked.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chordial_node.ids import ResourceId
from chordial_node.security.derived_keys import DerivedKeys, KeyRing

NONCE_LENGTH = 12
TAG_LENGTH = 16
_PURPOSE = b"chordial credentials\0"
_SHORTEST = 1 + NONCE_LENGTH + TAG_LENGTH


class SealError(ValueError):
    """A seal cannot be opened; the message says why, for a log."""


def seal(keys: KeyRing, resource: ResourceId, content: bytes, nonce: bytes) -> bytes:
    """Seal content for one Resource-ID under the present key, with 12 fresh random bytes."""
    if len(nonce) != NONCE_LENGTH:
        raise ValueError(f"a nonce is {NONCE_LENGTH} random bytes, not {len(nonce)}")
    number = bytes([keys.current.number])
    cipher = AESGCM(keys.current.sealing)
    return number + nonce + cipher.encrypt(nonce, content, _bound_to(number, resource))


def open_seal(keys: KeyRing, resource: ResourceId, sealed: bytes) -> bytes:
    """Return what was sealed for a Resource-ID; SealError says why it cannot be read."""
    derived = _keys_of(keys, sealed)
    nonce = sealed[1 : 1 + NONCE_LENGTH]
    try:
        return AESGCM(derived.sealing).decrypt(
            nonce, sealed[1 + NONCE_LENGTH :], _bound_to(sealed[:1], resource)
        )
    except InvalidTag as error:
        raise SealError(
            f"the seal under key {derived.number} was made for another resource,"
            " with another key, or was changed"
        ) from error


def is_under_present_key(keys: KeyRing, sealed: bytes) -> bool:
    """Tell whether a seal needs no renewal after the overlay's key has changed."""
    return sealed[:1] == bytes([keys.current.number])


def sealed_under(sealed: bytes) -> int:
    """Return the number of the key under which something is sealed; 0 of what is no seal."""
    return sealed[0] if sealed else 0


def _keys_of(keys: KeyRing, sealed: bytes) -> DerivedKeys:
    if len(sealed) < _SHORTEST:
        raise SealError(f"a seal has at least {_SHORTEST} bytes, not {len(sealed)}")
    derived = keys.get(sealed[0])
    if derived is None:
        held = ", ".join(map(str, keys.numbers))
        raise SealError(f"the seal is under key {sealed[0]}, this peer holds {held}")
    return derived


def _bound_to(number: bytes, resource: ResourceId) -> bytes:
    return _PURPOSE + number + resource
