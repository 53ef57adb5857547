"""A peer's life in a pod: probes first, then an identity, then the node, and renewals (fleet 2.2).

Nothing here waits for the operator but a first certificate: a pod that returns with its volume
joins at once. The probe port answers from the beginning, so that waiting passes the startup probe.
Signals and the exit code are `__main__`'s; what a node does with its identity is `node`'s.
"""

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from random import SystemRandom
from typing import Never, TextIO

from chordial_node.adapters.grpc_enrollment import ANSWER_SECONDS, EnrollmentError, enroll
from chordial_node.adapters.http_server import STARTING, HttpServer
from chordial_node.adapters.identity_volume import (
    AnswerError,
    Expected,
    Held,
    IdentityVolume,
    NotEnrolledError,
    VolumeError,
)
from chordial_node.adapters.json_logs import NodeLog
from chordial_node.boundary.effects import Stopped
from chordial_node.boundary.enrollment import EnrollmentRequest
from chordial_node.config import ConfigError, Endpoint, NodeConfig, Transport
from chordial_node.ids import NodeId, node_id
from chordial_node.node import Node, StartError
from chordial_node.pod_config import (
    PROBE_PORT,
    PodConfig,
    PodPaths,
    PodPlace,
    PodStanding,
    node_config,
    parse_pod,
    place_problems,
    taken_up,
)
from chordial_node.security.authority import certificate_request

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Between two questions to the operator, drawn anew each time (fleet 2.2)."""
MOVED_SECONDS = 3.0
"""So long the operator is asked for the failure domain of a pod that came to another Node."""
LOOK_SECONDS = 5.0
AGAIN_SECONDS = 60.0
"""A bundle is mounted late by as much: until then an answer may be newer than what lies there."""
SPREAD_SECONDS = 10.0
"""A bundle that has changed has changed for everybody: not all ask at once."""
RENEW_AT = 1 / 3
SUPERSEDED = "a later life of this Node-ID"


class Pod:
    """One pod."""

    def __init__(self, paths: PodPaths, environment: Mapping[str, str], log_stream: TextIO) -> None:
        """Read what the pod was given; ConfigError names every problem."""
        self._paths = paths
        self._config = _read_config(paths)
        self._place = _place(environment)
        self._log_stream = log_stream
        self.log = NodeLog(log_stream, self._config.log_level, self._place.name)
        self._http = HttpServer()
        expected = Expected(
            self._config.overlay_name,
            _expected_node(environment.get("CHORDIAL_NODE_ID", "")),
            _read_text(Path(paths.bundle) / "instance-id"),
        )
        self._volume = IdentityVolume(Path(paths.identity), expected)
        self._random = SystemRandom()
        self._node: Node | None = None
        self._stop_asked = asyncio.Event()

    def refused(self, reason: str, told: str, remote: str) -> None:
        """Count and log an outsider whom the edge turned away."""
        if self._node is not None:
            self._node.refused(reason, told, remote)

    def terminate(self) -> None:
        """End: before there is a node at once, else as the set's storage says."""
        self._stop_asked.set()
        if self._node is not None:
            self._node.terminate()

    async def run(self) -> int:
        """Live; return the exit code. StartError says why this pod cannot be a peer."""
        try:
            await self._open_probes()
            held = await self._unless_stopped(self._identity())
            while held is not None:
                ended = await self._run_node(self._configured(held), held)
                if not (ended.failed and ended.reason.startswith(SUPERSEDED)):
                    self._http.say_unready(f"stopped: {ended.reason}")
                    return int(ended.failed)
                held = await self._unless_stopped(self._begin_anew(ended.reason))
            return 0
        except (VolumeError, ConfigError) as error:
            raise StartError(f"{self._place.name}: {error}") from error
        finally:
            await self._http.stop()

    # before there is a node

    async def _open_probes(self) -> None:
        for address in (*self._place.addresses, *self._place.loopback):
            bind = Endpoint(address, PROBE_PORT)
            try:
                await self._http.start(bind)
            except OSError as error:
                raise StartError(
                    f"{self._place.name}: the probes cannot listen at {bind}: {error}"
                ) from error

    async def _unless_stopped(self, finding: Coroutine[None, None, Held]) -> Held | None:
        loop = asyncio.get_running_loop()
        found = loop.create_task(finding)
        stopped = loop.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait([found, stopped], return_when=asyncio.FIRST_COMPLETED)
            return found.result() if found.done() else None
        finally:
            found.cancel()
            stopped.cancel()

    async def _identity(self) -> Held:
        try:
            held = await asyncio.to_thread(self._volume.load, time.time())
        except NotEnrolledError as error:
            return await self._enroll(str(error))
        self.log.line("info", "identity found on the volume", node_id=_name_of(held))
        if held.node_name != self._place.node_name:
            return await self._moved(held)
        return held

    async def _moved(self, held: Held) -> Held:
        """The pod came to another Node: the failure domain that is held was another one's."""
        try:
            return await self._enroll_once(MOVED_SECONDS)
        except (EnrollmentError, AnswerError) as error:
            self.log.line("warning", "failure domain not known, taking the Node", told=str(error))
            return Held(held.identity, held.configuration, held.enrolled_at, "", "")

    async def _enroll(self, reason: str) -> Held:
        longest = 2 * SHORTEST_PAUSE
        while True:
            self._http.say_unready(f"waiting for a certificate: {reason}")
            try:
                return await self._enroll_once()
            except EnrollmentError as error:
                reason, level = str(error), "error" if error.is_refusal else "warning"
            except AnswerError as error:
                reason, level = str(error), "error"
            self._http.say_unready(f"waiting for a certificate: {reason}")
            self.log.limited_line(level, "no certificate", told=reason)
            await asyncio.sleep(self._random.uniform(SHORTEST_PAUSE, longest))
            longest = min(2 * longest, LONGEST_PAUSE)

    async def _enroll_once(self, seconds: float = ANSWER_SECONDS) -> Held:
        """Ask with the token that lies there now, and keep the answer."""
        bundle = Path(self._paths.bundle)
        mark = _mark_of(bundle)
        token = _needed(Path(self._paths.token)).decode("ascii", "replace").strip()
        root = _needed(bundle / "enrollment.pem")
        request = EnrollmentRequest(
            self._config.overlay_name,
            token,
            certificate_request(await asyncio.to_thread(self._volume.private_key)),
            self._listener_request(),
            self._volume.is_superseded,
        )
        names = self._listener_names()
        enrolled = await enroll(self._config.enrollment, root, request, seconds)
        node_name, now = self._place.node_name, time.time()
        held = await asyncio.to_thread(self._volume.keep, enrolled, node_name, mark, now, names)
        fields = {"node_id": _name_of(held), "failure_domain": held.failure_domain}
        self.log.line("info", "enrolled", **fields)
        return held

    def _listener_request(self) -> bytes:
        wants = bool(self._listener_names())
        return certificate_request(self._volume.listener_key()) if wants else b""

    def _listener_names(self) -> tuple[str, ...]:
        """What the certificate of TLS listeners without a Secret is to name; empty: there is none.

        The operator knows by itself; here it tells that another certificate is due.
        """
        config = self._config
        wants = any(
            each.transport is Transport.TLS and not each.certificate for each in config.listeners
        )
        return (config.domain, *config.domains, *config.advertise) if wants else ()

    async def _begin_anew(self, reason: str) -> Held:
        """Get a certificate for a new key: another process has taken this identity (fleet 2.2).

        Where that is this peer's own later pod, the operator refuses: of that one pod it knows.
        """
        self._http.say_unready(f"superseded: {reason}")
        self.log.line("error", "superseded: a new key is asked for", told=reason)
        await asyncio.to_thread(self._volume.supersede)
        return await self._enroll(f"superseded: {reason}")

    def _configured(self, held: Held) -> NodeConfig:
        standing = PodStanding(held.configuration.founders, held.failure_domain)
        return node_config(self._config, self._place, self._paths, standing)

    # while there is one

    async def _run_node(self, config: NodeConfig, held: Held) -> Stopped:
        self._http.say_unready(STARTING)
        node = Node(config, self._log_stream, self._http)
        tasks: list[asyncio.Task[Never]] = []
        try:
            await node.start()
            self._node = node
            if self._stop_asked.is_set():
                node.terminate()
            loop = asyncio.get_running_loop()
            for work in (self._renew(node, held), self._follow_config(node, held)):
                tasks.append(loop.create_task(work))
                tasks[-1].add_done_callback(self._on_work_ended)
            return await node.wait()
        finally:
            self._node = None
            for task in tasks:
                task.cancel()
            self._http.show(None)
            await node.close()

    def _on_work_ended(self, task: "asyncio.Task[Never]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.log.fault("nothing is renewed or taken up any more: a fault of our own", error)

    async def _renew(self, node: Node, held: Held) -> Never:
        """Renew at a third of the certificate's life; when bundle or names have changed."""
        part = RENEW_AT * self._random.uniform(0.9, 1.1)
        while True:
            due = held.enrolled_at + part * (held.identity.not_after - held.enrolled_at)
            try:
                await self._until(due, node, held)
                held = await self._enroll_once()
                node.renew()
                continue
            except EnrollmentError as error:
                level, told = "error" if error.is_refusal else "warning", str(error)
            except (AnswerError, VolumeError, ConfigError) as error:
                level, told = "error", str(error)
            left = int(held.identity.not_after - time.time())
            self.log.limited_line(level, "no renewal", told=told, seconds_left=left)
            await asyncio.sleep(self._random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE))

    async def _follow_config(self, node: Node, held: Held) -> Never:
        """Take up other advertised addresses and another enrollment address while running."""
        refused = ""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                read = await asyncio.to_thread(_read_config, self._paths)
            except ConfigError as error:
                if refused != str(error):
                    refused = str(error)
                    self.log.line("error", "configuration not taken up", told=refused)
                continue
            before = self._config
            self._config = taken_up(before, read)
            if self._config != before:
                node.advertise(self._configured(held).sip.listeners)

    async def _until(self, due: float, node: Node, held: Held) -> None:
        while (left := due - time.time()) > 0:
            are_names_new = self._listener_names() != self._volume.listener_names
            if are_names_new or self._is_bundle_new(node, held):
                await asyncio.sleep(min(left, self._random.uniform(0.0, SPREAD_SECONDS)))
                return
            await asyncio.sleep(min(left, LOOK_SECONDS))

    def _is_bundle_new(self, node: Node, held: Held) -> bool:
        """Tell whether to enroll for what is mounted, again when an answer was older."""
        bundle = Path(self._paths.bundle)
        wanted = _read_text(bundle / "bundle-hash")
        is_changed = _mark_of(bundle) != self._volume.bundle
        if not wanted:
            return is_changed
        is_older = wanted != node.bundle_hash or self._is_sequence_new(bundle)
        return is_older and (is_changed or time.time() - held.enrolled_at > AGAIN_SECONDS)

    def _is_sequence_new(self, bundle: Path) -> bool:
        """Tell whether a later configuration was signed that the operator has not told."""
        told = _read_text(bundle / "sequence")
        return told.isdecimal() and int(told) > self._volume.sequence


