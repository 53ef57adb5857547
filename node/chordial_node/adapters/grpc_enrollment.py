"""Asks the operator for a certificate: TLS to the enrollment authority, one question (fleet 2.2).

A refusal is a gRPC status with a sentence. PERMISSION_DENIED says that the same token will not do;
the next one may, because the kubelet writes a new one in time. Who may believe the answer is not
decided here.
"""

import asyncio
import socket

import grpc

from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.config import Endpoint
from chordial_node.wire.control_codec import CodecError
from chordial_node.wire.enrollment_codec import PATH, decode_enrolled, encode_request

ANSWER_SECONDS = 10.0
_MARGIN_SECONDS = 1.0
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a new question is a new connection, to any replica
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
)


class EnrollmentError(Exception):
    """There is no certificate this time; the message says why."""

    def __init__(self, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal
        """The authority has looked at the token and does not take it."""


async def enroll(
    address: Endpoint,
    trusted: bytes,
    request: EnrollmentRequest,
    seconds: float = ANSWER_SECONDS,
) -> Enrolled:
    """Return what the authority answers; EnrollmentError says why there is no certificate."""
    try:
        async with asyncio.timeout(seconds + _MARGIN_SECONDS):
            return await _ask(address, trusted, request, seconds)
    except TimeoutError as error:  # of the resolver: gRPC tells its own otherwise
        raise EnrollmentError(f"{address} did not answer within {seconds:g} s") from error


async def _ask(
    address: Endpoint, trusted: bytes, request: EnrollmentRequest, seconds: float
) -> Enrolled:
    credentials = grpc.ssl_channel_credentials(root_certificates=trusted)
    options = (*_OPTIONS, ("grpc.ssl_target_name_override", address.host))
    channel = grpc.aio.secure_channel(await _target(address), credentials, options)
    try:
        ask = channel.unary_unary(
            PATH, request_serializer=encode_request, response_deserializer=bytes
        )
        return decode_enrolled(await ask(request, timeout=seconds))
    except grpc.aio.AioRpcError as error:
        told = error.details() or error.code().name.lower()
        if error.code() is grpc.StatusCode.PERMISSION_DENIED:
            raise EnrollmentError(f"the operator refuses: {told}", is_refusal=True) from error
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            told = f"{address} does not answer: {told}"
        raise EnrollmentError(told) from error
    except CodecError as error:
        raise EnrollmentError(str(error)) from error
    finally:
        await channel.close(None)


async def _target(address: Endpoint) -> str:
    """Return all addresses of one family: the system's resolver says why there are none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            *address.address, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise EnrollmentError(f"{address.host} cannot be resolved: {error}") from error
    family = found[0][0]
    ends = [str(Endpoint(str(each[0]), address.port)) for kind, *_, each in found if kind == family]
    return f"ipv{6 if family == socket.AF_INET6 else 4}:{','.join(dict.fromkeys(ends))}"
