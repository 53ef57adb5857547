"""Asks a peer from outside: the control service over mutual TLS.

The command and the operator use it. It knows questions and answers, not where peers are found.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import TypeVar, cast

import grpc

from chordial_node.boundary.control import Answer, Question, Refused
from chordial_node.boundary.events import Address
from chordial_node.ids import NodeId
from chordial_node.security.certificates import ANY_PEER_HOST, peer_host
from chordial_node.wire.control_codec import (
    REFUSED_METADATA,
    CodecError,
    decode_answer,
    decode_refused,
    encode,
    path_of,
)

ANSWER_SECONDS = 10.0
DRAIN_SECONDS = 780.0
"""A drain of ten minutes, and its last steps."""
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
)

A = TypeVar("A", bound=Answer)


class PeerUnreachableError(Exception):
    """Nobody answered, or not in time, or somebody who is no peer of this overlay."""


class RefusedError(Exception):
    """The peer answered that it will not, or cannot; `refused` says why."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason or refused.code)
        self.refused = refused


class PeerClient:
    """One peer's control service; used inside a running event loop, as a context or closed.

    `ask` hands back a refusal as an answer, `ask_for` raises RefusedError.
    """

    def __init__(
        self,
        target: Address,
        *,
        trusted: bytes,
        certificate: bytes,
        key: bytes,
        node: NodeId | None = None,
    ) -> None:
        """Take the overlay address, PEM of whom to believe and of what to show.

        With a Node-ID no other peer will do.
        """
        host, port = target
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        name = ANY_PEER_HOST if node is None else peer_host(node)
        self._channel = grpc.aio.secure_channel(
            self._target,
            grpc.ssl_channel_credentials(
                root_certificates=trusted, private_key=key, certificate_chain=certificate
            ),
            (*_OPTIONS, ("grpc.ssl_target_name_override", name)),
        )

    async def __aenter__(self) -> "PeerClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close(None)

    async def ask(self, question: Question, within: float = ANSWER_SECONDS) -> Answer:
        """Return the answer, which may be Refused; PeerUnreachableError says why there is none."""
        call = self._channel.unary_unary(path_of(question), None, None)
        try:
            try:
                data = await call(encode(question), timeout=within)
                return decode_answer(type(question), data)
            except grpc.aio.AioRpcError as error:
                refused = _refusal(error)
                if refused is not None:
                    return refused
                raise PeerUnreachableError(self._reason(error, within)) from error
        except CodecError as error:
            raise PeerUnreachableError(f"{self._target} is no peer of ours: {error}") from error

    async def ask_for(self, question: Question, kind: type[A], within: float = ANSWER_SECONDS) -> A:
        """Return the answer, which is of this kind; RefusedError when it is a refusal."""
        answer = await self.ask(question, within)
        if isinstance(answer, Refused):
            raise RefusedError(answer)
        assert isinstance(answer, kind), f"{type(question).__name__} is answered otherwise"
        return answer

    def _reason(self, error: grpc.aio.AioRpcError, within: float) -> str:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{self._target} did not answer within {within:g} s: is it overloaded?"
        details = error.details() or error.code().name.lower()
        if "CERTIFICATE" in details or "andshake" in details or "ostname" in details:
            return (
                f"{self._target} and we do not take each other's certificate ({details}):"
                " is it a peer of this overlay, and are both certificates still valid?"
            )
        if "refused" in details:
            return f"nobody listens at {self._target}: does the peer run?"
        return f"{self._target} cannot be reached: {details}"


def _refusal(error: grpc.aio.AioRpcError) -> Refused | None:
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata())
    held = dict(metadata).get(REFUSED_METADATA)
    return decode_refused(held) if isinstance(held, bytes) else None
