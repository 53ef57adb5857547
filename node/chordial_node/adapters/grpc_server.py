"""The one port of the overlay: a grpc.aio server under mutual TLS, for links and control service.

Services register before it starts. A caller without a certificate of a trusted authority does not
get past the handshake; whom the certificate names is for the services to judge.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from typing import cast

import grpc

from chordial_node.config import Endpoint
from chordial_node.security.certificates import TlsCredentials

LARGEST_FRAME = 4 << 20
MOST_CALLS = 4_096
"""Streams and questions open at one time; more are refused by gRPC itself."""
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", LARGEST_FRAME + 1_024),
    ("grpc.max_send_message_length", LARGEST_FRAME + 1_024),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.server_handshake_timeout_ms", 5_000),
)


class GrpcServer:
    """A server that services are added to, then started once."""

    def __init__(self, credentials: TlsCredentials) -> None:
        """Make the server; it belongs to the running event loop."""
        self._shown = credentials
        self._ports: list[_Port] = []
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)

    def renew(self, credentials: TlsCredentials) -> None:
        """Show another certificate, and believe others, on connections from now on."""
        self._shown = credentials
        for port in self._ports:
            port.renew(credentials)

    def add(self, service: "grpc.GenericRpcHandler[bytes, bytes]") -> None:
        """Serve this one too; before the start."""
        self._server.add_generic_rpc_handlers((service,))

    async def start(self, bind: Endpoint, also: Sequence[Endpoint] = ()) -> int:
        """Listen, also elsewhere, and return the first port; OSError says why that cannot be."""
        first = self._listen(bind)
        for each in also:
            self._listen(each)
        await self._server.start()
        return first

    def _listen(self, bind: Endpoint) -> int:
        with socket.create_server(
            bind.address, family=socket.AF_INET6 if ":" in bind.host else socket.AF_INET
        ):
            pass  # gRPC does not tell why it cannot bind; a plain socket does
        port = _Port(self._shown)
        self._ports.append(port)
        try:
            return int(self._server.add_secure_port(str(bind), port.credentials))
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, f"gRPC cannot listen: {error}") from error

    async def stop(self, grace_seconds: float) -> None:
        """Take no more calls, and end those that run after a grace period."""
        await self._server.stop(grace_seconds)


class _Port:
    """The certificate that one port shows; each port asks for a renewed one by itself."""

    def __init__(self, credentials: TlsCredentials) -> None:
        self._renewed: grpc.ServerCertificateConfiguration | None = None
        take = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._take_renewed)
        self.credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(credentials), take, require_client_authentication=True
        )

    def renew(self, credentials: TlsCredentials) -> None:
        self._renewed = _configuration(credentials)

    def _take_renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC's own threads before each handshake; None: nothing has changed."""
        renewed, self._renewed = self._renewed, None
        return renewed


def _configuration(credentials: TlsCredentials) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(credentials.private_key, credentials.certificate)],
        root_certificates=credentials.authorities,
    )
