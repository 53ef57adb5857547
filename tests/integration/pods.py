"""Pods without a cluster: one loopback address each, a folder as their mounts, and an operator.

Every address of 127.0.0.0/8 is this machine's, so that "pods" can use the same ports.
"""

import copy
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import msgspec

from chordial_node.boundary.enrollment import Enrolled, EnrollmentRequest
from chordial_node.client import PeerClient
from chordial_node.config import Endpoint
from chordial_node.ids import NodeId, spread_node_ids
from chordial_node.pod_config import PodConfig, PodPaths
from chordial_node.security.authority import (
    Authority,
    Term,
    make_private_key,
    public_key_of,
    requested_public_key,
)
from chordial_node.security.certificates import Role, key_hash_of
from chordial_node.security.configuration import Configuration, sign_configuration
from chordial_node.security.signatures import Ed25519Signatures
from chordial_node.wire.enrollment_codec import (
    METHOD,
    SERVICE,
    decode_request,
    encode_enrolled,
)
from tests.integration.rig import free_port

OVERLAY = "default.voice"
FIRST_POD_BY_NAME = "127.0.19713"
"""What the resolver, but nobody else, takes for 127.0.77.1."""


class Operator:
    """Gives a certificate to whoever shows a token that is a Node-ID, unless told otherwise."""

    def __init__(self, founders: Sequence[NodeId], lifetime: float = 3_600.0) -> None:
        self.lifetime = lifetime
        self.refuses = ""
        self.asked: list[EnrollmentRequest] = []
        self.port = free_port()
        self.authority = Authority.make(OVERLAY, _term())
        self.trusted = self.authority.certificate
        self._root = Authority.make("enrollment", _term())
        self._signatures = Ed25519Signatures(b"\x05" * 32)
        self._server: grpc.Server | None = None
        self.configuration = Configuration(
            OVERLAY, "founding-1", 1, tuple(each.hex() for each in founders),
            self._signatures.public_key.hex(),
        )  # fmt: skip

    @property
    def root(self) -> bytes:
        """What pods believe the enrollment server by."""
        return self._root.certificate

    def start(self) -> None:
        """Begin to answer."""
        key = make_private_key()
        shown = self._root.issue_server(public_key_of(key), ["localhost"], _term())
        self._server = grpc.server(ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(
            self._enroll, request_deserializer=decode_request, response_serializer=encode_enrolled
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
        )
        credentials = grpc.ssl_server_credentials([(key, shown)])
        self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        self._server.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def rotate(self) -> None:
        """Sign with a new authority from now on; both are trusted."""
        self.authority = Authority.make(OVERLAY, _term())
        self.trusted = self.authority.certificate + self.trusted

    def revoke(self, node: NodeId) -> None:
        """Let a peer's certificates count no more."""
        present = self.configuration
        self.configuration = msgspec.structs.replace(
            present, sequence=present.sequence + 1, revoked=(*present.revoked, node.hex())
        )

    def _take_key(self, node: NodeId, public_key: bytes) -> None:
        """Let one key alone count for a peer."""
        present = self.configuration
        keys = {**present.keys, node.hex(): key_hash_of(public_key)}
        self.configuration = msgspec.structs.replace(
            present, sequence=present.sequence + 1, keys=keys
        )

    def client(self, pod: "Pod") -> PeerClient:
        """A client of a pod's control service that believes the present authority alone."""
        key = make_private_key()
        shown = self.authority.issue_user(public_key_of(key), Role.OPERATOR, "operator", _term())
        return PeerClient(
            (pod.address, 6084),
            trusted=self.authority.certificate,
            certificate=shown,
            key=key,
            node=pod.node,
        )

    def _enroll(self, request: EnrollmentRequest, context: grpc.ServicerContext) -> Enrolled:
        self.asked.append(request)
        if self.refuses:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, self.refuses)
        node = NodeId(bytes.fromhex(request.token))
        if request.is_superseded:
            self._take_key(node, requested_public_key(request.request))
        listener = b""
        if request.listener_request:
            listener = self.authority.issue_listener(
                requested_public_key(request.listener_request), ["voice.test"], [], self._leaf()
            )
        return Enrolled(
            certificate=self.authority.issue_peer(
                requested_public_key(request.request), node, "pod", self._leaf()
            ),
            trusted=self.trusted,
            overlay_keys=b'{"current": 1, "keys": {"1": "%s"}}' % (b"0a" * 32),
            failure_domain="zone-a/host",
            configuration=sign_configuration(self._signatures, self.configuration),
            listener_certificate=listener,
        )

    def _leaf(self) -> Term:
        return msgspec.structs.replace(_term(), lifetime_seconds=self.lifetime)


