"""The enrollment service over grpc.aio: every replica of the operator serves it.

TLS with the operator's own authority; the caller shows no certificate, its token is its credential.
Bounded in size, time and number. What a request deserves is decided by the desk; a token is never
logged, and neither is anything that it was answered with.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import grpc

from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.wire.control_codec import CodecError
from chordial_node.wire.enrollment_codec import METHOD, SERVICE, decode_request, encode_enrolled
from chordial_operator.enrollment.authority import AuthorityError, CaPair
from chordial_operator.enrollment.checks import EnrollmentRefusedError, Reason
from chordial_operator.enrollment.root import ServerIdentity
from chordial_operator.spec.manifest import InvalidSpecError

MOST_AT_ONCE = 16
MOST_WAITING = 512
ANSWER_SECONDS = 10.0
REFRESH_SECONDS = 600.0
LARGEST_MESSAGE = 65_536
STOP_SECONDS = 5.0
_OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.so_reuseport", 0),
    ("grpc.max_connection_age_ms", 300_000),
)
_CODES = {
    Reason.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_AUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.NO_NODE_ID: grpc.StatusCode.FAILED_PRECONDITION,
}
"""Of every other reason: PERMISSION_DENIED, which tells a peer not to hope."""

Answer = Callable[[EnrollmentRequest, str], Awaitable[Enrolled]]
Context = grpc.aio.ServicerContext[bytes, bytes]

log = logging.getLogger("chordial.enrollment")


class EnrollmentServer:
    """Listens for peers that want certificates."""

    def __init__(
        self,
        identity: ServerIdentity,
        answer: Answer,
        reload_root: Callable[[], Awaitable[CaPair]],
    ) -> None:
        """Take who the server is, what answers, and how its authority is read again."""
        self._identity = identity
        self._answer = answer
        self._reload_root = reload_root
        self._turn = asyncio.Semaphore(MOST_AT_ONCE)
        self._refreshing: asyncio.Task[None] | None = None
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MOST_WAITING)
        handler = grpc.unary_unary_rpc_method_handler(self._enroll)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
        )

    async def start(self, address: str) -> int:
        """Listen on `HOST:PORT` and return the port; RuntimeError when it is taken."""
        port = self._server.add_secure_port(address, self._identity.credentials())
        await self._server.start()
        self._refreshing = asyncio.create_task(self._refresh(), name="enrollment root")
        return port

    async def stop(self) -> None:
        """Answer what is being answered, and end."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        await self._server.stop(STOP_SECONDS)

    async def _enroll(self, data: bytes, context: Context) -> bytes:
        source = _host_of(context.peer())
        try:
            request = decode_request(data)
            async with asyncio.timeout(ANSWER_SECONDS), self._turn:
                return encode_enrolled(await self._answer(request, source))
        except CodecError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except EnrollmentRefusedError as error:
            code = _CODES.get(error.reason, grpc.StatusCode.PERMISSION_DENIED)
            await context.abort(code, str(error))
        except (AuthorityError, InvalidSpecError) as error:
            log.error("cannot sign for %s: %s", source, error)
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the overlay's authority or spec cannot be used: see the Overlay's conditions",
            )
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the API server did not answer in time: ask again"
            )
        except Exception as error:  # a peer asks again for ever: nothing may end this service
            log.exception("enrollment of %s failed: %s", source, type(error).__name__)
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the operator could not ask the API server: ask again"
            )

    async def _refresh(self) -> None:
        """Take up an authority that another replica has made, or make one in time."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                self._identity.take(await self._reload_root())
            except Exception as error:  # the one that is held still serves
                log.warning("the enrollment authority could not be read: %s", error)


def _host_of(peer: str) -> str:
    """Return the address in gRPC's word for a caller: `ipv4:192.0.2.1:4711`."""
    return peer.partition(":")[2].rpartition(":")[0] or peer
