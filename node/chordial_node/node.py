"""The composition root: adapters around a core, started and stopped in order.

Several nodes may live in one process; nothing here is global. What the process itself is, signals
and the event loop, belongs to `__main__.py`.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Never, TextIO

from chordial_node.adapters import prometheus_metrics
from chordial_node.adapters.grpc_control import GrpcControl
from chordial_node.adapters.grpc_links import GrpcLinks
from chordial_node.adapters.grpc_server import GrpcServer
from chordial_node.adapters.http_server import HttpServer
from chordial_node.adapters.identity_files import PeerIdentity, read_identity
from chordial_node.adapters.json_logs import NodeLog
from chordial_node.adapters.prometheus_metrics import PrometheusMetrics
from chordial_node.adapters.question_desk import QuestionDesk
from chordial_node.adapters.sip_streams import SipStreams, StreamListener
from chordial_node.adapters.sip_udp import SipUdp
from chordial_node.adapters.sqlite_disk import DiskError, SqliteDisk
from chordial_node.adapters.tls_contexts import (
    GRPC_ALPN,
    SIP_ALPN,
    peer_client,
    peer_server,
    phone_server,
)
from chordial_node.adapters.tls_probe import TlsProbe
from chordial_node.boundary.control import Answer, Question
from chordial_node.boundary.effects import (
    Answered,
    CloseFlow,
    CloseLink,
    Effect,
    Notice,
    OpenFlow,
    OpenLink,
    Persist,
    SendDatagram,
    Stopped,
    WriteFlow,
    WriteFrame,
)
from chordial_node.boundary.events import Event, Started, StopAsked
from chordial_node.config import ConfigError, Endpoint, ListenerConfig, NodeConfig, Transport
from chordial_node.core import Core
from chordial_node.driver import Driver

PERFORMERS: tuple[type[Effect], ...] = (
    OpenLink,
    WriteFrame,
    CloseLink,
    Persist,
    SendDatagram,
    OpenFlow,
    WriteFlow,
    CloseFlow,
    Answered,
    Stopped,
)
"""Each effect that somebody here performs; notices are observed instead."""

STOP_MARGIN_SECONDS = 5.0
"""Beyond the longest drain: a core that has not stopped by then is not waited for."""


class StartError(Exception):
    """The node cannot start; the message says what is wrong and what to do."""


class Node:
    """One peer: its core, and everything that moves it."""

    def __init__(self, config: NodeConfig, log_stream: TextIO) -> None:
        self.config = config
        self.log = NodeLog(log_stream, config.telemetry.log_level, config.name)
        self.metrics = PrometheusMetrics()
        self._stopped: asyncio.Future[Stopped] = asyncio.get_running_loop().create_future()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._observers: dict[type[Notice], list[Callable[[Notice], None]]] = {}
        self._driver: Driver | None = None
        self._desk = QuestionDesk(self._tell)

    async def start(self) -> None:
        """Start everything, or nothing: StartError says what is wrong."""
        try:
            await self._start()
        except (ConfigError, DiskError) as error:
            await self.close()
            raise StartError(f"{self.config.name}: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def ask(self, question: Question) -> Answer:
        """Ask this peer from inside its own process; the answer may be Refused."""
        return await self._desk.ask(question)

    @property
    def bundle_hash(self) -> str:
        """What this peer believes at present, as rotations count it; empty before the start."""
        return self._taken.bundle_hash

    def renew(self) -> None:
        """Take up the certificate, authorities and keys that lie in the same files now.

        Connections that are open go on; ConfigError tells why nothing was taken up.
        """
        now, present = time.time(), self._identity
        renewed = read_identity(self.config.identity, self.config.overlay.name, now)
        if present is None or renewed.node != present.node:
            raise ConfigError("the renewed certificate is not this peer's")
        present.trust.take(renewed.trust)
        present.keys.take(renewed.keys)
        for renew in self._renewers:
            renew(renewed)
        self._take(renewed)
        self.log.line("info", "certificate renewed", seconds_left=int(renewed.not_after - now))

    def terminate(self) -> None:
        """End as `overlay.stops_as` wants it; a drain that runs already goes on to its end."""
        how = self.config.overlay.stops_as
        self.stop(leave=how == "leave", restart=how == "restart")

    def stop(self, *, leave: bool, restart: bool = False) -> None:
        """Ask the core to stop, at once or after a drain; `wait` returns when it has."""
        if self._driver is None:
            self._on_stopped(Stopped("it was stopped before it had started"))
            return
        self._driver.tell(StopAsked(leave, restart))
        patience = self.config.longest_drain_seconds + STOP_MARGIN_SECONDS
        late = Stopped(f"it did not stop within {patience:g} s", failed=True)
        asyncio.get_running_loop().call_later(patience, self._on_stopped, late)

    async def wait(self) -> Stopped:
        """Return when the core has stopped, or has failed."""
        return await asyncio.shield(self._stopped)

    async def close(self) -> None:
        """Close everything that was started, in reverse."""
        if self._driver is not None:
            self._driver.stop()
        while self._closers:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closers.pop()(), STOP_MARGIN_SECONDS)

    def refused(self, reason: str, told: str, remote: str) -> None:
        """Count and log an outsider whom the edge turned away."""
        self.metrics.refused(reason)
        fields = {"reason": reason, "told": told, "remote": remote}
        self.log.limited_line("warning", "outsider refused", **fields)

    # the start, in order

    async def _start(self) -> None:
        config = self.config
        identity = read_identity(config.identity, config.overlay.name, time.time())
        core = Core(config, identity.node, identity.keys, SystemRandom())
        disk = SqliteDisk(
            Path(config.storage.path), identity.node, config.storage.durability, self._tell
        )
        records = await asyncio.to_thread(disk.open)
        self._closers.append(disk.close)
        if disk.set_aside:
            self.log.line("error", "storage file set aside", told=disk.set_aside)
        disk.start()
        udp = SipUdp(self._tell, self.metrics.unsent)
        streams = SipStreams(identity.trust, self._tell, self.refused)
        links = self._links(identity)
        desk = self._desk
        perform: dict[type[Effect], Callable[[Never], None]] = {
            OpenLink: links.open,
            WriteFrame: links.write,
            CloseLink: links.close,
            Persist: disk.persist,
            SendDatagram: udp.send,
            OpenFlow: streams.open,
            WriteFlow: streams.write,
            CloseFlow: streams.close,
            Answered: desk.answered,
            Stopped: self._on_stopped,
        }
        assert tuple(perform) == PERFORMERS
        loop = asyncio.get_running_loop()
        self._driver = Driver(core, perform, self._observe, self._on_fault, loop.call_later)
        self._watch(self.log.observers(), self.metrics.observers())
        await self._start_spans(identity)
        await self._start_http(desk)
        await self._start_grpc(identity, links, desk)
        await self._start_sip(udp, streams)
        self._driver.begin(Started(self._driver.wall_offset, records))
        self.log.line("info", "node started", node_id=identity.node.hex(), records=len(records))

    def _links(self, identity: PeerIdentity) -> GrpcLinks:
        probe = TlsProbe(peer_client(self.config.identity, GRPC_ALPN), identity.trust)
        return GrpcLinks(
            identity.node,
            identity.credentials,
            identity.trust,
            probe,
            self._tell,
            self.refused,
        )

    async def _start_spans(self, identity: PeerIdentity) -> None:
        if not self.config.telemetry.otlp_endpoint:
            return
        from chordial_node.adapters.otel_spans import OtelSpans, otlp_exporter  # 12 MiB

        assert self._driver is not None
        driver = self._driver
        spans = OtelSpans(
            otlp_exporter(self.config.telemetry.otlp_endpoint),
            identity.node,
            self.config.overlay.name,
            lambda: driver.wall_offset,
        )
        self._watch(spans.observers())
        self._closers.append(spans.close)

    async def _start_http(self, desk: QuestionDesk) -> None:
        bind = self.config.telemetry.http
        if bind is None:
            return
        http = HttpServer(desk.ask, self.metrics.text, prometheus_metrics.CONTENT_TYPE)
        self._watch(http.observers())
        await self._listening("telemetry.http", bind, http.start(bind))
        self._closers.append(http.stop)

    async def _start_grpc(
        self, identity: PeerIdentity, links: GrpcLinks, desk: QuestionDesk
    ) -> None:
        control = GrpcControl(identity.trust, desk.ask, self.refused)
        server = GrpcServer(identity.credentials)
        server.add(links.service())
        server.add(control.service())

        async def stop() -> None:
            desk.close()
            await links.stop()
            await server.stop(0.5)

        self._closers.append(stop)
        bind = self.config.overlay.bind
        await self._listening("overlay.bind", bind, server.start(bind))

    async def _start_sip(self, udp: SipUdp, streams: SipStreams) -> None:
        async def stop() -> None:
            udp.close()
            await streams.stop()

        self._closers.append(stop)
        for number, listener in enumerate(self.config.sip.listeners):
            if listener.transport is Transport.UDP:
                starting = udp.listen(number, listener.bind)
            else:
                starting = streams.listen(number, self._stream_listener(listener))
            field = f"sip.listeners[{number}].bind ({listener.transport.value})"
            await self._listening(field, listener.bind, starting)

    def _stream_listener(self, listener: ListenerConfig) -> StreamListener:
        identity = self.config.identity
        if listener.transport is Transport.PEER:
            return StreamListener(
                listener.transport,
                listener.bind,
                peer_server(identity, SIP_ALPN),
                peer_client(identity, SIP_ALPN),
            )
        server = (
            phone_server(identity.sip_certificate) if listener.transport is Transport.TLS else None
        )
        return StreamListener(listener.transport, listener.bind, server)

    async def _listening(self, field: str, bind: Endpoint, starting: Awaitable[int]) -> None:
        try:
            await starting
        except OSError as error:
            raise StartError(
                f"{self.config.name}: {field}: cannot listen on {bind}:"
                f" {os.strerror(error.errno) if error.errno else error};"
                " end what listens there, or give another address or port"
            ) from error

    # while it runs

    def _tell(self, event: Event) -> None:
        if self._driver is not None:
            self._driver.tell(event)

    def _watch(self, *tables: dict[type[Notice], Callable[[Notice], None]]) -> None:
        for table in tables:
            for kind, observe in table.items():
                self._observers.setdefault(kind, []).append(observe)

    def _observe(self, notice: Notice) -> None:
        for observe in self._observers.get(type(notice), ()):
            observe(notice)

    def _on_stopped(self, effect: Stopped) -> None:
        if not self._stopped.done():
            self.log.line("info", "node stopped", reason=effect.reason, failed=effect.failed)
            self._stopped.set_result(effect)

    def _on_fault(self, error: Exception) -> None:
        self.log.fault("core failed: a fault of our own", error)
        self._on_stopped(Stopped(f"a fault of our own: {error!r}", failed=True))
