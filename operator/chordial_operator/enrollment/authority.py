"""What an overlay's authority is made of, and what may be told of it (RFC 6940 §11.1 and §11.3).

Founded once and kept for good (fleet H7): name, instance id, founders, the one or two authorities
and keys, the key that signs the configuration. Pure: the time and what is drawn at random are
arguments. How it lies in a Secret is `authority_secret`'s affair, its steps are `rotation`'s. No
Kubernetes object belongs here, and nothing here has a text form that tells a secret.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from chordial_node.ids import ID_LENGTH, NodeId, offset, spread_node_ids
from chordial_node.security.authority import Authority, Term
from chordial_node.security.bundles import bundle_hash
from chordial_node.security.configuration import Configuration, sign_configuration
from chordial_node.security.derived_keys import KEY_LENGTH, KeyRing, OverlayKey
from chordial_node.security.signatures import SEED_LENGTH, Ed25519Signatures

Draw = Callable[[int], bytes]
"""Gives that many random bytes that nobody can guess, as `os.urandom` does."""

OVERLAY_NAME_LENGTH = 64
INSTANCE_ID_LENGTH = 16
_MARK_LENGTH = 16
_SERIAL_LENGTH = 16


class AuthorityError(ValueError):
    """An overlay's authority cannot be made or used; the message names every problem."""


class AuthorityPhase(StrEnum):
    """How far the exchange of an overlay's authority is; `status.certificateAuthority.phase`."""

    STEADY = "Steady"
    ANNOUNCED = "Announced"
    """A second one is trusted, and signs nothing yet."""
    SWITCHED = "Switched"
    """The new one signs, the old one is still trusted."""


class CaPair(msgspec.Struct, frozen=True):
    """The certificate and the key of an authority, PEM."""

    certificate: bytes
    private_key: bytes

    def __repr__(self) -> str:
        return "CaPair()"  # a key never gets into a log


class PeerKey(msgspec.Struct, frozen=True):
    """The one key that counts for a peer, while a certificate for another one has not ended."""

    node: NodeId
    key_hash: str
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER), hexadecimal."""
    until: int
    """When the last of the superseded certificates ends, in seconds since 1970."""


class AuthorityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of one overlay's authority."""

    overlay_name: str
    instance_id: str
    founders: tuple[NodeId, ...]
    founded_at: float = 0.0
    """When the ring first stood, in seconds since 1970; 0: not yet."""
    sequence: int = 1
    """Of the signed configuration."""
    revoked: tuple[NodeId, ...] = ()
    peer_keys: tuple[PeerKey, ...] = ()
    """Of peers that had another key before."""
    current: CaPair
    """Signs."""
    next: CaPair | None = None
    """Trusted, and will sign when every living peer trusts it."""
    old: bytes = b""
    """The certificate (PEM) of the one that signed before, while it is still trusted."""
    signer_seed: bytes
    keys: tuple[OverlayKey, ...]
    """The overlay's SIP keys, the present one first."""
    wants_key: bool = False
    """A peer was revoked, and no new key was announced since."""
    rotation: str = ""
    """The value of the annotation that was last obeyed."""

    def __repr__(self) -> str:
        return f"AuthorityRecord({self.overlay_name!r}, {self.instance_id!r})"

    @property
    def phase(self) -> AuthorityPhase:
        """How far the exchange of the authority is."""
        if self.next is not None:
            return AuthorityPhase.ANNOUNCED
        return AuthorityPhase.SWITCHED if self.old else AuthorityPhase.STEADY

    @property
    def roots(self) -> bytes:
        """The trust bundle, PEM: who signs stands first."""
        second = self.next.certificate if self.next is not None else self.old
        return self.current.certificate + second


class OverlayIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What anybody may know of an overlay's authority."""

    overlay_name: str
    """`NAMESPACE.NAME`: what stands in certificates."""
    instance_id: str
    founders: tuple[NodeId, ...]
    roots: bytes
    """The overlay's one or two authorities, PEM, who signs first."""
    bundle_hash: str
    """What every living peer tells once it has enrolled with these roots and keys."""
    not_after: float
    """When the authority that signs ends, in seconds since 1970."""
    phase: AuthorityPhase
    founded_at: float
    """0: not founded yet."""
    sequence: int
    revoked: tuple[NodeId, ...]
    peer_keys: dict[NodeId, str]
    """Hash of the one key that counts, of peers that had another one before."""
    key_numbers: tuple[int, ...]
    """The numbers of the overlay's SIP keys, the present one first."""
    configuration: bytes
    """JSON, signed: what every peer gets and believes."""


