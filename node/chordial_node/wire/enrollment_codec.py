"""Enrollment ↔ the messages of `enrollment.proto`. What they mean is not known here."""

from google.protobuf.message import DecodeError

from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.wire import enrollment_pb2 as pb
from chordial_node.wire.control_codec import CodecError

SERVICE = "chordial.enrollment.v1.Enrollment"
METHOD = "Enroll"
PATH = f"/{SERVICE}/{METHOD}"


def encode_request(request: EnrollmentRequest) -> bytes:
    """Return the bytes of a request."""
    message = pb.EnrollRequest(
        overlay_name=request.overlay_name,
        token=request.token,
        request=request.request,
        listener_request=request.listener_request,
        superseded=request.is_superseded,
    )
    return message.SerializeToString()


def decode_request(data: bytes) -> EnrollmentRequest:
    """Return a request from its bytes; CodecError when they are none."""
    try:
        message = pb.EnrollRequest.FromString(data)
    except DecodeError as error:
        raise CodecError(f"this is no enrollment request: {error}") from error
    return EnrollmentRequest(
        message.overlay_name,
        message.token,
        message.request,
        message.listener_request,
        message.superseded,
    )


def encode_enrolled(enrolled: Enrolled) -> bytes:
    """Return the bytes of an answer."""
    message = pb.EnrollAnswer(
        certificate=enrolled.certificate,
        trusted=enrolled.trusted,
        overlay_keys=enrolled.overlay_keys,
        failure_domain=enrolled.failure_domain,
        configuration=enrolled.configuration,
        listener_certificate=enrolled.listener_certificate,
    )
    return message.SerializeToString()


def decode_enrolled(data: bytes) -> Enrolled:
    """Return an answer from its bytes; CodecError when they are none."""
    try:
        message = pb.EnrollAnswer.FromString(data)
    except DecodeError as error:
        raise CodecError(f"this is no enrollment answer: {error}") from error
    return Enrolled(
        message.certificate,
        message.trusted,
        message.overlay_keys,
        message.failure_domain,
        message.configuration,
        message.listener_certificate,
    )
