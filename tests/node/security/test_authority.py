"""What the authority issues is judged by others too: OpenSSL's command and Python's TLS."""

import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from chordial_node.security.authority import (
    Authority,
    Term,
    certificate_request,
    make_private_key,
    public_key_of,
    requested_public_key,
)
from chordial_node.security.certificates import IdentityError, Refusal, Role, claims_of, peer_host
from tests.node.security.issued import (
    ALICE_NODE,
    BOB_NODE,
    NOW,
    OVERLAY,
    YEAR,
    make_authority,
    peer_certificate,
    trust_in,
)
from tests.programs import ProgramFinder


class OpenSsl:
    """Another's judgement of a certificate: `openssl verify`, as strict as it can be."""

    def __init__(self, program: Path, folder: Path, bundle: bytes) -> None:
        self._program = program
        self._folder = folder
        (folder / "bundle.pem").write_bytes(bundle)

    def verdict(self, certificate: bytes, *more: str, now: float = NOW) -> str:
        (self._folder / "shown.pem").write_bytes(certificate)
        command = [str(self._program), "verify", "-x509_strict", "-attime", str(int(now))]
        command += ["-CAfile", str(self._folder / "bundle.pem"), *more]
        done = subprocess.run(
            [*command, str(self._folder / "shown.pem")],
            capture_output=True,
            text=True,
            check=False,
        )
        return "OK" if done.returncode == 0 else done.stderr


@pytest.fixture
def authority() -> Authority:
    return make_authority()


@pytest.fixture
def openssl(require_program: ProgramFinder, tmp_path: Path, authority: Authority) -> OpenSsl:
    return OpenSsl(require_program("openssl", "openssl"), tmp_path, authority.certificate)


@pytest.mark.foreign
@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
def test_openssl_takes_a_peer_as_both_ends_of_a_link(
    openssl: OpenSsl, authority: Authority, purpose: str
) -> None:
    certificate = peer_certificate(authority)
    names = ["-purpose", purpose, "-verify_hostname"]
    assert openssl.verdict(certificate, *names, peer_host(ALICE_NODE)) == "OK"
    assert openssl.verdict(certificate, *names, "peer.invalid") == "OK"
    assert "mismatch" in openssl.verdict(certificate, *names, peer_host(BOB_NODE))


@pytest.mark.foreign
def test_openssl_refuses_what_we_refuse(openssl: OpenSsl, authority: Authority) -> None:
    certificate = peer_certificate(authority)
    assert "expired" in openssl.verdict(certificate, now=NOW + 86_500)
    assert "not yet valid" in openssl.verdict(certificate, now=NOW - 400)
    stranger = peer_certificate(make_authority())
    assert "unable to get local issuer" in openssl.verdict(stranger)


@pytest.mark.foreign
def test_openssl_takes_a_user_as_a_client_alone(openssl: OpenSsl, authority: Authority) -> None:
    key = public_key_of(make_private_key())
    certificate = authority.issue_user(key, Role.ADMIN, "admin", Term(NOW, 60.0, 3))
    assert openssl.verdict(certificate, "-purpose", "sslclient") == "OK"
    assert "purpose" in openssl.verdict(certificate, "-purpose", "sslserver")


@pytest.mark.foreign
@pytest.mark.parametrize(
    "name",
    [("-verify_hostname", OVERLAY), ("-verify_ip", "127.0.0.1"), ("-verify_ip", "::1")],
)
def test_openssl_takes_a_listener_by_domain_and_by_address(
    openssl: OpenSsl, authority: Authority, name: tuple[str, str]
) -> None:
    certificate = authority.issue_listener(
        public_key_of(make_private_key()), [OVERLAY], ["127.0.0.1", "::1"], Term(NOW, 60.0, 4)
    )
    assert openssl.verdict(certificate, "-purpose", "sslserver", *name) == "OK"


def test_rfc5922_a_listener_names_its_domain_as_a_sip_uri(authority: Authority) -> None:
    """RFC 5922 §7.1: a SIP domain stands in the certificate as a URI of scheme sip."""
    certificate = authority.issue_listener(
        public_key_of(make_private_key()), [OVERLAY], [], Term(NOW, 60.0, 4)
    )
    names = (
        x509.load_pem_x509_certificate(certificate)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"sip:{OVERLAY}"]


