"""What a peer in a pod is told by its set's ConfigMap, and the node's configuration made of it.

The operator renders `PodConfig` into `peer.json`; what differs from pod to pod, its place, comes
from the pod's environment, and what only the authority may say comes by enrollment. Paths and ports
that both sides know stand here. Pure: no environment and no file is read here.
"""

import re
from ipaddress import ip_address
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chordial_node.config import (
    Acknowledge,
    ConfigError,
    Count,
    Endpoint,
    IdentityConfig,
    ListenerConfig,
    NodeConfig,
    OverlayConfig,
    Positive,
    SipConfig,
    StorageConfig,
    TelemetryConfig,
    Transport,
    ValueSize,
    further_domain_problems,
)

OVERLAY_PORT = 6084
PEER_SIP_PORT = 5081
PROBE_PORT = 8080
MOST_LISTENERS = 16
TAKEN_UP = ("advertise", "advertise_from", "by_peer", "enrollment")
"""Fields that a running pod takes up of a newer configuration: none of them asks for a restart."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_SHORTEST_EXPIRES = 60


class PodListener(msgspec.Struct, frozen=True, omit_defaults=True):
    """One SIP listener for phones, the same in every pod of a set."""

    name: str
    transport: Transport
    port: Annotated[int, Meta(ge=1, le=65535)]
    certificate: str = ""
    """Folder under `tls/` with `tls.crt` and `tls.key`; empty: one of the overlay's authority."""


class PodExposure(msgspec.Struct, frozen=True, omit_defaults=True):
    """How phones reach one pod that has a Service of its own."""

    advertise: tuple[str, ...] = ()
    """Of its load balancer; empty: of its Kubernetes Node, where there are `ports`."""
    ports: dict[str, int] = {}
    """By listener: the port of the Node."""


class PodConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all peers of one set have in common.

    Operator and peers differ by a version at times: what an older peer does not know it ignores,
    and a new field at its default is not told, so that a new operator alone restarts nobody.
    """

    overlay_name: str
    role: Literal["seed", "relay"]
    domain: str
    """The default domain."""
    peers_host: str
    """Name of the Service that resolves to every peer of the overlay, ready or not."""
    enrollment: Endpoint
    domains: tuple[str, ...] = ()
    """Further domains."""
    copies: Count = 3
    acknowledge: Acknowledge = "quorum"
    successors: Count = 3
    max_value_bytes: ValueSize = 65_536
    listeners: tuple[PodListener, ...] = ()
    advertise: tuple[str, ...] = ()
    """Host names or addresses that phones know; empty: what `advertise_from` says."""
    advertise_from: Literal["pod", "node"] = "pod"
    """Own addresses of each pod, or those of its Kubernetes Node, whose port is the listener's."""
    by_peer: dict[str, PodExposure] = {}
    """By peer, where each has a Service of its own; taken up while running, as `advertise` is."""
    max_expires_seconds: Count = 300
    keepalive_seconds: Annotated[float, Meta(gt=0, le=300)] = 27.0
    max_contacts: Count = 10
    transactions: Count = 20_000
    drain_timeout_seconds: Positive = 120.0
    stops_as: Literal["restart", "leave"] = "restart"
    """What a SIGTERM means: with a volume a restart, without one a leave."""
    otlp_endpoint: str = ""
    has_otlp_headers: bool = False
    """Whether a Secret with headers for the collector is mounted."""
    sampling_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"


class PodPlace(msgspec.Struct, frozen=True):
    """Where one pod runs."""

    name: str
    """Of the peer: its StatefulSet's."""
    addresses: tuple[str, ...]
    """Of the pod, the first is the one that peers dial."""
    node_name: str = ""
    """Of the Kubernetes Node: the failure domain where nobody says better."""
    node_addresses: tuple[str, ...] = ()
    """Of the Kubernetes Node."""

    @property
    def loopback(self) -> tuple[str, ...]:
        """Where `kubectl port-forward` knocks; nowhere, if the pod's own address is one already."""
        return (
            () if any(ip_address(each).is_loopback for each in self.addresses) else ("127.0.0.1",)
        )


