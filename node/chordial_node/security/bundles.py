"""What an authority hands to all peers alike, in one short hash: rotations wait for it.

An authority or a key may be used only when every living peer believes it, and may be dropped only
when none needs it (docs: rotation). Each peer therefore tells the hash of what its *last
enrollment* brought, and enrolls again when the bundle that lies beside its configuration has
another one. The order of the authorities counts: the first one signs, so a peer that tells the
hash of a changed order holds a certificate of the new one. The secrets of keys are never hashed.
"""

import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

HASH_BYTES = 12


def bundle_hash(authorities: bytes, key_numbers: Sequence[int]) -> str:
    """Return the hash of a trust bundle (PEM) and of key numbers, the present one first."""
    digest = hashlib.blake2b(person=b"chordial bundle", digest_size=HASH_BYTES)
    for authority in x509.load_pem_x509_certificates(authorities):
        digest.update(hashlib.sha256(authority.public_bytes(Encoding.DER)).digest())
    digest.update(bytes(key_numbers))
    return digest.hexdigest()
