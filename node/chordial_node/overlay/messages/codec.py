"""Between messages and bytes: msgpack arrays, fields only ever added at the end."""

import re

import msgspec

from chordial_node.overlay.errors import ErrorCode, OverlayError
from chordial_node.overlay.messages import envelope, link, ring, storage
from chordial_node.overlay.messages.envelope import Envelope, Message

MESSAGES: dict[int, type[Message]] = {
    each.CODE: each
    for module in (envelope, storage, ring, link)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Message) and each.CODE
}
"""Every message by its code."""

METHODS: dict[int, str] = {
    code: re.sub(
        "(?!^)([A-Z])", r"_\1", message.__name__.removesuffix("Request").removesuffix("Answer")
    ).lower()
    for code, message in MESSAGES.items()
}
"""The method a code stands for, as logs, spans and metrics name it: `store`, `path_track`."""

_encoder = msgspec.msgpack.Encoder()
_frame_decoder = msgspec.msgpack.Decoder(list[Envelope])
_body_decoders = {code: msgspec.msgpack.Decoder(message) for code, message in MESSAGES.items()}


def encode_frame(envelopes: list[Envelope]) -> bytes:
    """Return the bytes of a frame."""
    return _encoder.encode(envelopes)


def decode_frame(data: bytes) -> list[Envelope]:
    """Return the envelopes of a frame; OverlayError(INVALID_MESSAGE) when it is malformed."""
    try:
        return _frame_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise OverlayError(ErrorCode.INVALID_MESSAGE, f"malformed frame: {error}") from error


def encode_body(message: Message) -> bytes:
    """Return the bytes of a body; its code travels in the envelope."""
    return _encoder.encode(message)


def decode_body(code: int, body: bytes) -> Message:
    """Return the message of a body; OverlayError when the code is unknown or the body malformed."""
    decoder = _body_decoders.get(code)
    if decoder is None:
        raise OverlayError(ErrorCode.INVALID_MESSAGE, f"unknown message code {code:#x}")
    try:
        message: Message = decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise OverlayError(ErrorCode.INVALID_MESSAGE, f"malformed {code:#x}: {error}") from error
    return message
