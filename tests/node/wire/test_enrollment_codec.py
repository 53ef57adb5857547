"""Enrollment over the wire: what goes in comes out, and nothing secret has a text form."""

import pytest

from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.wire.control_codec import CodecError
from chordial_node.wire.enrollment_codec import (
    decode_enrolled,
    decode_request,
    encode_enrolled,
    encode_request,
)


def test_a_request_comes_back_as_it_went() -> None:
    request = EnrollmentRequest("phones.voice", "a.b.c", b"PEM", b"another PEM")
    assert decode_request(encode_request(request)) == request
    assert "a.b.c" not in repr(request)


def test_an_answer_comes_back_as_it_went() -> None:
    enrolled = Enrolled(b"c", b"t", b'{"secret": 1}', "zone-a/node-1", b"{}", b"l")
    assert decode_enrolled(encode_enrolled(enrolled)) == enrolled
    assert "secret" not in repr(enrolled)


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(CodecError, match="no enrollment request"):
        decode_request(b"\xff\xff")
    with pytest.raises(CodecError, match="no enrollment answer"):
        decode_enrolled(b"\xff\xff")
