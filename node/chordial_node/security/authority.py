"""A certificate authority: makes itself, issues and renews certificates of one overlay.

`chordial up` has one in its state folder; on Kubernetes the operator's enrollment is one. Keys are
ECDSA P-256, the one kind that gRPC's BoringSSL and Python's OpenSSL both take for mutual TLS.
The time and the serial number are arguments; only key material is drawn here, by the library
that guards it. Nothing here writes a file or decides who deserves a certificate.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import CertificateBuilder
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chordial_node.ids import NodeId
from chordial_node.security.certificates import (
    ANY_PEER_HOST,
    IdentityError,
    Refusal,
    Role,
    Trust,
    identity_uri,
    key_hash_of,
    peer_host,
    peer_host_of_key,
    read_certificate,
)

CLOCK_ALLOWANCE_SECONDS = 300.0
"""Certificates begin this long ago, for machines whose clocks run behind."""
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The last moment that X.509 can write (RFC 5280 §4.1.2.5)."""


class Term(msgspec.Struct, frozen=True):
    """When a certificate is issued, for how long, and under which number."""

    now: float
    """Seconds since 1970."""
    lifetime_seconds: float
    serial: int
    """Drawn at random by the caller, 64 to 159 bits; never used twice (RFC 5280 §4.1.2.2)."""


def make_private_key() -> bytes:
    """Draw a P-256 key; PKCS #8, PEM, not encrypted: whoever writes it guards it."""
    return _private_pem(ec.generate_private_key(ec.SECP256R1()))


def public_key_of(private_key: bytes) -> bytes:
    """Return the public key (SubjectPublicKeyInfo, DER) of a private one (PEM)."""
    return _public_der(_load_private(private_key).public_key())


def certificate_request(private_key: bytes) -> bytes:
    """Return a PKCS #10 request, PEM: it proves possession of the key and asks for no name."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.sign(_load_private(private_key), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def requested_public_key(request: bytes) -> bytes:
    """Return the public key whose possession a request (PEM) proves; IdentityError says why not."""
    try:
        parsed = x509.load_pem_x509_csr(request)
        valid = parsed.is_signature_valid
    except ValueError as error:
        raise IdentityError(Refusal.MALFORMED, "this is no certificate request") from error
    if not valid:
        raise IdentityError(Refusal.MALFORMED, "the request is not signed with its own key")
    return _public_der(_p256(parsed.public_key()))


class Authority:
    """One authority of one overlay: its own certificate, and the key that signs others."""

    __slots__ = ("_certificate", "_key", "overlay_name")

    def __init__(self, overlay_name: str, certificate: bytes, private_key: bytes) -> None:
        """Take up an authority from its PEM files; ValueError says when they do not belong."""
        self.overlay_name = overlay_name
        self._certificate = read_certificate(certificate)
        self._key = _load_private(private_key)
        if self._certificate.public_key() != self._key.public_key():
            raise ValueError("the authority's key is not the key of its certificate")

    @classmethod
    def make(cls, overlay_name: str, term: Term) -> "Authority":
        """Make a new authority, which signs itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        mark = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, overlay_name),
                x509.NameAttribute(
                    NameOID.COMMON_NAME, f"chordial authority {mark.digest[:4].hex()}"
                ),
            ]
        )
        builder = (
            _dated(term)
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(mark, critical=False)
        )
        certificate = builder.sign(key, hashes.SHA256())
        return cls(
            overlay_name,
            certificate.public_bytes(serialization.Encoding.PEM),
            _private_pem(key),
        )

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate, PEM: what a trust bundle is made of."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def not_before(self) -> float:
        """When the authority began, in seconds since 1970."""
        return self._certificate.not_valid_before_utc.timestamp()

    @property
    def not_after(self) -> float:
        """When the authority ends, in seconds since 1970."""
        return self._certificate.not_valid_after_utc.timestamp()

    @property
    def private_key(self) -> bytes:
        """The authority's key, PEM, not encrypted: whoever writes it guards it."""
        return _private_pem(self._key)

    def issue_peer(self, public_key: bytes, node: NodeId, name: str, term: Term) -> bytes:
        """Issue a peer's certificate (PEM) for a public key (DER): both ends of a link, and SIP."""
        return self._issue(public_key, Role.PEER, name, node, term)

    def issue_user(self, public_key: bytes, role: Role, name: str, term: Term) -> bytes:
        """Issue the certificate (PEM) of an operator, admin or client of the control service."""
        return self._issue(public_key, role, name, None, term)

    def renew(self, certificate: bytes, trust: Trust, term: Term) -> bytes:
        """Issue a certificate again for the same key and identity, while the old one counts."""
        old = trust.identity_of(certificate, term.now)
        return self._issue(old.public_key, old.role, old.name, old.node_id, term)

    def issue_listener(
        self,
        public_key: bytes,
        domains: Sequence[str],
        addresses: Sequence[str],
        term: Term,
    ) -> bytes:
        """Issue the certificate (PEM) that a SIP listener shows to phones (RFC 5922 §7.1)."""
        if not domains:
            raise ValueError("a listener's certificate needs a domain")
        names: list[x509.GeneralName] = [x509.DNSName(domain) for domain in domains]
        names += [x509.UniformResourceIdentifier(f"sip:{domain}") for domain in domains]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH]
        return self._sign(public_key, domains[0], names, usages, term)

    def issue_server(self, public_key: bytes, hosts: Sequence[str], term: Term) -> bytes:
        """Issue the certificate (PEM) of a server that is no peer, for the names it answers to."""
        if not hosts:
            raise ValueError("a server's certificate needs a host name")
        names = [x509.DNSName(host) for host in hosts]
        return self._sign(public_key, hosts[0], names, [ExtendedKeyUsageOID.SERVER_AUTH], term)

    def _issue(
        self,
        public_key: bytes,
        role: Role,
        name: str,
        node: NodeId | None,
        term: Term,
    ) -> bytes:
        uri = identity_uri(self.overlay_name, role, name, node)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if node is not None:
            of_key = peer_host_of_key(node, key_hash_of(public_key))
            names += [x509.DNSName(each) for each in (peer_host(node), ANY_PEER_HOST, of_key)]
            usages += [ExtendedKeyUsageOID.SERVER_AUTH]
        return self._sign(public_key, name, names, usages, term)

    def _sign(
        self,
        public_key: bytes,
        common_name: str,
        names: Sequence[x509.GeneralName],
        usages: Sequence[x509.ObjectIdentifier],
        term: Term,
    ) -> bytes:
        key = _p256(serialization.load_der_public_key(public_key))
        issuer_key = self._key.public_key()
        builder = (
            _dated(term, self._certificate.not_valid_after_utc)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
            )
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def _dated(term: Term, latest: datetime = LATEST) -> CertificateBuilder:
    begins = datetime.fromtimestamp(int(term.now - CLOCK_ALLOWANCE_SECONDS), UTC)
    ends = datetime.fromtimestamp(int(term.now + term.lifetime_seconds), UTC)
    builder = CertificateBuilder().serial_number(term.serial)
    return builder.not_valid_before(begins).not_valid_after(min(ends, latest))


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise IdentityError(Refusal.MALFORMED, "keys of this overlay are ECDSA P-256")


def _load_private(private_key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(private_key, None)
    except TypeError as error:
        raise ValueError("the key is encrypted: give it without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("keys of this overlay are ECDSA P-256")
    return key


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public_der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