class OverlaySecrets(msgspec.Struct, frozen=True):
    """What nobody but the operator may know, and who works with it."""

    authority: Authority
    keys_json: bytes
    """The overlay's SIP keys as peers get them: `{"current": 1, "keys": {"1": "HEX"}}`."""
    keys: KeyRing
    signatures: Ed25519Signatures
    """Of the overlay's signer: configuration, revocations."""

    def __repr__(self) -> str:
        return "OverlaySecrets()"


def overlay_name_of(namespace: str, name: str) -> str:
    """Return what stands in certificates for an Overlay; one too long is cut and marked."""
    whole = f"{namespace}.{name}".lower()
    if len(whole) <= OVERLAY_NAME_LENGTH:
        return whole
    mark = hashlib.blake2b(whole.encode(), digest_size=_MARK_LENGTH // 2).hexdigest()
    kept = whole[: OVERLAY_NAME_LENGTH - _MARK_LENGTH - 1]
    return f"{re.sub('[^a-z0-9]+$', '', kept)}-{mark}"


def make_authority(
    overlay_name: str,
    *,
    founders: int,
    lifetime_seconds: float,
    draw: Draw,
    now: float,
    own: CaPair | None = None,
) -> AuthorityRecord:
    """Make the authority of a new overlay, around an own certificate authority if there is one."""
    return AuthorityRecord(
        overlay_name=overlay_name,
        instance_id=draw(INSTANCE_ID_LENGTH).hex(),
        founders=spread_founders(founders, draw(ID_LENGTH)),
        current=own or make_ca(overlay_name, lifetime_seconds, draw, now),
        signer_seed=draw(SEED_LENGTH),
        keys=(OverlayKey(1, draw(KEY_LENGTH)),),
    )


def make_ca(overlay_name: str, lifetime_seconds: float, draw: Draw, now: float) -> CaPair:
    """Make a certificate authority that signs itself."""
    made = Authority.make(overlay_name, Term(now, lifetime_seconds, draw_serial(draw)))
    return CaPair(made.certificate, made.private_key)


def spread_founders(count: int, start: bytes) -> tuple[NodeId, ...]:
    """Return Node-IDs that divide the ring evenly, turned by a random start."""
    return tuple(NodeId(offset(start, int.from_bytes(each))) for each in spread_node_ids(count))


def draw_serial(draw: Draw) -> int:
    """Draw the serial number of a certificate: 127 bits, never with a leading zero."""
    return int.from_bytes(draw(_SERIAL_LENGTH)) >> 1 | 1 << (8 * _SERIAL_LENGTH - 2)


def open_authority(record: AuthorityRecord) -> tuple[OverlayIdentity, OverlaySecrets]:
    """Return what may be told of an authority, and what works with its secrets."""
    signatures = Ed25519Signatures(record.signer_seed)
    authority = Authority(
        record.overlay_name, record.current.certificate, record.current.private_key
    )
    keys = KeyRing(record.overlay_name, record.keys)
    identity = OverlayIdentity(
        overlay_name=record.overlay_name,
        instance_id=record.instance_id,
        founders=record.founders,
        roots=record.roots,
        bundle_hash=bundle_hash(record.roots, keys.numbers),
        not_after=authority.not_after,
        phase=record.phase,
        founded_at=record.founded_at,
        sequence=record.sequence,
        revoked=record.revoked,
        peer_keys={each.node: each.key_hash for each in record.peer_keys},
        key_numbers=keys.numbers,
        configuration=sign_configuration(signatures, _configuration(record, signatures)),
    )
    return identity, OverlaySecrets(authority, keys_document(record.keys), keys, signatures)


def keys_document(keys: Sequence[OverlayKey]) -> bytes:
    """Return the overlay's keys, the present one first, in the form that peers keep."""
    by_number = {str(key.number): key.secret.hex() for key in keys}
    return msgspec.json.encode({"current": keys[0].number, "keys": by_number})


def _configuration(record: AuthorityRecord, signatures: Ed25519Signatures) -> Configuration:
    return Configuration(
        overlay_name=record.overlay_name,
        instance_id=record.instance_id,
        sequence=record.sequence,
        founders=tuple(node.hex() for node in record.founders),
        signer=signatures.public_key.hex(),
        revoked=tuple(node.hex() for node in record.revoked),
        keys={each.node.hex(): each.key_hash for each in record.peer_keys},
    )
