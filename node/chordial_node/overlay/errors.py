"""Error codes of RFC 6940 §14.9 and RFC 7851, and the exception that carries one to the asker.

A remote fault is data: it is raised here, turned into an error answer once, in `peer.py`.
"""

from enum import IntEnum


class ErrorCode(IntEnum):
    """What an error answer says (RFC 6940 §6.3.3.1, RFC 7851 §9.2)."""

    FORBIDDEN = 0x2
    NOT_FOUND = 0x3
    REQUEST_TIMEOUT = 0x4
    GENERATION_COUNTER_TOO_LOW = 0x5
    INCOMPATIBLE_WITH_OVERLAY = 0x6
    UNSUPPORTED_FORWARDING_OPTION = 0x7
    DATA_TOO_LARGE = 0x8
    DATA_TOO_OLD = 0x9
    TTL_EXCEEDED = 0xA
    MESSAGE_TOO_LARGE = 0xB
    UNKNOWN_KIND = 0xC
    UNKNOWN_EXTENSION = 0xD
    RESPONSE_TOO_LARGE = 0xE
    CONFIG_TOO_OLD = 0xF
    CONFIG_TOO_NEW = 0x10
    IN_PROGRESS = 0x11
    INVALID_MESSAGE = 0x14
    MESSAGE_EXPIRED = 0x17
    UPSTREAM_MISROUTING = 0x18
    LOOP_DETECTED = 0x19
    TTL_HOPS_EXCEEDED = 0x1A
    BUSY = 0xF001
    """Ours: there is no room now; RFC 6940 has no code for overload."""
    STORE_UNAVAILABLE = 0xF002
    """Ours: the disk refuses writes, or the range is not yet in step; nothing was stored."""
    INTERNAL_FAULT = 0xF003
    """Ours: the peer that should answer has a fault, and tells it (ProcedureFaulted)."""


class OverlayError(Exception):
    """A request failed, here or at the peer that answered it."""

    def __init__(self, code: ErrorCode, info: str = "", retry_after: float = 0.0) -> None:
        super().__init__(f"{code.name.lower()}: {info}" if info else code.name.lower())
        self.code = code
        self.info = info
        self.retry_after = retry_after
        """Seconds after which the same request may be answered; 0: do not retry."""
        self.data = b""
        """What the code says is in error_info beside the text (a StoreAnswer, a list of Kinds)."""