class PodPaths(msgspec.Struct, frozen=True):
    """Every path that a pod knows, below a root that is empty outside of tests."""

    root: str = ""

    @property
    def config(self) -> str:
        """The set's part of the configuration."""
        return f"{self.root}/etc/chordial/config/peer.json"

    @property
    def bundle(self) -> str:
        """Folder with roots.pem, enrollment.pem and instance-id."""
        return f"{self.root}/etc/chordial/bundle"

    @property
    def token(self) -> str:
        """The projected service-account token."""
        return f"{self.root}/var/run/secrets/chordial/token"

    @property
    def state(self) -> str:
        """The volume."""
        return f"{self.root}/var/lib/chordial"

    @property
    def identity(self) -> str:
        """Folder on the volume that says who this peer is."""
        return f"{self.state}/identity"

    @property
    def otlp_headers(self) -> str:
        """Folder with the headers for the collector of spans."""
        return f"{self.root}/etc/chordial/otlp-headers"

    def listener(self, folder: str) -> tuple[str, str]:
        """Return certificate and key of a listener, as a TLS Secret is mounted."""
        below = f"{self.root}/etc/chordial/tls/{folder}"
        return (f"{below}/tls.crt", f"{below}/tls.key")

    @property
    def own_listener(self) -> tuple[str, str]:
        """Certificate and key of TLS listeners that have no Secret."""
        return (f"{self.identity}/listener.pem", f"{self.identity}/listener.key")


class PodStanding(msgspec.Struct, frozen=True):
    """What the authority has said of this peer and its overlay, checked by the caller."""

    founders: tuple[str, ...]
    failure_domain: str


def parse_pod(text: str | bytes) -> PodConfig:
    """Return the configuration of a JSON text; ConfigError names every problem."""
    try:
        pod = msgspec.json.decode(text, type=PodConfig)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"the pod's configuration cannot be read: {error}") from error
    problems = pod_problems(pod)
    if problems:
        raise ConfigError("; ".join(problems))
    return pod


def pod_problems(pod: PodConfig) -> list[str]:
    """Return everything that is wrong with a set's configuration, each with its field."""
    problems = []
    if not pod.domain or pod.domain != pod.domain.lower():
        problems.append(f"domain must be a name in lower case, not {pod.domain!r}")
    problems += further_domain_problems("domains", pod.domain, pod.domains)
    if pod.enrollment.port == 0:
        problems.append("enrollment.port must be 1 to 65535")
    if pod.successors < pod.copies:
        problems.append("successors is less than copies: copies lie at successors")
    if pod.copies > 16:
        problems.append("copies is more than 16: nobody can hold that many")
    if pod.role == "relay" and not pod.listeners:
        problems.append("listeners is empty: a relay without one serves no phone")
    if pod.role == "seed" and pod.listeners:
        problems.append("listeners must be empty: a seed serves no phones")
    return problems + _host_problems(pod) + _listener_problems(pod.listeners)


def _host_problems(pod: PodConfig) -> list[str]:
    hosts = [("peers_host", pod.peers_host), ("enrollment.host", pod.enrollment.host)]
    hosts += [(f"advertise[{number}]", host) for number, host in enumerate(pod.advertise)]
    hosts += [
        (f"by_peer.{name}.advertise[{number}]", host)
        for name, exposure in pod.by_peer.items()
        for number, host in enumerate(exposure.advertise)
    ]
    return [
        f"{field} must be a host name or an address, not {host!r}"
        for field, host in hosts
        if not _is_host(host)
    ]


def _listener_problems(listeners: tuple[PodListener, ...]) -> list[str]:
    problems = []
    if len(listeners) > MOST_LISTENERS:
        problems.append(f"listeners has more than {MOST_LISTENERS} entries")
    names: dict[str, None] = {}
    taken = {
        ("tcp", OVERLAY_PORT): "the overlay",
        ("tcp", PEER_SIP_PORT): "SIP between peers",
        ("tcp", PROBE_PORT): "the probes",
    }
    for number, listener in enumerate(listeners):
        field = f"listeners[{number}]"
        if not _NAME.fullmatch(listener.name):
            problems.append(f"{field}.name must be a-z, 0-9 and hyphen, not {listener.name!r}")
        if listener.name in names:
            problems.append(f"{field}.name {listener.name!r} is there twice")
        names[listener.name] = None
        if listener.transport is Transport.PEER:
            problems.append(f"{field}.transport must be udp, tcp or tls: peers have their own")
        if listener.certificate and listener.transport is not Transport.TLS:
            problems.append(f"{field}.certificate is for transport tls alone")
        if listener.certificate and not _NAME.fullmatch(listener.certificate):
            problems.append(f"{field}.certificate must be the name of one folder")
        kind = "udp" if listener.transport is Transport.UDP else "tcp"
        holder = taken.setdefault((kind, listener.port), field)
        if holder != field:
            problems.append(f"{field}.port {listener.port} ({kind}) is taken by {holder}")
    return problems


