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
from chordial_node.adapters.http_server import Content, HttpServer
from chordial_node.adapters.identity_files import (
    PeerIdentity,
    read_identity,
    take_configuration,
)
from chordial_node.adapters.json_logs import NodeLog
from chordial_node.adapters.prometheus_metrics import PrometheusMetrics
from chordial_node.adapters.question_desk import QuestionDesk
from chordial_node.adapters.sqlite_disk import DiskError, SqliteDisk
from chordial_node.adapters.tls_contexts import GRPC_ALPN, peer_client
from chordial_node.adapters.tls_probe import TlsProbe
from chordial_node.boundary.control import Answer, Configure, Done, Question, Refused
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
from chordial_node.boundary.events import (
    AdvertiseChanged,
    Event,
    IdentityTaken,
    LinkFailed,
    Started,
    StopAsked,
)
from chordial_node.boundary.notices import Ready
from chordial_node.config import ConfigError, Endpoint, ListenerConfig, NodeConfig
from chordial_node.core import Core
from chordial_node.driver import Driver
from chordial_node.ids import NodeId
from chordial_node.sip_edge import SipEdge
from chordial_node.upkeep import follow_certificates, follow_seeds, watch_listeners

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

    def __init__(
        self, config: NodeConfig, log_stream: TextIO, http: HttpServer | None = None
    ) -> None:
        """Take the configuration, where to log, and a port for probes that is open already."""
        self.config = config
        self._http = http
        self._identity: PeerIdentity | None = None
        self._taken = IdentityTaken(not_after=0.0, bundle_hash="")
        self._renewers: list[Callable[[PeerIdentity, tuple[NodeId, ...]], None]] = []
        self._upkeep: list[asyncio.Task[Never]] = []
        self._is_ready = False
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

    def advertise(self, listeners: tuple[ListenerConfig, ...]) -> None:
        """Tell phones other addresses of the same listeners from now on."""
        self._tell(AdvertiseChanged(listeners))
        known = [str(each.advertised) for each in listeners]
        self.log.line("info", "advertised addresses changed", listeners=known)

    def renew(self) -> None:
        """Take up the certificate, authorities and keys that lie in the same files now.

        Connections that are open go on; ConfigError tells why nothing was taken up.
        """
        now, present = time.time(), self._identity
        renewed = read_identity(self.config.identity, self.config.overlay.name, now)
        if present is None or renewed.node != present.node:
            raise ConfigError("the renewed certificate is not this peer's")
        rekeyed = present.trust.rekeyed(renewed.trust)
        present.trust.take(renewed.trust)
        present.keys.take(renewed.keys)
        for renew in self._renewers:
            renew(renewed, rekeyed)
        self._take(renewed, rekeyed)
        self.log.line("info", "certificate renewed", seconds_left=int(renewed.not_after - now))

    async def _configure(self, question: Configure) -> Answer:
        """Take up a configuration that the overlay's authority signed, if it is a newer one."""
        identity, overlay = self.config.identity, self.config.overlay.name
        try:
            if await asyncio.to_thread(
                take_configuration, identity, overlay, question.configuration
            ):
                self.log.line("info", "newer configuration taken up")
                self.renew()
        except ConfigError as error:
            return Refused("forbidden", str(error))
        return Done()

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
        for task in self._upkeep:
            task.cancel()
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
        self._identity = identity
        core = Core(config, identity.node, identity.keys, SystemRandom())
        disk = SqliteDisk(
            Path(config.storage.path), identity.node, config.storage.durability, self._tell
        )
        records = await asyncio.to_thread(disk.open)
        self._closers.append(disk.close)
        if disk.set_aside:
            self.log.line("error", "storage file set aside", told=disk.set_aside)
        disk.start()
        sip = SipEdge(
            config.sip.listeners,
            config.identity,
            identity.trust,
            self.log,
            self._tell,
            self.refused,
            self.metrics.unsent,
        )
        probe = TlsProbe(peer_client(config.identity, GRPC_ALPN), identity.trust)
        links = self._links(identity, probe)
        desk = self._desk
        perform: dict[type[Effect], Callable[[Never], None]] = {
            OpenLink: links.open,
            WriteFrame: links.write,
            CloseLink: links.close,
            Persist: disk.persist,
            SendDatagram: sip.udp.send,
            OpenFlow: sip.streams.open,
            WriteFlow: sip.streams.write,
            CloseFlow: sip.streams.close,
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
        self._closers.append(sip.stop)
        await sip.start(self._listening)
        self._renewers.append(lambda _, rekeyed: sip.renew(rekeyed))
        self._driver.begin(Started(self._driver.wall_offset, records))
        self._take(identity)
        self._start_upkeep(sip, probe)
        self.log.line("info", "node started", node_id=identity.node.hex(), records=len(records))

    def _links(self, identity: PeerIdentity, probe: TlsProbe) -> GrpcLinks:
        links = GrpcLinks(
            identity.node,
            identity.credentials,
            identity.trust,
            probe,
            self._tell,
            self.refused,
        )
        self._renewers += (
            lambda renewed, _: links.renew(renewed.credentials),
            lambda _, __: probe.renew(peer_client(self.config.identity, GRPC_ALPN)),
        )
        return links

    async def _start_spans(self, identity: PeerIdentity) -> None:
        if not self.config.telemetry.otlp_endpoint:
            return
        from chordial_node.adapters.otel_spans import (  # 12 MiB
            OtelSpans,
            otlp_exporter,
            read_headers,
        )

        assert self._driver is not None
        driver, telemetry = self._driver, self.config.telemetry
        headers, problems = await asyncio.to_thread(read_headers, telemetry.otlp_headers)
        for problem in problems:
            self.log.line("error", "spans leave without a header", told=problem)
        spans = OtelSpans(
            otlp_exporter(telemetry.otlp_endpoint, headers),
            identity.node,
            self.config.overlay.name,
            lambda: driver.wall_offset,
        )
        self._watch(spans.observers())
        self._closers.append(spans.close)

    async def _start_http(self, desk: QuestionDesk) -> None:
        content = Content(desk.ask, self.metrics.text, prometheus_metrics.CONTENT_TYPE)
        if self._http is not None:
            self._http.show(content)
            self._watch(self._http.observers())
        bind = self.config.telemetry.http
        if bind is None:
            return
        http = HttpServer(content)
        self._watch(http.observers())
        await self._listening("telemetry.http", bind, http.start(bind))
        self._closers.append(http.stop)

    async def _start_grpc(
        self, identity: PeerIdentity, links: GrpcLinks, desk: QuestionDesk
    ) -> None:
        async def ask(question: Question) -> Answer:
            if isinstance(question, Configure):  # who a peer is, is on the disk: no core's affair
                return await self._configure(question)
            return await desk.ask(question)

        control = GrpcControl(identity.trust, ask, self.refused)
        server = GrpcServer(identity.credentials)
        self._renewers.append(lambda renewed, _: server.renew(renewed.credentials))
        server.add(links.service())
        server.add(control.service())

        async def stop() -> None:
            desk.close()
            await links.stop()
            await server.stop(0.5)

        self._closers.append(stop)
        bind, also = self.config.overlay.bind, self.config.overlay.also_bind
        await self._listening("overlay.bind", bind, server.start(bind, also))

    async def _listening(self, field: str, bind: Endpoint, starting: Awaitable[int]) -> None:
        try:
            await starting
        except OSError as error:
            raise StartError(
                f"{self.config.name}: {field}: cannot listen on {bind}:"
                f" {os.strerror(error.errno) if error.errno else error};"
                " end what listens there, or give another address or port"
            ) from error

    def _start_upkeep(self, sip: SipEdge, probe: TlsProbe) -> None:
        async def find_fault() -> str:
            bind = self.config.overlay.bind
            if isinstance(await probe(0, bind.address), LinkFailed):
                return f"the overlay's port at {bind} does not answer"
            return await sip.silent_listener()

        loops = [
            watch_listeners(find_fault, self._tell),
            follow_certificates(sip.look_at_certificates),
        ]
        if names := self.config.overlay.seed_names:
            loops.append(follow_seeds(names, self._tell, lambda: self._is_ready))
        self._upkeep = [asyncio.get_running_loop().create_task(each) for each in loops]
        for task in self._upkeep:
            task.add_done_callback(self._on_upkeep_ended)
        self._watch({Ready: self._on_ready})

    # while it runs

    def _take(self, identity: PeerIdentity, rekeyed: tuple[NodeId, ...] = ()) -> None:
        end, shown = identity.not_after, identity.bundle_hash
        self._taken = IdentityTaken(end, shown, identity.revoked, rekeyed)
        self._tell(self._taken)

    def _on_upkeep_ended(self, task: "asyncio.Task[Never]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.log.fault("upkeep failed: a fault of our own", error)

    def _on_ready(self, notice: Notice) -> None:
        assert isinstance(notice, Ready)
        self._is_ready = notice.is_ready

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
