"""TLS contexts from PEM files: for peers of the overlay, and for phones.

Peers verify each other against the overlay's authorities; which names a certificate must hold is
judged by `security.certificates`, not by host name. A phone is never asked for a certificate
(sip: rule 21). No socket is opened here.
"""

import ssl
from collections.abc import Callable

from chordial_node.config import ConfigError, IdentityConfig

SIP_ALPN = "chordial-sip"
GRPC_ALPN = "h2"


def peer_client(identity: IdentityConfig, alpn: str) -> ssl.SSLContext:
    """Return the context of a peer that dials another one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the Node-ID in the certificate counts, and is compared later
    return _of_peers(context, identity, alpn)


def peer_server(identity: IdentityConfig, alpn: str) -> ssl.SSLContext:
    """Return the context of a peer that others dial: who shows no certificate is refused."""
    return _of_peers(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), identity, alpn)


def phone_server(sip_certificate: str, key: str = "") -> ssl.SSLContext:
    """Return the context of a TLS listener for phones; ConfigError says what is wrong.

    Without a path of its own the key lies in the file of the certificate.
    """
    if not sip_certificate:
        raise ConfigError(
            "identity.sip_certificate is empty, but a listener of transport tls needs it:"
            " name a PEM file with certificate and key"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(
        "the certificate for phones",
        sip_certificate,
        lambda: context.load_cert_chain(sip_certificate, key or None),
    )
    return context


def _of_peers(context: ssl.SSLContext, identity: IdentityConfig, alpn: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols([alpn])
    _load(
        "identity.certificate and identity.key",
        identity.certificate,
        lambda: context.load_cert_chain(identity.certificate, identity.key),
    )
    _load(
        "identity.trusted",
        identity.trusted,
        lambda: context.load_verify_locations(identity.trusted),
    )
    return context


def _load(field: str, path: str, load: Callable[[], None]) -> None:
    try:
        load()
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{field}: {path} cannot be used for TLS: {error}") from error
