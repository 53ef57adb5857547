"""SIP listeners of a node: a TLS listener waits for its own certificate, and follows it."""

import asyncio
import io
import json
import ssl
from collections.abc import Awaitable
from pathlib import Path

import pytest

from chordial_node.adapters.json_logs import NodeLog
from chordial_node.config import Endpoint, ListenerConfig, Transport
from chordial_node.sip_edge import SipEdge
from tests.node.adapters.overlay_rig import NODES, Issuer, on_a_loop
from tests.node.test_node import free


class Place:
    """A TLS listener whose files are where a Secret would be mounted."""

    def __init__(self, folder: Path) -> None:
        self.issuer = Issuer(folder)
        self.folder = folder
        self.listener = ListenerConfig(
            Transport.TLS,
            Endpoint("127.0.0.1", free(1)[0]),
            certificate=str(folder / "tls.crt"),
            key=str(folder / "tls.key"),
        )
        paper = self.issuer.peer(NODES[0])
        self.log = io.StringIO()
        self.edge = SipEdge(
            (self.listener,), paper.identity, paper.trust, NodeLog(self.log, "info", "p0"),
            lambda _: None, lambda *_: None, lambda: None,
        )  # fmt: skip

    def write(self) -> None:
        """Write key and certificate, new ones each time."""
        text = Path(self.issuer.listener()).read_text()
        key, _, certificate = text.partition("-----BEGIN CERTIFICATE")
        (self.folder / "tls.key").write_text(key)
        (self.folder / "tls.crt").write_text("-----BEGIN CERTIFICATE" + certificate)

    async def shown(self) -> bytes:
        """The certificate at the listener."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _, writer = await asyncio.open_connection(*self.listener.bind.address, ssl=context)
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return shown

    def told(self) -> list[str]:
        """What was logged."""
        return [json.loads(line)["message"] for line in self.log.getvalue().splitlines()]


async def listening(_field: str, _bind: Endpoint, starting: Awaitable[int]) -> None:
    await starting


@on_a_loop
async def test_a_tls_listener_waits_for_its_certificate_and_takes_up_each_new_one(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    await place.edge.start(listening)
    assert place.told() == ["TLS listener waits for its certificate"]
    with pytest.raises(ConnectionRefusedError):
        await place.shown()
    place.write()
    await place.edge.look_at_certificates()
    first = await place.shown()
    await place.edge.look_at_certificates()
    assert await place.shown() == first
    place.write()
    await place.edge.look_at_certificates()
    assert await place.shown() != first
    assert place.told()[1:] == ["TLS listener has its certificate"] * 2
    await place.edge.stop()


@on_a_loop
async def test_a_broken_certificate_leaves_the_one_that_is_shown(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write()
    await place.edge.start(listening)
    first = await place.shown()
    (tmp_path / "tls.crt").write_text("nonsense")
    await place.edge.look_at_certificates()
    assert await place.shown() == first
    assert place.told()[-1] == "TLS listener cannot be served"
    await place.edge.stop()
