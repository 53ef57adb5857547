"""What a BootstrapSet's or a RelaySet's spec says: peers of one kind, their place and their end.

One struct for both (fleet 2.1): a BootstrapSet is one without listeners. Defaults are those of
the two schemas; a test compares them. What follows from a spec belongs in `resources`,
`decisions` and `status`.
"""

from typing import Literal

import msgspec

from chordial_operator.spec.manifest import (
    Manifest,
    NameRef,
    ObjectMeta,
    Quantity,
    Seconds,
    parse_spec,
)

IpFamilyPolicy = Literal["SingleStack", "PreferDualStack", "RequireDualStack"]
AddressSource = Literal["Service", "Node", "Pod"]


def default_resources() -> Manifest:
    """Return the requests and limits of a peer where nothing is said."""
    return {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


class Storage(msgspec.Struct, frozen=True, rename="camel"):
    """Where a peer keeps its identity and its copies."""

    type: Literal["Volume", "EmptyDir"] = "Volume"
    size: Quantity = Quantity("1Gi")
    storage_class_name: str | None = None
    """None: the cluster's default class; an empty text means none, as in a claim."""
    reclaim: Literal["Retain", "Delete"] = "Delete"


class PodMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """More labels and annotations of the pods."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Listener(msgspec.Struct, frozen=True, rename="camel"):
    """Where phones speak to each peer of the set."""

    name: str
    transport: Literal["UDP", "TCP", "TLS"]
    port: int
    certificate_ref: NameRef | None = None
    """Of TLS: a kubernetes.io/tls Secret; None: a certificate of the overlay's authority."""


class NodePort(msgspec.Struct, frozen=True, rename="camel"):
    """The port on every Node for one listener."""

    listener: str
    port: int


class Exposure(msgspec.Struct, frozen=True, rename="camel"):
    """How the peers are reached from elsewhere."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "HostPort"] = "ClusterIP"
    scope: Literal["Set", "Peer"] = "Set"
    external_traffic_policy: Literal["Local", "Cluster"] = "Local"
    node_ports: tuple[NodePort, ...] = ()
    load_balancer_class: str | None = None
    load_balancer_source_ranges: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    ip_family_policy: IpFamilyPolicy = "PreferDualStack"


class Advertise(msgspec.Struct, frozen=True, rename="camel"):
    """The addresses that phones are told."""

    addresses: tuple[str, ...] = ()
    source: AddressSource | None = msgspec.field(name="from", default=None)
    """None: Service, and Node where the exposure is HostPort."""


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    """How long a phone's registration over UDP holds, and how often its flow is refreshed."""

    max_expires: Seconds = Seconds(300)
    keep_alive: Seconds = Seconds(27)


class Drain(msgspec.Struct, frozen=True, rename="camel"):
    """How long a leaving peer waits for its calls, and how many leave at one time."""

    timeout: Seconds = Seconds(2 * 60)
    max_concurrent: int = 1


class ScaleIn(msgspec.Struct, frozen=True, rename="camel"):
    """How long fewer replicas must be wanted before a peer leaves."""

    stabilization: Seconds = Seconds(60)


class PeerSet(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Peers of one kind in one overlay."""

    kind: Literal["BootstrapSet", "RelaySet"]
    meta: ObjectMeta
    overlay_ref: NameRef
    replicas: int
    storage: Storage = Storage()
    resources: Manifest = msgspec.field(default_factory=default_resources)
    node_selector: dict[str, str] = {}
    tolerations: tuple[Manifest, ...] = ()
    affinity: Manifest | None = None
    topology_spread_constraints: tuple[Manifest, ...] = ()
    """Without `labelSelector`: it is always the set's peers."""
    priority_class_name: str = ""
    pod_metadata: PodMetadata = PodMetadata()
    listeners: tuple[Listener, ...] = ()
    exposure: Exposure = Exposure()
    advertise: Advertise = Advertise()
    registration: Registration = Registration()
    drain: Drain = Drain()
    scale_in: ScaleIn = ScaleIn()
    unreachable_after: Seconds = Seconds(30)
    replace_lost_after: Seconds = Seconds(10 * 60)

    @property
    def overlay(self) -> str:
        """The name of the Overlay, in the same namespace."""
        return self.overlay_ref.name

    @property
    def role(self) -> Literal["seed", "relay"]:
        """What its peers are."""
        return "seed" if self.kind == "BootstrapSet" else "relay"

    @property
    def advertised_from(self) -> AddressSource:
        """Where addresses come from when `advertise.addresses` names none."""
        usual: AddressSource = "Node" if self.exposure.type == "HostPort" else "Service"
        return self.advertise.source or usual


SEEDS = 5
"""Replicas of a BootstrapSet that says nothing (fleet H8)."""
RELAYS = 2
RELAY_DRAIN = Seconds(10 * 60)


def parse_bootstrap_set(body: Manifest) -> PeerSet:
    """Return what a BootstrapSet asks for; InvalidSpecError names the field."""
    return _parse("BootstrapSet", body, SEEDS, Drain().timeout)


def parse_relay_set(body: Manifest) -> PeerSet:
    """Return what a RelaySet asks for; InvalidSpecError names the field."""
    return _parse("RelaySet", body, RELAYS, RELAY_DRAIN)


def _parse(kind: str, body: Manifest, replicas: int, drain: Seconds) -> PeerSet:
    spec = body.get("spec") or {}
    drains = {"timeout": f"{drain:g}s"} | (spec.get("drain") or {})
    filled = {"replicas": replicas} | spec | {"drain": drains}
    return parse_spec({**body, "spec": filled}, PeerSet, kind=kind)
