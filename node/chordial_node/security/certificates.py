"""X.509 certificates and the identities they prove: Node-ID or name, role, overlay, end.

RFC 6940 §11.3, changed as gRPC needs it; SECURITY.md tells who is trusted with what. An identity
stands in the subject alternative names of a certificate:

* URI `chordial://OVERLAY/ROLE/WHO`: the identity. WHO is the Node-ID of a peer in 32 hexadecimal
  digits, else a name.
* DNS `NODEID.peer.invalid` (peers): what a dialer of gRPC compares, because its client looks at
  names alone; it is the host of a Via between peers too.
* DNS `peer.invalid` (peers): what a dialer compares that does not yet know whom it will meet.
* DNS `KEY.NODEID.peer.invalid` (peers): what a dialer compares when only one key counts for this
  Node-ID; KEY are the first 32 digits of the SHA-256 of the public key.

Here certificates are only read and judged, at a time that the caller tells. No file, socket or
TLS context belongs here, and nothing that signs.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from chordial_node.ids import NodeId, node_id

URI_SCHEME = "chordial://"
ANY_PEER_HOST = "peer.invalid"
MOST_AUTHORITIES = 2
"""The old and the new one while they are exchanged."""

_KEY_DIGITS = 32
_OVERLAY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Role(StrEnum):
    """What a holder may do, in the words of the certificate."""

    PEER = "peer"
    OPERATOR = "operator"
    ADMIN = "admin"
    CLIENT = "client"


class Refusal(StrEnum):
    """Why a certificate proves nothing: the value of a counter's label."""

    MALFORMED = "malformed"
    UNKNOWN_AUTHORITY = "unknown_authority"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    OTHER_OVERLAY = "other_overlay"
    WRONG_ROLE = "wrong_role"
    REVOKED = "revoked"
    OTHER_NODE = "other_node"
    OTHER_KEY = "other_key"


class IdentityError(ValueError):
    """A certificate does not prove what it should; the message says why, for a log."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


class Identity(msgspec.Struct, frozen=True):
    """Who a certificate names, and until when."""

    overlay_name: str
    role: Role
    name: str
    """Of a peer a label for people; of all others who they are."""
    node_id: NodeId | None
    """Set for peers alone."""
    public_key: bytes
    """SubjectPublicKeyInfo, DER."""
    not_after: float
    """Seconds since 1970."""

    @property
    def uri(self) -> str:
        """The URI that stands for this identity in a certificate."""
        return identity_uri(self.overlay_name, self.role, self.name, self.node_id)


class TlsCredentials(msgspec.Struct, frozen=True):
    """What one end of a TLS connection shows, and whom it believes; all PEM."""

    certificate: bytes
    private_key: bytes
    authorities: bytes

    def __repr__(self) -> str:
        return "TlsCredentials()"  # a key never gets into a log


def peer_host(node: NodeId) -> str:
    """Return the DNS name of a peer: of its certificate, and of its Via to other peers."""
    return f"{node.hex()}.{ANY_PEER_HOST}"


def key_hash_of(public_key: bytes) -> str:
    """Return the hash (SHA-256, hexadecimal) that stands for a public key (DER)."""
    return hashlib.sha256(public_key).hexdigest()


def peer_host_of_key(node: NodeId, key_hash: str) -> str:
    """Return the DNS name of a peer with this key alone."""
    return f"{key_hash[:_KEY_DIGITS]}.{peer_host(node)}"


def identity_uri(overlay_name: str, role: Role, name: str, node: NodeId | None) -> str:
    """Return the URI of an identity; ValueError says what in it cannot stand in a URI."""
    if not _OVERLAY_NAME.fullmatch(overlay_name):
        raise ValueError(
            f"an overlay name is 1 to 64 of a-z, 0-9, dot and hyphen, not {overlay_name!r}"
        )
    if (role is Role.PEER) != (node is not None):
        raise ValueError("a peer has a Node-ID, and nobody else has one")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"a name is 1 to 64 letters, digits, dots, hyphens and underscores, not {name!r}"
        )
    return f"{URI_SCHEME}{overlay_name}/{role}/{node.hex() if node is not None else name}"


def read_certificate(certificate: bytes) -> x509.Certificate:
    """Return a certificate given as PEM or DER; of a PEM chain the first."""
    with _reading():
        if certificate.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(certificate)
        return x509.load_der_x509_certificate(certificate)


def claims_of(certificate: bytes) -> Identity:
    """Read who a certificate says it is for; nothing is proven, not even who signed it."""
    parsed = read_certificate(certificate)
    with _reading():
        return _claimed_identity(parsed)


class Trust:
    """Whom to believe: the authorities of one overlay, but for revoked peers and keys."""

    __slots__ = ("_authorities", "_keys", "_revoked", "overlay_name")

    def __init__(
        self,
        overlay_name: str,
        bundle: bytes,
        revoked: Iterable[NodeId] = (),
        keys: Mapping[NodeId, str] | None = None,
    ) -> None:
        """Trust the one or two authorities of a PEM bundle; ValueError says what is wrong.

        For a Node-ID in `keys` only certificates with the key of this hash count.
        """
        authorities = x509.load_pem_x509_certificates(bundle)
        if len(authorities) > MOST_AUTHORITIES:
            raise ValueError(
                f"a trust bundle holds at most {MOST_AUTHORITIES} authorities,"
                f" this one {len(authorities)}"
            )
        for authority in authorities:
            if not _is_authority(authority):
                raise ValueError(
                    f"{authority.subject.rfc4514_string()!r} in the trust bundle is no authority"
                )
        self.overlay_name = overlay_name
        self._authorities = tuple(authorities)
        self._revoked = frozenset(revoked)
        self._keys = dict(keys or {})

    def take(self, renewed: "Trust") -> None:
        """Believe what another one does, from now on and wherever this one is looked at."""
        self._authorities = renewed._authorities
        self._revoked = renewed._revoked
        self._keys = renewed._keys

    def rekeyed(self, renewed: "Trust") -> tuple[NodeId, ...]:
        """Return the peers for which another one believes another key than this one does."""
        return tuple(
            node for node, key_hash in renewed._keys.items() if self._keys.get(node) != key_hash
        )

    def host_of(self, node: NodeId) -> str:
        """Return the DNS name that a dialer compares: of the one key that counts, if it is told."""
        key_hash = self._keys.get(node)
        return peer_host(node) if key_hash is None else peer_host_of_key(node, key_hash)

    def identity_of(
        self, certificate: bytes, now: float, roles: Collection[Role] = tuple(Role)
    ) -> Identity:
        """Return whom a certificate (PEM or DER) proves at a time; IdentityError says why not."""
        parsed = read_certificate(certificate)
        with _reading():
            self._check_authority(parsed, now)
            _check_times(parsed, now, "the certificate")
            identity = _claimed_identity(parsed)
        if identity.overlay_name != self.overlay_name:
            raise IdentityError(
                Refusal.OTHER_OVERLAY,
                f"the certificate is for overlay {identity.overlay_name!r},"
                f" this is {self.overlay_name!r}",
            )
        if identity.role not in roles:
            raise IdentityError(
                Refusal.WRONG_ROLE,
                f"the certificate's role is {identity.role}, needed is {' or '.join(roles)}",
            )
        if identity.node_id in self._revoked:
            raise IdentityError(
                Refusal.REVOKED, f"Node-ID {identity.name} ({identity.uri}) is revoked"
            )
        wanted = self._keys.get(identity.node_id) if identity.node_id is not None else None
        if wanted is not None and wanted != key_hash_of(identity.public_key):
            raise IdentityError(
                Refusal.OTHER_KEY,
                f"Node-ID {identity.name} ({identity.uri}) has another key by now:"
                " this one is superseded",
            )
        return identity

    def peer_of(self, certificate: bytes, now: float, expected: NodeId | None = None) -> NodeId:
        """Return the Node-ID that a certificate proves, which must be the expected one."""
        found = self.identity_of(certificate, now, (Role.PEER,)).node_id
        assert found is not None
        if expected is not None and found != expected:
            raise IdentityError(
                Refusal.OTHER_NODE,
                f"the certificate is for Node-ID {found.hex()}, expected was {expected.hex()}",
            )
        return found

    def is_revoked(self, node: NodeId) -> bool:
        """Tell whether a peer's certificates count no more."""
        return node in self._revoked

    def _check_authority(self, certificate: x509.Certificate, now: float) -> None:
        for authority in self._authorities:
            try:
                certificate.verify_directly_issued_by(authority)
            except (*_UNREADABLE, TypeError, InvalidSignature):
                continue
            _check_times(authority, now, "the authority's certificate")
            return
        issuer = certificate.issuer.rfc4514_string()
        raise IdentityError(
            Refusal.UNKNOWN_AUTHORITY,
            f"the certificate was not signed by an authority of this overlay, but by {issuer!r}",
        )


