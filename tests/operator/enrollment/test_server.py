"""Enrollment over real gRPC and TLS in this process: what a peer sees."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from chordial_node.adapters.grpc_enrollment import EnrollmentError, enroll
from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.config import Endpoint
from chordial_node.ids import node_id
from chordial_node.security.certificates import claims_of
from chordial_node.wire.enrollment_codec import PATH, decode_enrolled, encode_request
from chordial_operator.cluster.errors import UnreachableError
from chordial_operator.cluster.kinds import Ref
from chordial_operator.enrollment.root import ServerIdentity, open_root
from chordial_operator.enrollment.server import LARGEST_MESSAGE, Answer, EnrollmentServer
from chordial_operator.spec.manifest import Manifest
from tests.node.adapters.overlay_rig import on_a_loop
from tests.operator.enrollment.api_in_memory import ApiInMemory
from tests.operator.enrollment.objects_made import NODE_ID
from tests.operator.enrollment.requests_made import desk_at, living_peer, new_key, request_of

HOST = "chordial.system.svc"


class Caller:
    """A peer that asks over gRPC."""

    def __init__(self, port: int, root: bytes) -> None:
        self.port = port
        self.root = root

    async def send(self, data: bytes, root: bytes = b"", host: str = HOST) -> bytes:
        credentials = grpc.ssl_channel_credentials(root_certificates=root or self.root)
        options = (("grpc.ssl_target_name_override", host),)
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}", credentials, options
        ) as channel:
            call = channel.unary_unary(PATH, None, None)
            answer: bytes = await call(data, timeout=10)
            return answer

    async def enroll(self, request: EnrollmentRequest) -> Enrolled:
        return decode_enrolled(await self.send(encode_request(request)))

    async def status_of(self, request: EnrollmentRequest) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.enroll(request)
        return refused.value.code(), refused.value.details() or ""


@asynccontextmanager
async def serving(answer: Answer, host: str = HOST) -> AsyncIterator[Caller]:
    api = ApiInMemory()
    root = await open_root(api, "system", now=time.time())
    identity = ServerIdentity(root, [host])
    server = EnrollmentServer(identity, answer, lambda: open_root(api, "system", now=time.time()))
    port = await server.start("127.0.0.1:0")
    try:
        yield Caller(port, root.certificate)
    finally:
        await server.stop()


@on_a_loop
async def test_a_peer_is_enrolled_over_tls() -> None:
    async with serving(desk_at(living_peer()).enroll) as peer:
        enrolled = await peer.enroll(request_of(new_key()))
        assert claims_of(enrolled.certificate).node_id == node_id(NODE_ID)
        assert enrolled.failure_domain == "a/worker-1"


@on_a_loop
async def test_who_believes_another_authority_or_dials_another_name_is_not_served() -> None:
    other = await open_root(ApiInMemory(), "system", now=time.time())
    async with serving(desk_at(living_peer()).enroll) as peer:
        data = encode_request(request_of(new_key()))
        for root, host in ((other.certificate, HOST), (b"", "elsewhere.system.svc")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await peer.send(data, root, host)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@on_a_loop
async def test_a_refusal_says_whether_there_is_hope() -> None:
    api = living_peer()
    async with serving(desk_at(api).enroll) as peer:
        code, why = await peer.status_of(request_of(new_key(), token="forged"))
        assert (code, "read it again" in why) == (grpc.StatusCode.UNAUTHENTICATED, True)
        code, why = await peer.status_of(request_of(new_key(), request=b"?"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        del api.objects[Ref("Pod", "phones", "edge-0-0")]
        code, why = await peer.status_of(request_of(new_key()))
        assert (code, why) == (grpc.StatusCode.PERMISSION_DENIED, "pod phones/edge-0-0 is gone")


@on_a_loop
async def test_what_is_no_message_or_too_long_is_refused() -> None:
    async with serving(desk_at(living_peer()).enroll) as peer:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await peer.send(b"\xff\xff")
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await peer.send(bytes(LARGEST_MESSAGE + 1))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@on_a_loop
async def test_an_api_server_that_is_away_is_worth_another_try() -> None:
    class Away(ApiInMemory):
        async def review_token(self, token: str, audience: str) -> Manifest:
            raise UnreachableError("connection refused by 10.96.0.1")

    async with serving(desk_at(Away()).enroll) as peer:
        code, why = await peer.status_of(request_of(new_key()))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "10.96.0.1" not in why


@on_a_loop
async def test_an_overlay_whose_authority_is_broken_says_where_to_look() -> None:
    api = living_peer()
    api.put("Secret", {
        "kind": "Secret", "metadata": {"name": "ca-phones-voice", "namespace": "system"},
    })  # fmt: skip
    async with serving(desk_at(api).enroll) as peer:
        code, why = await peer.status_of(request_of(new_key()))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "Overlay's conditions" in why


@on_a_loop
async def test_a_nodes_own_client_is_served_and_told_when_not_to_hope() -> None:
    api = living_peer()
    async with serving(desk_at(api).enroll, "localhost") as peer:
        address = Endpoint("localhost", peer.port)
        enrolled = await enroll(address, peer.root, request_of(new_key()))
        assert claims_of(enrolled.certificate).node_id == node_id(NODE_ID)
        with pytest.raises(EnrollmentError, match="another key already") as refused:
            await enroll(address, peer.root, request_of(new_key()))
        assert refused.value.is_refusal
        with pytest.raises(EnrollmentError, match="read it again") as refused:
            await enroll(address, peer.root, request_of(new_key(), token="forged"))
        assert not refused.value.is_refusal
