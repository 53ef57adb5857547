"""The credentials of a SIP user as the overlay keeps them: digest hashes, sealed for its peers.

RFC 7616 §3.4.2 and RFC 8760. Whoever adds a user makes them (the command, the operator), whoever
serves phones opens them. No password is kept; what is asked of whom is decided in `usage/`.
"""

import hashlib
from enum import Enum

import msgspec

from chordial_node.ids import ResourceId, resource_id_of
from chordial_node.security.derived_keys import KeyRing
from chordial_node.security.sealing import SealError, open_seal, seal


class Algorithm(Enum):
    """The hash of a digest, by its name on the wire (RFC 8760 §2.1)."""

    MD5 = "MD5"
    SHA_256 = "SHA-256"


def digest_hash(algorithm: Algorithm, content: bytes) -> bytes:
    """Return a hash in lower-case hexadecimal, as digest authentication writes it."""
    if algorithm is Algorithm.SHA_256:
        return hashlib.sha256(content).hexdigest().encode()
    return hashlib.md5(content, usedforsecurity=False).hexdigest().encode()


def ha1(algorithm: Algorithm, username: bytes, realm: bytes, password: bytes) -> bytes:
    """Return the hash that is stored instead of a password, in lower-case hexadecimal."""
    return digest_hash(algorithm, username + b":" + realm + b":" + password)


class Credentials(msgspec.Struct, frozen=True, array_like=True):
    """The digest hashes (HA1) of one user; phones send `user` or `user@domain` as their name."""

    user: str
    domain: str
    md5: bytes
    """MD5 of `user:realm:password`, 32 hexadecimal digits (RFC 7616 §3.4.2)."""
    md5_full: bytes
    """The same of `user@domain:realm:password`."""
    sha256: bytes
    sha256_full: bytes
    source: str = ""
    """Who keeps this user: `namespace/name/uid` of a SipUser; empty: added by the command."""
    state: str = "enabled"
    """enabled, or disabled: 403 to who registers or calls as this user, 480 to who calls it."""
    max_contacts: int = 0
    """Bindings at one time; 0: as many as the overlay allows."""
    display_name: str = ""

    @property
    def is_disabled(self) -> bool:
        """Tell whether this user may neither register, nor call, nor be called."""
        return self.state == "disabled"

    def most_contacts(self, of_overlay: int) -> int:
        """Return how many bindings this user may have, where the overlay allows so many."""
        return min(self.max_contacts or of_overlay, of_overlay)

    def __repr__(self) -> str:
        return f"Credentials({self.user}@{self.domain})"

    def ha1(self, algorithm: Algorithm, full: bool) -> bytes:
        """Return the hash for MD5 or SHA-256, and for the long form of the name or the short."""
        if algorithm is Algorithm.SHA_256:
            return self.sha256_full if full else self.sha256
        return self.md5_full if full else self.md5


def make_credentials(
    user: str,
    domain: str,
    password: str,
    *,
    source: str = "",
    state: str = "enabled",
    max_contacts: int = 0,
    display_name: str = "",
) -> Credentials:
    """Return the hashes of a user's password; the realm is the domain."""
    names = (user.encode(), f"{user}@{domain}".encode())
    realm, secret = domain.encode(), password.encode()
    md5 = [ha1(Algorithm.MD5, name, realm, secret) for name in names]
    sha256 = [ha1(Algorithm.SHA_256, name, realm, secret) for name in names]
    return Credentials(
        user, domain, md5[0], md5[1], sha256[0], sha256[1],
        source, state, max_contacts, display_name,
    )  # fmt: skip


def resource_of_user(user: str, domain: str) -> ResourceId:
    """Return the Resource-ID under which a user's credentials and registrations lie."""
    return resource_id_of(f"sip:{user.lower()}@{domain.lower()}".encode())


def seal_credentials(keys: KeyRing, credentials: Credentials, nonce: bytes) -> bytes:
    """Return credentials sealed for enrolled peers, with twelve fresh random bytes."""
    resource = resource_of_user(credentials.user, credentials.domain)
    return seal(keys, resource, msgspec.msgpack.encode(credentials), nonce)


def open_credentials(keys: KeyRing, resource: ResourceId, sealed: bytes) -> Credentials:
    """Return sealed credentials; SealError says why they cannot be read."""
    content = open_seal(keys, resource, sealed)
    try:
        return msgspec.msgpack.decode(content, type=Credentials)
    except msgspec.MsgspecError as error:
        raise SealError(f"what is sealed is no credentials: {error}") from error