class Pod:
    """One process that is told what a pod is told."""

    def __init__(self, folder: Path, number: int, operator: Operator, config: PodConfig) -> None:
        self.address = f"127.0.77.{number}"
        self.node = NodeId(bytes.fromhex(operator.configuration.founders[number - 1]))
        self.root = folder / f"pod-{number}"
        self.paths = PodPaths(str(self.root))
        self.log = self.root / "log"
        self.environment = {
            "CHORDIAL_PEER": f"seed-{number}",
            "CHORDIAL_POD_IPS": self.address,
            "CHORDIAL_NODE_NAME": "worker-1",
            "CHORDIAL_NODE_ID": self.node.hex(),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.config = config
        self.configure()
        self._write(Path(self.paths.token), self.node.hex().encode())
        self.mount(operator)

    def mount(self, operator: Operator) -> None:
        """Write the bundle as the overlay's ConfigMap has it now."""
        bundle = Path(self.paths.bundle)
        self._write(bundle / "enrollment.pem", operator.root)
        self._write(bundle / "roots.pem", operator.trusted)
        self._write(bundle / "instance-id", operator.configuration.instance_id.encode())
        self._write(bundle / "sequence", b"%d" % operator.configuration.sequence)

    def configure(self, **changes: object) -> None:
        """Write the set's configuration, changed as the operator would."""
        self.config = msgspec.structs.replace(self.config, **changes)
        self._write(Path(self.paths.config), msgspec.json.encode(self.config))

    def start(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chordial_node", "--pod", "--root", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def copy(self, folder: Path, number: int) -> "Pod":
        """A pod at another address with a copy of the same identity, but not of what is stored."""
        made = copy.copy(self)
        made.address = f"127.0.77.{number}"
        made.root = folder
        made.paths = PodPaths(str(folder))
        made.log = folder / "log"
        made.environment = {**self.environment, "CHORDIAL_POD_IPS": made.address}
        made._process = None
        shutil.copytree(self.root, folder, ignore=shutil.ignore_patterns("values.db*", "log"))
        return made

    def is_running(self) -> bool:
        """Tell whether the process has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float = 20.0) -> int:
        """Return the exit code of a process that ends by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    def end(self, seconds: float = 30.0) -> int:
        """End the process in order, as the kubelet does, and return its exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def get(self, path: str) -> tuple[int, str]:
        """Return what the probe port answers; 0 while it is closed."""
        try:
            with urllib.request.urlopen(f"http://{self.address}:8080{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self) -> bool:
        """Tell what the readiness probe would."""
        return self.get("/readyz")[0] == 200

    def told(self) -> str:
        """Return what the process has said."""
        return self.log.read_text()

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@contextmanager
def pods(
    folder: Path, count: int, lifetime: float = 3_600.0, **changes: object
) -> Iterator[tuple[Operator, list[Pod]]]:
    """Make an operator and pods that are its founders; whatever runs at the end is ended."""
    operator = Operator(spread_node_ids(count), lifetime)
    config = PodConfig(
        overlay_name=OVERLAY,
        role="seed",
        domain="voice.test",
        peers_host=FIRST_POD_BY_NAME,
        enrollment=Endpoint("localhost", operator.port),
    )
    config = msgspec.structs.replace(config, **changes)
    made = [Pod(folder, number, operator, config) for number in range(1, count + 1)]
    try:
        yield operator, made
    finally:
        operator.stop()
        for pod in made:
            pod.end()


_serials = iter(range(1 << 70, 1 << 71))


def _term() -> Term:
    return Term(time.time(), 86_400.0, next(_serials))