@contextmanager
def _reading() -> Iterator[None]:
    """Make one error of the many that the library has for certificates it cannot read."""
    try:
        yield
    except IdentityError:
        raise
    except _UNREADABLE as error:
        raise IdentityError(
            Refusal.MALFORMED, f"the certificate cannot be used: {error}"
        ) from error


def _check_times(certificate: x509.Certificate, now: float, what: str) -> None:
    begins = certificate.not_valid_before_utc
    if now < begins.timestamp():
        raise IdentityError(
            Refusal.NOT_YET_VALID, f"{what} is valid from {begins.isoformat()}: check the clocks"
        )
    ends = certificate.not_valid_after_utc
    if now > ends.timestamp():
        raise IdentityError(Refusal.EXPIRED, f"{what} ended at {ends.isoformat()}: renew it")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


def _claimed_identity(certificate: x509.Certificate) -> Identity:
    if _is_authority(certificate):
        raise ValueError("it is an authority's, not one to be shown")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    ours = [uri for uri in uris if uri.startswith(URI_SCHEME)]
    if len(ours) != 1:
        raise ValueError(f"one {URI_SCHEME} URI is needed in it, and it has {len(ours)}")
    overlay_name, role, who = _parts(ours[0])
    node = node_id(who) if role is Role.PEER else None
    if node is not None and peer_host(node) not in names.get_values_for_type(x509.DNSName):
        raise ValueError(f"its URI names {who}, its DNS names do not")
    return Identity(
        overlay_name=overlay_name,
        role=role,
        name=_common_name(certificate) if node is not None else who,
        node_id=node,
        public_key=certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        ),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def _parts(uri: str) -> tuple[str, Role, str]:
    parts = uri.removeprefix(URI_SCHEME).split("/")
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{uri!r} is not {URI_SCHEME}OVERLAY/ROLE/WHO")
    overlay_name, role, who = parts
    if role not in tuple(Role):
        raise ValueError(f"{role!r} is none of the roles {', '.join(Role)}")
    return overlay_name, Role(role), who


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
