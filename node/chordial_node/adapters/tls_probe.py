"""Finds out who answers at an overlay address, and if nobody does, why: one TLS handshake.

gRPC's client shows Python neither the certificate of the other end nor the reason of a failure, so
a seed is asked here for its Node-ID before it is dialed by name, and a dial that failed is
explained. Nothing is sent but the handshake.
"""

import asyncio
import ssl
import time

from chordial_node.boundary.events import Address, LinkFailed, LinkFailure
from chordial_node.ids import NodeId
from chordial_node.security.certificates import IdentityError, Trust


class TlsProbe:
    """Shakes hands with overlay peers and leaves."""

    def __init__(self, context: ssl.SSLContext, trust: Trust) -> None:
        """Take a client's context that shows this peer's certificate and offers ALPN `h2`."""
        self._context = context
        self._trust = trust

    def renew(self, context: ssl.SSLContext) -> None:
        """Show another certificate from now on."""
        self._context = context

    async def __call__(self, link: int, address: Address) -> NodeId | LinkFailed:
        """Return the Node-ID that is proven at an address, or why the link cannot be opened."""
        try:
            return await self._shake_hands(address)
        except ConnectionRefusedError:
            return LinkFailed(link, LinkFailure.REFUSED, "nobody listens there")
        except IdentityError as error:
            return LinkFailed(link, LinkFailure.IDENTITY, str(error))
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not of this overlay: {error.verify_message}"
            return LinkFailed(link, LinkFailure.IDENTITY, reason)
        except ssl.SSLError as error:
            reason = f"the TLS handshake ended: {error.reason or error}"
            return LinkFailed(link, LinkFailure.UNREACHABLE, reason)
        except OSError as error:
            return LinkFailed(link, LinkFailure.UNREACHABLE, error.strerror or str(error))

    async def _shake_hands(self, address: Address) -> NodeId:
        reader, writer = await asyncio.open_connection(
            *address, ssl=self._context, server_hostname=""
        )
        try:
            tls = writer.get_extra_info("ssl_object")
            node = self._trust.peer_of(tls.getpeercert(binary_form=True), time.time())
            await reader.read(1)  # only now TLS 1.3 tells whether the peer takes our certificate
            return node
        finally:
            writer.transport.abort()
