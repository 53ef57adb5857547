"""The state folder of a local fleet: its authority, its peers' identities, ports and disks.

Made once by `chordial up`, read by every other verb. Nothing here starts or ends a process
(`processes.py`), nothing here prints.
"""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from chordial_node import config
from chordial_node.cli.ports import PeerPorts
from chordial_node.config import Endpoint, ListenerConfig, NodeConfig, Transport
from chordial_node.ids import NodeId, node_id, spread_node_ids
from chordial_node.security.authority import (
    Authority,
    Term,
    make_private_key,
    public_key_of,
)
from chordial_node.security.certificates import Role
from chordial_node.security.derived_keys import KEY_LENGTH

FORMAT = 1
OVERLAY_NAME = "laptop"
YEAR_SECONDS = 365 * 86_400.0
AUTHORITY_YEARS = 10
MADE = frozenset(
    {"lock", "ca.pem", "ca.key", "overlay-keys.json", "admin.pem", "admin.key", "peers"}
    | {f"{name}.new" for name in ("ca.pem", "ca.key", "overlay-keys.json", "admin.pem")}
    | {"admin.key.new", "fleet.json.new"}
)
"""What a folder may hold before `fleet.json`, which is written last."""


class FleetError(Exception):
    """The state folder cannot be used; the message says what is wrong and what to do."""


class PeerPlace(msgspec.Struct, frozen=True):
    """One peer of the fleet."""

    name: str
    node_id: str
    ports: PeerPorts

    @property
    def id(self) -> NodeId:
        """The Node-ID as bytes."""
        return node_id(self.node_id)


class FleetFile(msgspec.Struct, frozen=True):
    """What `fleet.json` holds."""

    format: int
    overlay_name: str
    domain: str
    host: str
    advertise: str
    peers: tuple[PeerPlace, ...]
    otlp_endpoint: str = ""
    sampling_ratio: float = 0.01


