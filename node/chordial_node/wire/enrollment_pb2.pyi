from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrollRequest(_message.Message):
    __slots__ = ("overlay_name", "token", "request", "listener_request", "superseded")
    OVERLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    LISTENER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    overlay_name: str
    token: str
    request: bytes
    listener_request: bytes
    superseded: bool
    def __init__(self, overlay_name: _Optional[str] = ..., token: _Optional[str] = ..., request: _Optional[bytes] = ..., listener_request: _Optional[bytes] = ..., superseded: _Optional[bool] = ...) -> None: ...

class EnrollAnswer(_message.Message):
    __slots__ = ("certificate", "trusted", "overlay_keys", "failure_domain", "configuration", "listener_certificate")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_KEYS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    LISTENER_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    trusted: bytes
    overlay_keys: bytes
    failure_domain: str
    configuration: bytes
    listener_certificate: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., trusted: _Optional[bytes] = ..., overlay_keys: _Optional[bytes] = ..., failure_domain: _Optional[str] = ..., configuration: _Optional[bytes] = ..., listener_certificate: _Optional[bytes] = ...) -> None: ...