def taken_up(present: PodConfig, read: PodConfig) -> PodConfig:
    """Return a configuration with what a running pod takes up of a newer one; the rest waits."""
    return msgspec.structs.replace(present, **{name: getattr(read, name) for name in TAKEN_UP})


def place_problems(place: PodPlace) -> list[str]:
    """Return everything that is wrong with what a pod's environment says."""
    problems = []
    if not place.name:
        problems.append("the peer has no name: CHORDIAL_PEER is empty")
    if not place.addresses:
        problems.append("the pod has no address: CHORDIAL_POD_IPS is empty")
    for address in place.addresses:
        try:
            if ip_address(address).is_unspecified:
                problems.append(f"CHORDIAL_POD_IPS must not hold a wildcard: {address}")
        except ValueError:
            problems.append(f"CHORDIAL_POD_IPS must hold addresses, not {address!r}")
    return problems


def node_config(
    pod: PodConfig, place: PodPlace, paths: PodPaths, standing: PodStanding
) -> NodeConfig:
    """Return what the node of a pod is started with."""
    overlay = Endpoint(place.addresses[0], OVERLAY_PORT)
    return NodeConfig(
        name=place.name,
        overlay=OverlayConfig(
            name=pod.overlay_name,
            bind=overlay,
            advertise=overlay,
            also_bind=tuple(Endpoint(host, OVERLAY_PORT) for host in place.loopback),
            founders=standing.founders,
            seeds=(Endpoint(pod.peers_host, OVERLAY_PORT),),
            failure_domain=standing.failure_domain or place.node_name,
            copies=pod.copies,
            acknowledge=pod.acknowledge,
            successors=pod.successors,
            max_value_bytes=pod.max_value_bytes,
            drain_timeout_seconds=pod.drain_timeout_seconds,
            stops_as=pod.stops_as,
        ),
        sip=SipConfig(
            domain=pod.domain,
            domains=pod.domains,
            listeners=tuple(_listeners(pod, place, paths)),
            max_expires_seconds=pod.max_expires_seconds,
            min_expires_seconds=min(_SHORTEST_EXPIRES, pod.max_expires_seconds),
            keepalive_seconds=pod.keepalive_seconds,
            max_contacts=pod.max_contacts,
            transactions=pod.transactions,
        ),
        identity=identity_config(paths),
        storage=StorageConfig(path=f"{paths.state}/values.db"),
        telemetry=TelemetryConfig(
            otlp_endpoint=pod.otlp_endpoint,
            otlp_headers=paths.otlp_headers if pod.has_otlp_headers else "",
            sampling_ratio=pod.sampling_ratio,
            log_level=pod.log_level,
        ),
    )


def identity_config(paths: PodPaths) -> IdentityConfig:
    """Return where the identity lies on the volume."""
    below = paths.identity
    return IdentityConfig(
        certificate=f"{below}/certificate.pem",
        key=f"{below}/private.key",
        trusted=f"{below}/trusted.pem",
        overlay_keys=f"{below}/overlay-keys.json",
        configuration=f"{below}/configuration.json",
    )


def _listeners(pod: PodConfig, place: PodPlace, paths: PodPaths) -> list[ListenerConfig]:
    """Each listener on each address of the pod, and last the one for peers."""
    exposure = pod.by_peer.get(place.name, PodExposure())
    is_at_node = pod.advertise_from == "node" or exposure.ports
    from_node = place.node_addresses if is_at_node else ()
    hosts = pod.advertise or exposure.advertise or from_node
    made = [
        _listener(listener, address, hosts, exposure.ports.get(listener.name, 0), paths)
        for listener in pod.listeners
        for address in place.addresses
    ]
    made.append(ListenerConfig(Transport.PEER, Endpoint(place.addresses[0], PEER_SIP_PORT)))
    return made


def _listener(
    listener: PodListener, address: str, advertise: tuple[str, ...], port: int, paths: PodPaths
) -> ListenerConfig:
    hosts = [host for host in advertise if _reaches(host, address)]
    certificate = key = ""
    if listener.transport is Transport.TLS:
        folder = listener.certificate
        certificate, key = paths.listener(folder) if folder else paths.own_listener
    return ListenerConfig(
        transport=listener.transport,
        bind=Endpoint(address, listener.port),
        advertise=Endpoint(hosts[0], port or listener.port) if hosts else None,
        also_known=tuple(hosts[1:]),
        certificate=certificate,
        key=key,
    )


def _reaches(host: str, address: str) -> bool:
    """Tell whether phones that use a host may come to an address: names lead anywhere."""
    try:
        return ip_address(host).version == ip_address(address).version
    except ValueError:
        return True


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None
    return True