def _read_config(paths: PodPaths) -> PodConfig:
    path = Path(paths.config)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return parse_pod(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _place(environment: Mapping[str, str]) -> PodPlace:
    def addresses(name: str) -> tuple[str, ...]:
        parts = environment.get(name, "").split(",")
        return tuple(part.strip() for part in parts if part.strip())

    place = PodPlace(
        environment.get("CHORDIAL_PEER", ""),
        addresses("CHORDIAL_POD_IPS"),
        environment.get("CHORDIAL_NODE_NAME", ""),
        addresses("CHORDIAL_HOST_IPS"),
    )
    problems = place_problems(place)
    if problems:
        raise ConfigError("; ".join(problems))
    return place


def _expected_node(text: str) -> NodeId | None:
    try:
        return node_id(text) if text else None
    except ValueError as error:
        raise ConfigError(f"CHORDIAL_NODE_ID: {error}") from error


def _name_of(held: Held) -> str:
    return held.identity.node_id.hex() if held.identity.node_id else ""


def _needed(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnrollmentError(f"{path} cannot be read: {error.strerror}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _mark_of(bundle: Path) -> str:
    """Return what is another one when any file of the mounted bundle has changed."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        names = sorted(each for each in bundle.iterdir() if each.is_file())
    except OSError:
        return ""
    for path in names:
        digest.update(path.name.encode() + b"\0" + _read_text(path).encode() + b"\0")
    return digest.hexdigest()
