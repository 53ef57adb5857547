"""A whole node on loopback: started, asked, stopped; and what keeps it from starting."""

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from chordial_node.adapters.self_probe import udp_answers
from chordial_node.boundary.control import AskStatus, Configure, Done, Refused, StatusAnswer
from chordial_node.client import PeerClient, PeerUnreachableError
from chordial_node.config import (
    Endpoint,
    ListenerConfig,
    NodeConfig,
    OverlayConfig,
    SipConfig,
    StorageConfig,
    TelemetryConfig,
    Transport,
)
from chordial_node.ids import NodeId
from chordial_node.node import Node, StartError
from chordial_node.security.certificates import Role
from chordial_node.security.configuration import Configuration, sign_configuration
from chordial_node.security.signatures import Ed25519Signatures
from tests.node.adapters.overlay_rig import NODES, OVERLAY, Issuer, on_a_loop

START_SECONDS = 15.0


class Place:
    """A folder with everything that one node is started with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.issuer = Issuer(folder)
        keys = folder / "keys.json"
        keys.write_bytes(msgspec.json.encode({"current": 1, "keys": {"1": "00" * 32}}))
        paper = self.issuer.peer(NODES[0])
        self.admin = self.issuer.user(Role.ADMIN).credentials
        overlay, udp, tcp, tls, peer, http = (Endpoint("127.0.0.1", port) for port in free(6))
        self.config = NodeConfig(
            name="p0",
            overlay=OverlayConfig(
                name=OVERLAY, bind=overlay, advertise=overlay, founders=(NODES[0].hex(),)
            ),
            sip=SipConfig(
                domain="chordial.test",
                listeners=(
                    ListenerConfig(Transport.UDP, udp),
                    ListenerConfig(Transport.TCP, tcp),
                    ListenerConfig(Transport.TLS, tls),
                    ListenerConfig(Transport.PEER, peer),
                ),
            ),
            identity=msgspec.structs.replace(
                paper.identity,
                overlay_keys=str(keys),
                sip_certificate=self.issuer.listener(),
            ),
            storage=StorageConfig(path=str(folder / "values.sqlite")),
            telemetry=TelemetryConfig(http=http),
        )

    def client(self) -> PeerClient:
        return PeerClient(
            self.config.overlay.bind.address,
            trusted=self.admin.authorities,
            certificate=self.admin.certificate,
            key=self.admin.private_key,
            node=NODES[0],
        )

    def write_config(self) -> Path:
        path = self.folder / "config.json"
        path.write_bytes(msgspec.json.encode(self.config))
        return path


def free(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def status_of(client: PeerClient, wanted: Callable[[StatusAnswer], bool]) -> StatusAnswer:
    """Ask until the status is as wanted, within the time that a start may take."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                status = await client.ask_for(AskStatus(), StatusAnswer)
            except PeerUnreachableError:
                status = None
            if status is not None and wanted(status):
                return status
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.05)


@on_a_loop
async def test_a_lone_founder_becomes_ready_and_stops_when_asked(place: Place) -> None:
    log = io.StringIO()
    node = Node(place.config, log)
    await node.start()
    async with place.client() as client:
        status = await status_of(client, lambda status: status.state == "ready")
        assert (status.node_id, status.name) == (NODES[0], "p0")
        assert status.is_ready
    assert await udp_answers(place.config.sip.listeners[0].bind)
    node.stop(leave=False)
    ended = await node.wait()
    await node.close()
    assert not ended.failed
    messages = [json.loads(line)["message"] for line in log.getvalue().splitlines()]
    assert "node started" in messages
    assert "node stopped" in messages


SIGNER = Ed25519Signatures(b"s" * 32)


def signed(sequence: int, *revoked: NodeId) -> bytes:
    founders, out = (NODES[0].hex(),), tuple(node.hex() for node in revoked)
    made = Configuration(OVERLAY, "aa", sequence, founders, SIGNER.public_key.hex(), out)
    return sign_configuration(SIGNER, made)


