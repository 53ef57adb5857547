"""What a peer asks of the authority of its overlay, and what it is given (RFC 6940 §11.3).

`wire/enrollment_codec.py` maps them to the protobuf of `enrollment.proto`. Who deserves a
certificate is the authority's affair, how it is kept the peer's; no gRPC type belongs here.
"""

import msgspec


class EnrollmentRequest(msgspec.Struct, frozen=True):
    """A peer's wish for a first certificate, or for a new one for the same key."""

    overlay_name: str
    token: str
    """The credential: on Kubernetes a service-account token bound to the pod."""
    request: bytes
    """PKCS #10, PEM: proves possession of the key."""
    listener_request: bytes = b""
    """The same of another key, for the certificate that TLS listeners show to phones."""
    is_superseded: bool = False
    """Another process shows this peer's certificate: the key is a new one, the old shall end."""

    def __repr__(self) -> str:
        return f"EnrollmentRequest({self.overlay_name!r})"  # a token never gets into a log


class Enrolled(msgspec.Struct, frozen=True):
    """All that makes a process a peer of an overlay, but for its own private key."""

    certificate: bytes
    """PEM; names the Node-ID that the authority chose."""
    trusted: bytes
    """PEM: the overlay's one or two authorities."""
    overlay_keys: bytes
    """JSON, `{"current": 1, "keys": {"1": "HEX"}}`."""
    failure_domain: str
    """Where copies of one value should not lie together."""
    configuration: bytes
    """JSON, signed: what `security.configuration` opens."""
    listener_certificate: bytes = b""
    """PEM, when one was asked for: names the overlay's SIP domains and what phones dial."""

    def __repr__(self) -> str:
        return f"Enrolled(failure_domain={self.failure_domain!r})"