class Fleet:
    """A local fleet in its folder."""

    def __init__(self, state: Path, file: FleetFile) -> None:
        self.state = state
        self.file = file

    @classmethod
    def load(cls, state: Path) -> "Fleet":
        """Read a fleet; FleetError says how to get one."""
        path = state / "fleet.json"
        try:
            file = msgspec.json.decode(path.read_bytes(), type=FleetFile)
        except FileNotFoundError as error:
            raise FleetError(
                f"there is no fleet in {state}: start one with `chordial up`, or name its folder "
                "with --state"
            ) from error
        except msgspec.MsgspecError as error:
            raise FleetError(
                f"{path} cannot be read ({error}): move the folder away, or name another --state"
            ) from error
        except OSError as error:
            raise FleetError(
                f"{path} cannot be read ({error.strerror}): whose is it? Name another --state"
            ) from error
        if file.format != FORMAT:
            raise FleetError(
                f"{path} was written by another version of chordial (format {file.format}, this "
                f"one reads {FORMAT}): move the folder away, or name another --state"
            )
        return cls(state, file)

    @classmethod
    def exists(cls, state: Path) -> bool:
        """Tell whether a folder holds a fleet."""
        return (state / "fleet.json").exists()

    @classmethod
    def make(
        cls, state: Path, domain: str, host: str, advertise: str, ports: Sequence[PeerPorts]
    ) -> "Fleet":
        """Make the authority, the overlay's key and all identities of a new fleet."""
        peers = tuple(
            PeerPlace(f"peer-{index + 1}", identifier.hex(), each)
            for index, (identifier, each) in enumerate(
                zip(spread_node_ids(len(ports)), ports, strict=True)
            )
        )
        fleet = cls(state, FleetFile(FORMAT, OVERLAY_NAME, domain, host, advertise, peers))
        make_folder(state)
        with writing(state):
            state.chmod(0o700)
        authority = Authority.make(OVERLAY_NAME, _term(AUTHORITY_YEARS))
        write_whole(state / "ca.pem", authority.certificate)
        write_whole(state / "ca.key", authority.private_key)
        key = {"current": 1, "keys": {"1": secrets.token_hex(KEY_LENGTH)}}
        write_whole(fleet.overlay_keys, msgspec.json.encode(key))
        admin_key = make_private_key()
        admin = authority.issue_user(public_key_of(admin_key), Role.ADMIN, "admin", _term())
        write_whole(fleet.admin_certificate, admin)
        write_whole(fleet.admin_key, admin_key)
        for peer in peers:
            fleet._make_identity(authority, peer)
        fleet.save()
        return fleet

    def with_telemetry(self, otlp_endpoint: str, sampling_ratio: float) -> "Fleet":
        """Return the same fleet with its traces sent there, saved; empty: nowhere."""
        file = msgspec.structs.replace(
            self.file, otlp_endpoint=otlp_endpoint, sampling_ratio=sampling_ratio
        )
        fleet = Fleet(self.state, file)
        fleet.save()
        return fleet

    def with_ports(self, ports: Sequence[PeerPorts]) -> "Fleet":
        """Return the same fleet at other ports, saved."""
        peers = tuple(
            msgspec.structs.replace(peer, ports=each)
            for peer, each in zip(self.file.peers, ports, strict=True)
        )
        fleet = Fleet(self.state, msgspec.structs.replace(self.file, peers=peers))
        fleet.save()
        return fleet

    def save(self) -> None:
        """Write `fleet.json` and the configuration of every peer."""
        for peer in self.file.peers:
            folder = self.folder(peer)
            make_folder(folder)
            text = msgspec.json.format(msgspec.json.encode(self.node_config(peer)), indent=2)
            config.parse(text)
            write_whole(folder / "config.json", text)
        text = msgspec.json.format(msgspec.json.encode(self.file), indent=2)
        write_whole(self.state / "fleet.json", text)

    # where things are

    def folder(self, peer: PeerPlace) -> Path:
        """The folder of one peer."""
        return self.state / "peers" / peer.name

    @property
    def overlay_keys(self) -> Path:
        """The overlay's numbered keys."""
        return self.state / "overlay-keys.json"

    @property
    def admin_certificate(self) -> Path:
        """The certificate that the command shows to peers."""
        return self.state / "admin.pem"

    @property
    def admin_key(self) -> Path:
        """Its key."""
        return self.state / "admin.key"

    @property
    def trusted(self) -> Path:
        """The authority's certificate."""
        return self.state / "ca.pem"

    def peer(self, name: str) -> PeerPlace:
        """Return a peer by name, number or the beginning of its Node-ID."""
        for peer in self.file.peers:
            if name in (peer.name, peer.name.removeprefix("peer-")):
                return peer
        named = [peer for peer in self.file.peers if peer.node_id.startswith(name.lower())]
        if len(named) == 1:
            return named[0]
        names = ", ".join(peer.name for peer in self.file.peers)
        raise FleetError(f"there is no peer {name!r} in this fleet: it has {names}")

    def node_config(self, peer: PeerPlace) -> NodeConfig:
        """Return what a peer's process is started with."""
        folder = self.folder(peer)
        overlay = Endpoint(self.file.host, peer.ports.overlay)
        return NodeConfig(
            name=peer.name,
            overlay=config.OverlayConfig(
                name=self.file.overlay_name,
                bind=overlay,
                advertise=overlay,
                founders=tuple(each.node_id for each in self.file.peers),
                seeds=tuple(
                    Endpoint(self.file.host, each.ports.overlay)
                    for each in self.file.peers
                    if each is not peer
                ),
                failure_domain=peer.name,
            ),
            sip=config.SipConfig(domain=self.file.domain, listeners=self._listeners(peer)),
            identity=config.IdentityConfig(
                certificate=str(folder / "peer.pem"),
                key=str(folder / "peer.key"),
                trusted=str(self.trusted),
                overlay_keys=str(self.overlay_keys),
                sip_certificate=str(folder / "sip.pem"),
            ),
            storage=config.StorageConfig(path=str(folder / "values.db")),
            telemetry=config.TelemetryConfig(
                otlp_endpoint=self.file.otlp_endpoint,
                sampling_ratio=self.file.sampling_ratio,
                http=Endpoint(self.file.host, peer.ports.http),
            ),
        )

    def _listeners(self, peer: PeerPlace) -> tuple[ListenerConfig, ...]:
        ports = peer.ports
        hosts = [self.file.advertise or self.file.host]
        if ports.has_ipv6 and not self.file.advertise:
            hosts.append("::1")
        listeners = [
            ListenerConfig(transport, Endpoint(host, port))
            for host in hosts
            for transport, port in (
                (Transport.UDP, ports.sip),
                (Transport.TCP, ports.sip),
                (Transport.TLS, ports.sip_tls),
            )
        ]
        peer_hop = ListenerConfig(Transport.PEER, Endpoint(self.file.host, ports.sip_peer))
        return (*listeners, peer_hop)

    def _make_identity(self, authority: Authority, peer: PeerPlace) -> None:
        folder = self.folder(peer)
        make_folder(folder)
        key = make_private_key()
        certificate = authority.issue_peer(public_key_of(key), peer.id, peer.name, _term())
        write_whole(folder / "peer.pem", certificate)
        write_whole(folder / "peer.key", key)
        sip_key = make_private_key()
        addresses = [self.file.advertise or self.file.host, "::1"]
        sip = authority.issue_listener(
            public_key_of(sip_key), [self.file.domain, "localhost"], addresses, _term()
        )
        write_whole(folder / "sip.pem", sip + sip_key)


def _term(years: float = 1.0) -> Term:
    return Term(
        now=time.time(), lifetime_seconds=years * YEAR_SECONDS, serial=secrets.randbits(120)
    )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, readable by its owner alone; FleetError says why not."""
    fresh = path.with_name(path.name + ".new")
    with writing(path):
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        fresh.rename(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about a path of the state folder into a FleetError."""
    try:
        yield
    except OSError as error:
        raise FleetError(
            f"{path} cannot be written ({os.strerror(error.errno or 0).lower()}): make room or "
            "give permission there, or name another folder with --state"
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder for its owner alone; FleetError says why not."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