@on_a_loop
async def test_who_is_shut_out_is_believed_at_once_by_its_signature(place: Place) -> None:
    """It stands on the disk as well, and a peer's own word shuts nobody out."""
    path = place.folder / "configuration.json"
    path.write_bytes(signed(1))
    told = msgspec.structs.replace(place.config.identity, configuration=str(path))
    place.config = msgspec.structs.replace(place.config, identity=told)
    shown = place.issuer.peer(NODES[2]).credentials
    node = Node(place.config, io.StringIO())
    await node.start()
    other = PeerClient(
        place.config.overlay.bind.address,
        trusted=shown.authorities,
        certificate=shown.certificate,
        key=shown.private_key,
        node=NODES[0],
    )
    async with place.client() as client, other:
        await status_of(client, lambda status: status.state == "ready")
        await other.ask_for(AskStatus(), StatusAnswer)
        forged = signed(2, NODES[1]).replace(NODES[1].hex().encode(), NODES[3].hex().encode())
        refused = await other.ask(Configure(forged))
        assert isinstance(refused, Refused)
        assert "signature does not fit" in refused.reason
        for _ in range(2):
            assert await client.ask(Configure(signed(2, NODES[2]))) == Done()
        assert isinstance(await other.ask(AskStatus()), Refused)
        assert path.read_bytes() == signed(2, NODES[2])
    node.stop(leave=False)
    await node.wait()
    await node.close()


@pytest.mark.parametrize("number", [0, 1, 2, 3])
@on_a_loop
async def test_a_port_in_use_names_the_listener_and_leaves_nothing_open(
    place: Place, number: int
) -> None:
    listener = place.config.sip.listeners[number]
    kind = socket.SOCK_DGRAM if listener.transport is Transport.UDP else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(listener.bind.address)
        if kind is socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(StartError, match=rf"sip\.listeners\[{number}\]\.bind .* in use"):
            await Node(place.config, io.StringIO()).start()
    node = Node(place.config, io.StringIO())
    await node.start()
    await node.close()


@on_a_loop
async def test_the_overlay_port_in_use_names_its_field(place: Place) -> None:
    node = Node(place.config, io.StringIO())
    with (
        socket.create_server(place.config.overlay.bind.address),
        pytest.raises(StartError, match=r"p0: overlay\.bind: cannot listen on 127"),
    ):
        await node.start()


@on_a_loop
async def test_a_second_node_on_the_same_disk_does_not_start(place: Place) -> None:
    node = Node(place.config, io.StringIO())
    await node.start()
    with pytest.raises(StartError, match=r"storage\.path .* is in use by process"):
        await Node(place.config, io.StringIO()).start()
    await node.close()


def run(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "chordial_node", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_the_process_serves_until_it_is_told_to_end_and_logs_who_was_refused(
    place: Place, require_program: Callable[[str, str], Path]
) -> None:
    openssl = require_program("openssl", "openssl")
    process = run(str(place.write_config()))

    @on_a_loop
    async def serve() -> None:
        async with place.client() as client:
            await status_of(client, lambda status: status.state == "ready")

    serve()
    address = str(place.config.overlay.bind)
    outsider = [str(openssl), "s_client", "-alpn", "h2", "-connect", address, "-ign_eof"]
    subprocess.run(outsider, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=15)
    assert process.returncode == 0, told
    lines = [json.loads(line) for line in told.splitlines()]
    refused = [line for line in lines if line["message"] == "outsider refused"]
    assert [line["told"] for line in refused] == ["no certificate was shown"]


def test_what_cannot_start_says_why_and_ends_with_2(place: Place, tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    process = run(str(missing))
    _, told = process.communicate(timeout=15)
    assert (process.returncode, told) == (
        2,
        f"chordial-node: {missing} cannot be read: No such file or directory\n",
    )
    config = place.write_config()
    with socket.create_server(place.config.overlay.bind.address):
        process = run(str(config))
        _, told = process.communicate(timeout=15)
    assert process.returncode == 2
    assert told.startswith("chordial-node: p0: overlay.bind: cannot listen on 127.0.0.1:")
