"""The control service over grpc.aio: a question in, one answer or a refusal out.

The certificate's role says who may ask what. What a question means is the core's affair.
"""

import time
from collections.abc import Awaitable, Callable

import grpc

from chordial_node.boundary import control
from chordial_node.boundary.control import ANSWERS, Answer, Question, Refused
from chordial_node.security.certificates import IdentityError, Role, Trust
from chordial_node.wire.control_codec import (
    METHODS,
    REFUSED_METADATA,
    SERVICE,
    CodecError,
    decode_question,
    encode,
)

TRUSTED_ROLES = (Role.ADMIN, Role.OPERATOR, Role.PEER)
OPEN_TO_CLIENTS = (control.Put, control.Get, control.Remove, control.Lookup)
"""What a client of the open service may ask; everything else takes one of the roles above."""

_STATUS = {
    "busy": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "forbidden": grpc.StatusCode.PERMISSION_DENIED,
    "invalid_message": grpc.StatusCode.INVALID_ARGUMENT,
    "not_found": grpc.StatusCode.NOT_FOUND,
    "request_timeout": grpc.StatusCode.DEADLINE_EXCEEDED,
    "stopped": grpc.StatusCode.UNAVAILABLE,
}

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcControl:
    """Serves the control service of one peer."""

    def __init__(
        self,
        trust: Trust,
        ask: Callable[[Question], Awaitable[Answer]],
        refused: Callable[[str, str, str], None],
    ) -> None:
        """Take what judges callers, what answers, and whom to tell of a refusal and its reason."""
        self._trust = trust
        self._ask = ask
        self._refused = refused

    def service(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Return the handlers to be added to a server."""
        methods = {
            name: grpc.unary_unary_rpc_method_handler(self._method(question))
            for name, question in METHODS.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _method(self, kind: type[Question]) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def answer(data: bytes, context: Context) -> bytes:
            await self._admit(kind, context)
            try:
                question = decode_question(kind, data)
            except CodecError as error:
                return await self._refuse(Refused("invalid_message", str(error)), context)
            found = await self._ask(question)
            if isinstance(found, Refused):
                return await self._refuse(found, context)
            assert isinstance(found, ANSWERS[kind]), f"{kind.__name__} got {type(found).__name__}"
            return encode(found)

        return answer

    async def _admit(self, kind: type[Question], context: Context) -> None:
        roles = tuple(Role) if kind in OPEN_TO_CLIENTS else TRUSTED_ROLES
        shown = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        try:
            self._trust.identity_of(shown, time.time(), roles)
        except IdentityError as error:
            self._refused(error.refusal, str(error), context.peer())
            await self._refuse(Refused("forbidden", str(error)), context)

    async def _refuse(self, refused: Refused, context: Context) -> bytes:
        code = _STATUS.get(refused.code, grpc.StatusCode.FAILED_PRECONDITION)
        metadata = ((REFUSED_METADATA, encode(refused)),)
        await context.abort(code, refused.reason, metadata)
