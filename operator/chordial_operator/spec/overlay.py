"""What an Overlay's spec says (fleet 2.1). Defaults are those of its schema; a test compares them.

Parsing alone: what follows from a spec belongs in `resources`, `decisions` and `status`.
"""

from typing import Literal

import msgspec

from chordial_operator.spec.manifest import (
    InvalidSpecError,
    Manifest,
    NameRef,
    ObjectMeta,
    Quantity,
    Seconds,
    parse_spec,
)


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """What one user and one peer may use at most."""

    max_contacts_per_user: int = 10
    max_value_size: Quantity = Quantity("64Ki")
    max_transactions_per_peer: int = 20_000


class Certificates(msgspec.Struct, frozen=True, rename="camel"):
    """How long certificates live, and whose authority signs them."""

    lifetime: Seconds = Seconds(168 * 3600)
    ca_lifetime: Seconds = Seconds(87_600 * 3600)
    ca_secret_ref: NameRef | None = None


class Image(msgspec.Struct, frozen=True, rename="camel"):
    """The image of peers; what is empty is the operator's default."""

    repository: str = ""
    tag: str = ""
    digest: str = ""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"


class Upgrade(msgspec.Struct, frozen=True, rename="camel"):
    """When peers are restarted, and how patiently."""

    strategy: Literal["OnDemand", "Automatic"] = "OnDemand"
    stabilization: Seconds = Seconds(10)
    peer_timeout: Seconds = Seconds(15 * 60)


class Disruption(msgspec.Struct, frozen=True, rename="camel"):
    """How many peers may be away at one time."""

    max_unavailable: int = 1


class Otlp(msgspec.Struct, frozen=True, rename="camel"):
    """Where spans go."""

    endpoint: str
    headers_secret_ref: NameRef | None = None


class Telemetry(msgspec.Struct, frozen=True, rename="camel"):
    """What peers tell of themselves."""

    otlp: Otlp | None = None
    sample_per_mille: int = 10
    log_level: Literal["Debug", "Info", "Warning", "Error"] = "Info"


class NetworkPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the operator writes a NetworkPolicy for the peers."""

    mode: Literal["Managed", "None"] = "Managed"
    metrics_from: tuple[Manifest, ...] = ()


class Overlay(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One overlay: its domains, the care for its values, and what all its peers have in common."""

    meta: ObjectMeta
    domains: tuple[str, ...]
    copies: int = 3
    acknowledge: Literal["Primary", "Quorum", "All"] = "Quorum"
    successors: int = 3
    limits: Limits = Limits()
    certificates: Certificates = Certificates()
    image: Image | None = None
    image_pull_secrets: tuple[NameRef, ...] = ()
    upgrade: Upgrade = Upgrade()
    disruption: Disruption = Disruption()
    telemetry: Telemetry = Telemetry()
    network_policy: NetworkPolicy = NetworkPolicy()
    paused: bool = False
    deletion_policy: Literal["Retain", "Delete"] = "Retain"

    @property
    def realm(self) -> str:
        """The first domain: the realm of its users' passwords, and what a bare address means."""
        return self.domains[0]


def parse_overlay(body: Manifest) -> Overlay:
    """Return what an Overlay asks for; InvalidSpecError names the field that cannot be used."""
    return parse_spec(body, Overlay)


def parse_referred_overlay(body: Manifest) -> Overlay:
    """Return what the Overlay of a set or user asks for; its errors say whose spec is wrong."""
    try:
        return parse_overlay(body)
    except InvalidSpecError as error:
        field = f"Overlay {body['metadata']['name']}, {error.field}"
        raise InvalidSpecError(field, error.message) from error
