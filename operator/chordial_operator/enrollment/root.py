"""Who the enrollment server is: an authority of the operator's own, and its certificate by Service.

Peers cannot know an overlay's authority before they have enrolled, so they get this root with the
overlay's ConfigMap. The Secret is made once; the server's certificate is made in memory and changed
while serving. When the authority is old another takes its place: peers that ask while their
ConfigMap lags are refused by their own TLS, and ask again.
"""

import os
import time
from collections.abc import Callable, Sequence

import grpc

from chordial_node.security.authority import Authority, Term, make_private_key, public_key_of
from chordial_operator.cluster.errors import ConflictError, NotFoundError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.api import AuthorityCluster
from chordial_operator.enrollment.authority import (
    AuthorityError,
    CaPair,
    Draw,
    draw_serial,
    make_ca,
)
from chordial_operator.enrollment.authority_secret import decode_data, encode_data, read_own_ca
from chordial_operator.names import (
    APPLICATION,
    COMPONENT_LABEL,
    ENROLLMENT_SECRET,
    FIELD_MANAGER,
    MANAGED_BY_LABEL,
    NAME_LABEL,
)
from chordial_operator.spec.manifest import Manifest, meta_of

NAME = "chordial-enrollment"
LIFE_SECONDS = 10 * 365 * 86_400.0
REPLACED_AT = 0.8
SERVER_SECONDS = 30 * 86_400.0
RENEWED_AT = 1 / 3


async def open_root(
    cluster: AuthorityCluster, namespace: str, *, draw: Draw = os.urandom, now: float
) -> CaPair:
    """Return the enrollment server's authority, made if there is none or it is old."""
    ref = Ref("Secret", namespace, ENROLLMENT_SECRET)
    try:
        found = await cluster.get(ref)
    except NotFoundError:
        try:
            found = await cluster.create(_secret(namespace, make_ca(NAME, LIFE_SECONDS, draw, now)))
        except ConflictError:
            found = await cluster.get(ref)
    pair = _read(namespace, found, now)
    if pair is not None:
        return pair
    made = _secret(namespace, make_ca(NAME, LIFE_SECONDS, draw, now))
    made["metadata"]["resourceVersion"] = meta_of(found).resource_version
    try:
        found = await cluster.replace(made)
    except ConflictError:
        found = await cluster.get(ref)
    following = _read(namespace, found, now)
    if following is None:
        raise AuthorityError(
            f"Secret {namespace}/{ENROLLMENT_SECRET} is old again: check the clock"
        )
    return following


class ServerIdentity:
    """The certificate of the enrollment server, made anew before it gets old."""

    def __init__(
        self,
        root: CaPair,
        hosts: Sequence[str],
        *,
        draw: Draw = os.urandom,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the authority and the names by which peers dial the Service."""
        self._authority = Authority(NAME, root.certificate, root.private_key)
        self._hosts = tuple(hosts)
        self._draw = draw
        self._clock = clock
        self._due = 0.0
        self._current = self._make()

    @property
    def root(self) -> bytes:
        """The authority's certificate, PEM: what peers are given to believe."""
        return self._authority.certificate

    def take(self, root: CaPair) -> None:
        """Change over to another authority if it is another one."""
        if root.certificate != self._authority.certificate:
            self._authority = Authority(NAME, root.certificate, root.private_key)
            self._current = self._make()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a server listens with: the certificate is looked up for each handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._configuration, require_client_authentication=False
        )

    def shown(self) -> bytes:
        """Return the certificate that the next caller is shown, PEM."""
        return self._present()[1]

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        private_key, certificate = self._present()
        return grpc.ssl_server_certificate_configuration([(private_key, certificate)])

    def _present(self) -> tuple[bytes, bytes]:
        """Called on gRPC's threads too: whole values are read and exchanged."""
        if self._clock() > self._due:
            self._current = self._make()
        return self._current

    def _make(self) -> tuple[bytes, bytes]:
        now = self._clock()
        private_key = make_private_key()
        term = Term(now, SERVER_SECONDS, draw_serial(self._draw))
        certificate = self._authority.issue_server(public_key_of(private_key), self._hosts, term)
        self._due = now + RENEWED_AT * SERVER_SECONDS
        return private_key, certificate


def _read(namespace: str, secret: Manifest, now: float) -> CaPair | None:
    """Return the authority in a Secret, or None when its time is over."""
    try:
        authority = Authority(NAME, *_pair_in(secret))
    except ValueError as error:  # AuthorityError is one
        raise AuthorityError(
            f"Secret {namespace}/{ENROLLMENT_SECRET}: {error}: delete it, and another is made"
        ) from error
    if now > authority.not_before + REPLACED_AT * (authority.not_after - authority.not_before):
        return None
    return read_own_ca(secret, NAME, now)


def _pair_in(secret: Manifest) -> tuple[bytes, bytes]:
    files = decode_data(secret)
    return files.get("tls.crt", b""), files.get("tls.key", b"")


def _secret(namespace: str, pair: CaPair) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": ENROLLMENT_SECRET,
            "namespace": namespace,
            "labels": {
                NAME_LABEL: APPLICATION,
                COMPONENT_LABEL: "enrollment",
                MANAGED_BY_LABEL: FIELD_MANAGER,
            },
        },
        "data": encode_data({"tls.crt": pair.certificate, "tls.key": pair.private_key}),
    }
