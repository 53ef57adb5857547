"""The parts of Kubernetes objects that enrollment judges by, and nothing else of them.

Read leniently: a spec that the rest of the operator refuses must not keep a running peer from
renewing its certificate. What the parts prove is decided in `checks`.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec


class UnreadableObjectError(ValueError):
    """The API server answered with something that has not the form of what was asked for."""


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    """Who made an object."""

    kind: str
    name: str
    uid: str
    api_version: str = ""
    controller: bool = False


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Who an object is."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def controller(self) -> OwnerReference | None:
        """The one owner that controls the object."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Where a pod runs, and as whom."""

    node_name: str = ""
    service_account_name: str = ""


class PodStatus(msgspec.Struct, frozen=True):
    """How far a pod is."""

    phase: str = ""


class Pod(msgspec.Struct, frozen=True):
    """A pod, read live."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class StatefulSet(msgspec.Struct, frozen=True):
    """The StatefulSet of one that makes a peer's pod, and keeps its Node-ID."""

    metadata: Metadata


class NamedReference(msgspec.Struct, frozen=True):
    """Another object of the same namespace."""

    name: str = ""


class Advertise(msgspec.Struct, frozen=True):
    """What phones know a set's peers by."""

    addresses: tuple[str, ...] = ()


class PeerSetSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Of which overlay a set is, and what phones dial."""

    overlay_ref: NamedReference = NamedReference()
    advertise: Advertise = Advertise()


class PeerSetObject(msgspec.Struct, frozen=True):
    """A BootstrapSet or RelaySet."""

    metadata: Metadata
    spec: PeerSetSpec = PeerSetSpec()


class OverlayObject(msgspec.Struct, frozen=True):
    """An Overlay."""

    metadata: Metadata


class NodeObject(msgspec.Struct, frozen=True):
    """A Node of the cluster."""

    metadata: Metadata


class TokenUser(msgspec.Struct, frozen=True):
    """Whose token it is."""

    username: str = ""
    extra: dict[str, tuple[str, ...]] = {}


class TokenStatus(msgspec.Struct, frozen=True):
    """What the API server says of a token."""

    authenticated: bool = False
    user: TokenUser = TokenUser()
    audiences: tuple[str, ...] = ()
    error: str = ""


T = TypeVar("T", bound=msgspec.Struct)


def read(kind: type[T], body: Mapping[str, object]) -> T:
    """Return the parts of an object that count; UnreadableObjectError says what is amiss."""
    try:
        return msgspec.convert(dict(body), kind)
    except msgspec.ValidationError as error:
        raise UnreadableObjectError(
            f"the API server's {kind.__name__} is not of the form expected: {error}"
        ) from error
