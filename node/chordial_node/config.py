"""What is set at start: frozen structs, one per part, decoded and checked once.

The text comes from whoever starts the process; no environment and no file is read here. All
problems are reported together, each with the field's name and what to do.
"""

from enum import Enum
from ipaddress import ip_address
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chordial_node.ids import NodeId, node_id

Host = str
Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
MOST_DOMAINS = 16
MOST_VALUE_BYTES = 64 * 1024
Acknowledge = Literal["primary", "quorum", "all"]
ValueSize = Annotated[int, Meta(ge=1, le=MOST_VALUE_BYTES)]

SHORT_EXPIRES_SECONDS = 60
LAST_STEPS_SECONDS = 60.0
"""Beyond time-out and one short registration, for what a drain does besides waiting."""


class ConfigError(ValueError):
    """The configuration cannot be used; the message names every problem found."""


class Transport(Enum):
    """How a SIP listener speaks."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    PEER = "peer"
    """Mutual TLS between peers of the overlay, and nobody else."""


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address: an IP literal without brackets, or a name, and a port."""

    host: Host
    port: Port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """The pair that sockets take."""
        return (self.host, self.port)


class OverlayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The overlay this peer is part of, and its place in it."""

    name: str
    """The Overlay Name (RFC 6940 §3)."""
    bind: Endpoint
    """Where links and the control service listen; 6084 by default."""
    advertise: Endpoint
    """What other peers dial."""
    founders: tuple[str, ...]
    """Node-IDs (hexadecimal) whose strict majority may form a ring where none is."""
    also_bind: tuple[Endpoint, ...] = ()
    """Where the same is served too: on loopback in a pod, for `kubectl port-forward`."""
    seeds: tuple[Endpoint, ...] = ()
    """Overlay addresses that are asked at start beside everyone remembered; a name stands for all
    addresses that it resolves to at that time."""
    failure_domain: str = ""
    """Zone, host or process: copies of a value go to different ones. Empty: the host."""
    copies: Count = 3
    """Copies wanted of every value (RFC 6940 §10.4)."""
    acknowledge: Acknowledge = "quorum"
    """What a Store waits for, on disk: the owner alone, a majority of the copies, or all of them
    that the ring then has room for. Less than a majority: the owner's loss may lose the value."""
    successors: Count = 16
    """Length of the successor list; the proof needs 3. More survive more simultaneous deaths."""
    max_links: Count = 64
    """Budget of links: ring neighbors and replicas always, others by use. 200 KiB each."""
    link_queue: Count = 4096
    """Envelopes waiting on one link; what finds no room is answered Busy."""
    in_flight: Count = 8192
    """Own requests waiting for their answers; more are refused with Busy."""
    stabilize_period_seconds: Positive = 1.0
    """Zave's stabilize and the watch over neighbors. Lower: faster repair, more messages."""
    request_timeout_seconds: Positive = 3.0
    """overlay-reliability-timer (RFC 6940 §6.2.1): a request is given up after five of them."""
    drain_timeout_seconds: Positive = 60.0
    """A drain waits no longer than this for calls and for phones that only this peer reaches."""
    stops_as: Literal["quick", "restart", "leave"] = "quick"
    """What a SIGTERM means. quick: end at once, the range is kept. restart: move phones and wait
    for calls first. leave: hand the range over as well, for a peer whose disk goes with it."""
    max_value_bytes: ValueSize = 65_536
    """Largest value that the open service takes, at most 65536; a larger one is refused."""
    max_entries: Count = 500_000
    """Stored entries, copies and markers included; a new key beyond is answered Busy."""

    @property
    def seed_addresses(self) -> tuple[Endpoint, ...]:
        """The seeds that are addresses."""
        return tuple(seed for seed in self.seeds if _is_address(seed.host))

    @property
    def seed_names(self) -> tuple[Endpoint, ...]:
        """The seeds that are names, which whoever starts the node resolves, again and again."""
        return tuple(seed for seed in self.seeds if not _is_address(seed.host))

    @property
    def founder_ids(self) -> tuple[NodeId, ...]:
        """The founders, in ring order."""
        return tuple(sorted(node_id(text) for text in self.founders))


class ListenerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One SIP listener."""

    transport: Transport
    bind: Endpoint
    advertise: Endpoint | None = None
    """The address that phones know; the bound one where nothing else is said."""
    also_known: tuple[Host, ...] = ()
    """Further hosts by which phones know this listener, at the port of `advertise`."""
    certificate: str = ""
    """Of transport tls: its own certificate, PEM; empty: `identity.sip_certificate`. Where the file
    is not there yet, the listener waits for it; a new one is taken up without a restart."""
    key: str = ""
    """The key of `certificate`, PEM."""

    @property
    def advertised(self) -> Endpoint:
        """The address that Via and Record-Route name."""
        return self.advertise or self.bind


class SipConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SIP towards phones and between peers."""

    domain: str
    """The default domain; a request to our bare address means it."""
    listeners: tuple[ListenerConfig, ...]
    """Exactly one of transport peer; a peer without others serves no phones."""
    domains: tuple[str, ...] = ()
    """Further domains that are served; each domain is the realm of its own users' passwords."""
    max_expires_seconds: Count = 300
    """Longest registration granted over a datagram flow (sip: registration.maxExpires)."""
    max_outbound_expires_seconds: Count = 3600
    """Longest registration granted over a connection with RFC 5626 outbound."""
    min_expires_seconds: Count = 60
    """Shortest registration granted; less is answered 423 (RFC 3261 §10.2.8)."""
    transactions: Count = 40_000
    """Open server transactions; an INVITE beyond is answered 500 with Retry-After."""
    waiting_registers: Count = 2_000
    """REGISTERs that wait for room, at most four seconds, before they are refused with 503."""
    keepalive_seconds: Annotated[float, Meta(gt=0, le=300)] = 27.0
    """Mean time between two OPTIONS down a UDP flow that a NAT may forget (sip: rule 14)."""
    max_contacts: Count = 10
    """Bindings of one AOR."""
    foreign_inbound: bool = True
    """Strangers may send INVITE and OPTIONS to local users."""
    digest: tuple[Annotated[str, Meta(pattern="^(MD5|SHA-256)$")], ...] = ("MD5",)
    """What challenges offer, in this order (RFC 8760 §2.3). Old phones give up where SHA-256 is
    offered at all: put it first, with MD5 or alone, where all phones know it."""
    timer_t1_seconds: Positive = 0.5
    """RFC 3261 §17.1.1.1."""
    ring_timeout_seconds: Positive = 180.0
    """Timer C (RFC 3261 §16.6): an INVITE branch that only rings is cancelled after it."""

    @property
    def short_expires_seconds(self) -> int:
        """What a draining peer grants at most: so soon its phones come again, elsewhere."""
        shortest = min(self.min_expires_seconds, self.max_expires_seconds)
        return max(shortest, min(SHORT_EXPIRES_SECONDS, self.max_expires_seconds))


class IdentityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files that say who this peer is; PEM, but for the keys."""

    certificate: str
    key: str
    trusted: str
    """One or two CA certificates."""
    overlay_keys: str
    """The numbered keys of the overlay: JSON, `{"current": 1, "keys": {"1": "HEX"}}`."""
    configuration: str = ""
    """The overlay's signed configuration, JSON; says who was revoked. Empty: nobody was."""
    sip_certificate: str = ""
    """Certificate and key of TLS listeners for phones; PEM in one file."""


class StorageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The disk."""

    path: str
    durability: Annotated[str, Meta(pattern="^(machine|process)$")] = "machine"
    """machine: fsync per group commit. process: survives a kill, not a power loss."""


class TelemetryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is told to the outside."""

    otlp_endpoint: str = ""
    """OTLP over gRPC, `http://HOST:PORT`; empty: no spans leave."""
    otlp_headers: str = ""
    """Folder whose files are sent with every export, as a Secret is mounted: each is named as its
    header and holds its value. Read at start; empty: none."""
    sampling_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """Part of new traces that is sampled; no effect without an endpoint."""
    http: Endpoint | None = None
    """Probes and metrics."""
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a node is started with."""

    name: str
    overlay: OverlayConfig
    sip: SipConfig
    identity: IdentityConfig
    storage: StorageConfig
    telemetry: TelemetryConfig = TelemetryConfig()

    @property
    def longest_drain_seconds(self) -> float:
        """How long an end may take in all (`fleet.md` 2.1): who waits for it waits so long."""
        wait = self.overlay.drain_timeout_seconds + self.sip.short_expires_seconds
        return wait + LAST_STEPS_SECONDS


def parse(text: str | bytes) -> NodeConfig:
    """Return the configuration of a JSON text; ConfigError names every problem."""
    try:
        config = msgspec.json.decode(text, type=NodeConfig)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"the configuration cannot be read: {error}") from error
    problems = [*_overlay_problems(config.overlay), *_sip_problems(config.sip)]
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def _overlay_problems(overlay: OverlayConfig) -> list[str]:
    problems = []
    if not overlay.founders:
        problems.append("overlay.founders is empty: name the Node-IDs that may form the ring")
    for text in overlay.founders:
        try:
            node_id(text)
        except ValueError as error:
            problems.append(f"overlay.founders: {error}")
    if len({text.lower(): None for text in overlay.founders}) != len(overlay.founders):
        problems.append("overlay.founders names one twice: a majority is of different peers")
    if overlay.successors < overlay.copies:
        problems.append("overlay.successors is less than overlay.copies: copies lie at successors")
    if overlay.copies > 16:
        problems.append("overlay.copies is more than 16: nobody can hold that many")
    return problems


def _sip_problems(sip: SipConfig) -> list[str]:
    problems = []
    if not sip.domain or sip.domain != sip.domain.lower():
        problems.append(f"sip.domain must be a name in lower case, not {sip.domain!r}")
    problems += further_domain_problems("sip.domains", sip.domain, sip.domains)
    peers = [each for each in sip.listeners if each.transport is Transport.PEER]
    if len(peers) != 1:
        problems.append(f"sip.listeners needs exactly one of transport peer, not {len(peers)}")
    for number, each in enumerate(sip.listeners):
        if bool(each.certificate) != bool(each.key):
            problems.append(f"sip.listeners[{number}] needs both certificate and key, or neither")
        if each.certificate and each.transport is not Transport.TLS:
            problems.append(f"sip.listeners[{number}].certificate is for transport tls alone")
    if not sip.digest or len(sip.digest) > len(dict.fromkeys(sip.digest)):
        problems.append("sip.digest names MD5, SHA-256 or both, each once")
    if len(sip.listeners) > 255:
        problems.append("sip.listeners has more than 255 entries")
    return problems


def further_domain_problems(field: str, first: str, further: tuple[str, ...]) -> list[str]:
    """Return what is wrong with the domains beyond the default one."""
    problems = [
        f"{field} must hold names in lower case, not {each!r}"
        for each in further
        if not each or each != each.lower()
    ]
    if len(dict.fromkeys((first, *further))) <= len(further):
        problems.append(f"{field} names a domain twice, or the default one again")
    if len(further) >= MOST_DOMAINS:
        problems.append(f"{field} has more than {MOST_DOMAINS - 1} entries")
    return problems


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
