"""The question to the operator: answered, refused, and all that keeps it from an answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from chordial_node.adapters.grpc_enrollment import EnrollmentError, enroll
from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.config import Endpoint
from chordial_node.security.authority import Authority, Term, make_private_key, public_key_of
from chordial_node.wire.enrollment_codec import METHOD, SERVICE, decode_request, encode_enrolled
from tests.node.adapters.overlay_rig import on_both_loops

REQUEST = EnrollmentRequest("test", "token", b"request")
ENROLLED = Enrolled(b"certificate", b"trusted", b"keys", "zone-a", b"configuration")
Context = grpc.aio.ServicerContext[bytes, bytes]


def authority(serial: int) -> Authority:
    return Authority.make("enrollment", Term(time.time(), 3_600.0, serial))


@asynccontextmanager
async def operator(root: Authority, answer: bytes = b"", refusal: str = "") -> AsyncIterator[int]:
    """Serve one authority's enrollment and give its port."""

    async def serve(data: bytes, context: Context) -> bytes:
        assert decode_request(data) == REQUEST
        if refusal:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refusal)
        return answer or encode_enrolled(ENROLLED)

    key = make_private_key()
    shown = root.issue_server(public_key_of(key), ["localhost"], Term(time.time(), 60.0, 9))
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(serve)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, shown)]))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def told(port: int, root: Authority, host: str = "localhost") -> EnrollmentError:
    with pytest.raises(EnrollmentError) as caught:
        await enroll(Endpoint(host, port), root.certificate, REQUEST, 2.0)
    return caught.value


@on_both_loops
async def test_an_answer_is_given_as_it_came() -> None:
    root = authority(1)
    async with operator(root) as port:
        found = await enroll(Endpoint("localhost", port), root.certificate, REQUEST)
    assert found == ENROLLED


@on_both_loops
async def test_a_refusal_is_told_as_one_with_its_sentence() -> None:
    root = authority(1)
    async with operator(root, refusal="the pod is gone") as port:
        error = await told(port, root)
    assert (str(error), error.is_refusal) == ("the operator refuses: the pod is gone", True)


@on_both_loops
async def test_who_shows_another_authority_gets_no_token() -> None:
    async with operator(authority(1)) as port:
        error = await told(port, authority(2))
    assert "does not answer" in str(error)
    assert not error.is_refusal


@on_both_loops
async def test_nonsense_silence_and_an_unknown_name_are_no_certificate() -> None:
    root = authority(1)
    async with operator(root, answer=b"\xff") as port:
        assert "no enrollment answer" in str(await told(port, root))
    assert "does not answer" in str(await told(port, root))
    assert "nobody.invalid cannot be resolved" in str(await told(port, root, "nobody.invalid"))

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    error = await told(server.sockets[0].getsockname()[1], root)
    assert "Deadline Exceeded" in str(error) or "does not answer" in str(error)
    gone.set()
    server.close()
    await server.wait_closed()
