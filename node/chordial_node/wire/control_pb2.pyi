from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Refused(_message.Message):
    __slots__ = ("code", "reason", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: str
    reason: str
    retry_after: float
    def __init__(self, code: _Optional[str] = ..., reason: _Optional[str] = ..., retry_after: _Optional[float] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MemberStatus(_message.Message):
    __slots__ = ("node_id", "name", "state", "overlay_address", "is_linked", "round_trip_ms")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IS_LINKED_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_MS_FIELD_NUMBER: _ClassVar[int]
    node_id: bytes
    name: str
    state: str
    overlay_address: str
    is_linked: bool
    round_trip_ms: float
    def __init__(self, node_id: _Optional[bytes] = ..., name: _Optional[str] = ..., state: _Optional[str] = ..., overlay_address: _Optional[str] = ..., is_linked: _Optional[bool] = ..., round_trip_ms: _Optional[float] = ...) -> None: ...

class StatusAnswer(_message.Message):
    __slots__ = ("node_id", "name", "overlay_name", "state", "incarnation", "predecessor", "successors", "members", "links", "keys", "owned_keys", "registrations", "calls", "copies", "in_step", "is_degraded", "uptime_seconds", "counters", "is_ready", "ready_reason", "version", "failure_domain", "not_after", "bundle_hash", "membership_digest", "copies_missing", "phones_waiting")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    PREDECESSOR_FIELD_NUMBER: _ClassVar[int]
    SUCCESSORS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    OWNED_KEYS_FIELD_NUMBER: _ClassVar[int]
    REGISTRATIONS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    IN_STEP_FIELD_NUMBER: _ClassVar[int]
    IS_DEGRADED_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    IS_READY_FIELD_NUMBER: _ClassVar[int]
    READY_REASON_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_HASH_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_DIGEST_FIELD_NUMBER: _ClassVar[int]
    COPIES_MISSING_FIELD_NUMBER: _ClassVar[int]
    PHONES_WAITING_FIELD_NUMBER: _ClassVar[int]
    node_id: bytes
    name: str
    overlay_name: str
    state: str
    incarnation: int
    predecessor: bytes
    successors: _containers.RepeatedScalarFieldContainer[bytes]
    members: _containers.RepeatedCompositeFieldContainer[MemberStatus]
    links: int
    keys: int
    owned_keys: int
    registrations: int
    calls: int
    copies: int
    in_step: bool
    is_degraded: bool
    uptime_seconds: float
    counters: _containers.ScalarMap[str, int]
    is_ready: bool
    ready_reason: str
    version: str
    failure_domain: str
    not_after: float
    bundle_hash: str
    membership_digest: str
    copies_missing: int
    phones_waiting: int
    def __init__(self, node_id: _Optional[bytes] = ..., name: _Optional[str] = ..., overlay_name: _Optional[str] = ..., state: _Optional[str] = ..., incarnation: _Optional[int] = ..., predecessor: _Optional[bytes] = ..., successors: _Optional[_Iterable[bytes]] = ..., members: _Optional[_Iterable[_Union[MemberStatus, _Mapping]]] = ..., links: _Optional[int] = ..., keys: _Optional[int] = ..., owned_keys: _Optional[int] = ..., registrations: _Optional[int] = ..., calls: _Optional[int] = ..., copies: _Optional[int] = ..., in_step: _Optional[bool] = ..., is_degraded: _Optional[bool] = ..., uptime_seconds: _Optional[float] = ..., counters: _Optional[_Mapping[str, int]] = ..., is_ready: _Optional[bool] = ..., ready_reason: _Optional[str] = ..., version: _Optional[str] = ..., failure_domain: _Optional[str] = ..., not_after: _Optional[float] = ..., bundle_hash: _Optional[str] = ..., membership_digest: _Optional[str] = ..., copies_missing: _Optional[int] = ..., phones_waiting: _Optional[int] = ...) -> None: ...

class TraceRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: str
    def __init__(self, target: _Optional[str] = ...) -> None: ...

class Hop(_message.Message):
    __slots__ = ("node_id", "peer", "rule", "queued_ms", "round_trip_ms")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_MS_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_MS_FIELD_NUMBER: _ClassVar[int]
    node_id: bytes
    peer: str
    rule: str
    queued_ms: float
    round_trip_ms: float
    def __init__(self, node_id: _Optional[bytes] = ..., peer: _Optional[str] = ..., rule: _Optional[str] = ..., queued_ms: _Optional[float] = ..., round_trip_ms: _Optional[float] = ...) -> None: ...

class Contact(_message.Message):
    __slots__ = ("contact", "edge", "edge_name", "expires_in", "reach")
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    EDGE_NAME_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    REACH_FIELD_NUMBER: _ClassVar[int]
    contact: str
    edge: bytes
    edge_name: str
    expires_in: float
    reach: str
    def __init__(self, contact: _Optional[str] = ..., edge: _Optional[bytes] = ..., edge_name: _Optional[str] = ..., expires_in: _Optional[float] = ..., reach: _Optional[str] = ...) -> None: ...

class TraceAnswer(_message.Message):
    __slots__ = ("resource_id", "hops", "found", "contacts")
    RESOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    CONTACTS_FIELD_NUMBER: _ClassVar[int]
    resource_id: bytes
    hops: _containers.RepeatedCompositeFieldContainer[Hop]
    found: bool
    contacts: _containers.RepeatedCompositeFieldContainer[Contact]
    def __init__(self, resource_id: _Optional[bytes] = ..., hops: _Optional[_Iterable[_Union[Hop, _Mapping]]] = ..., found: _Optional[bool] = ..., contacts: _Optional[_Iterable[_Union[Contact, _Mapping]]] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("key", "value", "lifetime_seconds", "secret")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    lifetime_seconds: float
    secret: bytes
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., lifetime_seconds: _Optional[float] = ..., secret: _Optional[bytes] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("key", "secret")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    secret: bytes
    def __init__(self, key: _Optional[bytes] = ..., secret: _Optional[bytes] = ...) -> None: ...

class ValueAnswer(_message.Message):
    __slots__ = ("resource_id", "found", "value", "copies", "expires_at")
    RESOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    resource_id: bytes
    found: bool
    value: bytes
    copies: int
    expires_at: float
    def __init__(self, resource_id: _Optional[bytes] = ..., found: _Optional[bool] = ..., value: _Optional[bytes] = ..., copies: _Optional[int] = ..., expires_at: _Optional[float] = ...) -> None: ...

class SetUserRequest(_message.Message):
    __slots__ = ("user", "domain", "sealed")
    USER_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    user: str
    domain: str
    sealed: bytes
    def __init__(self, user: _Optional[str] = ..., domain: _Optional[str] = ..., sealed: _Optional[bytes] = ...) -> None: ...

class RemoveUserRequest(_message.Message):
    __slots__ = ("user", "domain")
    USER_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    user: str
    domain: str
    def __init__(self, user: _Optional[str] = ..., domain: _Optional[str] = ...) -> None: ...

class ListUsersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UserStatus(_message.Message):
    __slots__ = ("user", "domain", "is_registered", "source", "contacts", "key_number")
    USER_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    IS_REGISTERED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CONTACTS_FIELD_NUMBER: _ClassVar[int]
    KEY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    user: str
    domain: str
    is_registered: bool
    source: str
    contacts: int
    key_number: int
    def __init__(self, user: _Optional[str] = ..., domain: _Optional[str] = ..., is_registered: _Optional[bool] = ..., source: _Optional[str] = ..., contacts: _Optional[int] = ..., key_number: _Optional[int] = ...) -> None: ...

class UsersAnswer(_message.Message):
    __slots__ = ("users",)
    USERS_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[UserStatus]
    def __init__(self, users: _Optional[_Iterable[_Union[UserStatus, _Mapping]]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("restart",)
    RESTART_FIELD_NUMBER: _ClassVar[int]
    restart: bool
    def __init__(self, restart: _Optional[bool] = ...) -> None: ...

class DrainAnswer(_message.Message):
    __slots__ = ("ranges_handed_over", "seconds")
    RANGES_HANDED_OVER_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ranges_handed_over: int
    seconds: float
    def __init__(self, ranges_handed_over: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("resource_id",)
    RESOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    resource_id: bytes
    def __init__(self, resource_id: _Optional[bytes] = ...) -> None: ...

class LookupAnswer(_message.Message):
    __slots__ = ("responsible", "hops", "found")
    RESPONSIBLE_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    responsible: bytes
    hops: int
    found: bool
    def __init__(self, responsible: _Optional[bytes] = ..., hops: _Optional[int] = ..., found: _Optional[bool] = ...) -> None: ...

class ForceTraceRequest(_message.Message):
    __slots__ = ("call_id",)
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: bytes
    def __init__(self, call_id: _Optional[bytes] = ...) -> None: ...

class ForcedTrace(_message.Message):
    __slots__ = ("trace_id",)
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    trace_id: bytes
    def __init__(self, trace_id: _Optional[bytes] = ...) -> None: ...

class ConfigureRequest(_message.Message):
    __slots__ = ("configuration",)
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    configuration: bytes
    def __init__(self, configuration: _Optional[bytes] = ...) -> None: ...