def test_mutual_tls_between_two_peers_shows_each_the_other(tmp_path: Path) -> None:
    now = ssl.cert_time_to_seconds("Jan  1 00:00:00 2026 GMT")
    authority = Authority.make(OVERLAY, Term(now, 100 * YEAR, 1))
    trust = trust_in(authority)
    contexts = []
    for node, side in ((ALICE_NODE, ssl.PROTOCOL_TLS_CLIENT), (BOB_NODE, ssl.PROTOCOL_TLS_SERVER)):
        key = make_private_key()
        chain = tmp_path / f"{node.hex()}.pem"
        certificate = peer_certificate(authority, node, now, 100 * YEAR, key)
        chain.write_bytes(certificate + key)
        context = ssl.SSLContext(side)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(chain)
        context.load_verify_locations(cadata=authority.certificate.decode())
        contexts.append(context)
    client, server = _shake_hands(contexts[0], contexts[1], peer_host(BOB_NODE))
    assert trust.peer_of(client.getpeercert(True) or b"", now) == BOB_NODE
    assert trust.peer_of(server.getpeercert(True) or b"", now) == ALICE_NODE


def _shake_hands(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext, host: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=host)
    server = server_context.wrap_bio(up, down, server_side=True)
    waiting = [client, server] * 4
    for side in waiting:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client, server


def test_renewal_keeps_key_and_identity_and_moves_the_end(authority: Authority) -> None:
    old = peer_certificate(authority)
    later = NOW + 80_000
    new = authority.renew(old, trust_in(authority), Term(later, 86_400.0, 5))
    assert claims_of(new).public_key == claims_of(old).public_key
    assert claims_of(new).uri == claims_of(old).uri
    assert claims_of(new).name == "p1"
    assert claims_of(new).not_after == later + 86_400


def test_a_new_authority_renews_what_the_old_one_issued(authority: Authority) -> None:
    new = make_authority(serial=7)
    both = trust_in(authority, new)
    renewed = new.renew(peer_certificate(authority), both, Term(NOW, 86_400.0, 8))
    assert trust_in(new).peer_of(renewed, NOW) == ALICE_NODE


def test_what_counts_no_more_is_not_renewed(authority: Authority) -> None:
    old = peer_certificate(authority)
    with pytest.raises(IdentityError, match="renew it"):
        authority.renew(old, trust_in(authority), Term(NOW + 90_000, 86_400.0, 5))
    with pytest.raises(IdentityError, match="revoked"):
        authority.renew(old, trust_in(authority, revoked=(ALICE_NODE,)), Term(NOW, 86_400.0, 5))


def test_an_authority_is_taken_up_again_from_its_files(authority: Authority) -> None:
    again = Authority(OVERLAY, authority.certificate, authority.private_key)
    assert trust_in(authority).peer_of(peer_certificate(again), NOW) == ALICE_NODE


def test_an_authority_with_a_strange_key_is_refused(authority: Authority) -> None:
    with pytest.raises(ValueError, match="not the key of its certificate"):
        Authority(OVERLAY, authority.certificate, make_private_key())


def test_a_request_proves_its_key() -> None:
    key = make_private_key()
    assert requested_public_key(certificate_request(key)) == public_key_of(key)


def test_a_request_that_its_key_did_not_sign_is_refused() -> None:
    request = x509.load_pem_x509_csr(certificate_request(make_private_key()))
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(IdentityError, match="not signed with its own key"):
        requested_public_key(forged)


@pytest.mark.parametrize("rubbish", [b"", b"-----BEGIN CERTIFICATE REQUEST-----"])
def test_rubbish_is_no_request(rubbish: bytes) -> None:
    with pytest.raises(IdentityError, match="no certificate request"):
        requested_public_key(rubbish)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_keys_of_another_kind_are_refused(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        request = builder.sign(key, None)
    else:
        request = builder.sign(key, hashes.SHA256())
    with pytest.raises(IdentityError, match="P-256") as caught:
        requested_public_key(request.public_bytes(serialization.Encoding.PEM))
    assert caught.value.refusal is Refusal.MALFORMED


def test_a_server_that_is_no_peer_is_named_by_its_hosts_alone(authority: Authority) -> None:
    hosts = ["chordial.system.svc", "chordial.system.svc.cluster.local"]
    shown = authority.issue_server(public_key_of(make_private_key()), hosts, Term(NOW, YEAR, 7))
    names = x509.load_pem_x509_certificate(shown).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == hosts
    with pytest.raises(IdentityError):
        claims_of(shown)
    with pytest.raises(ValueError, match="host name"):
        authority.issue_server(public_key_of(make_private_key()), [], Term(NOW, YEAR, 7))
