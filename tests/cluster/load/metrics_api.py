"""A custom metrics API for the real HorizontalPodAutoscaler, fed by what the relays themselves say.

One metric, `calls`: the calls that run at a relay, read from its probe port when the autoscaler
asks. It is served from this machine's own namespace and joined to the API server by an APIService,
as an adapter of a real cluster is.
"""

import base64
import json
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.cluster.harness.certificates import Authority
from tests.cluster.harness.kubectl import Json
from tests.cluster.harness.network import MACHINE
from tests.cluster.installation import field, name_of
from tests.cluster.load.crowd import Crowd

GROUP, VERSION, METRIC = "custom.metrics.k8s.io", "v1beta2", "calls"
SERVICE = "metrics"
CALLS = "chordial_sip_call_count "
Answer = Callable[[str], Json | None]


@contextmanager
def metrics_api(crowd: Crowd, folder: Path) -> Iterator[None]:
    """Serve the metrics while the autoscaler needs them."""
    ca = Authority(folder, "metrics")
    name = f"{SERVICE}.{crowd.installation.namespace}.svc"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue("metrics-server", name, (), [name], [MACHINE]))
    server = _Server(context, lambda path: answer(crowd, path))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    service = f"{VERSION}.{GROUP}"
    try:
        crowd.cluster.kubectl.apply(*_objects(crowd, ca, server.server_port))
        crowd.cluster.kubectl.wait("--for=condition=Available", f"apiservice/{service}")
        yield
    finally:
        crowd.cluster.kubectl("delete", "apiservice", service, "--ignore-not-found")
        server.shutdown()
        server.server_close()
        thread.join()


def answer(crowd: Crowd, path: str) -> Json | None:
    """What the API says at a path; None: there is nothing."""
    root = f"/apis/{GROUP}/{VERSION}"
    if path == root:
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{GROUP}/{VERSION}",
            "resources": [
                {
                    "name": f"pods/{METRIC}",
                    "singularName": "",
                    "namespaced": True,
                    "kind": "MetricValueList",
                    "verbs": ["get"],
                }
            ],
        }
    if path == f"{root}/namespaces/{crowd.installation.namespace}/pods/*/{METRIC}":
        return {
            "kind": "MetricValueList",
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": {},
            "items": [_value(crowd, *each) for each in calls(crowd)],
        }
    return None


def calls(crowd: Crowd) -> list[tuple[str, int]]:
    """How many calls run at each relay that answers, those that are leaving included."""
    found = []
    for pod in crowd.relays():
        place = field(pod, "status", "podIP")
        try:
            with urllib.request.urlopen(f"http://{place}:8080/metrics", timeout=2) as page:
                lines = page.read().decode().splitlines()
        except OSError:
            continue
        count = sum(float(line.removeprefix(CALLS)) for line in lines if line.startswith(CALLS))
        found.append((name_of(pod), int(count)))
    return found


def _value(crowd: Crowd, pod: str, count: int) -> Json:
    namespace = crowd.installation.namespace
    return {
        "describedObject": {
            "kind": "Pod",
            "namespace": namespace,
            "name": pod,
            "apiVersion": "/v1",
        },
        "metric": {"name": METRIC},
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "value": str(count),
    }


def _objects(crowd: Crowd, ca: Authority, port: int) -> list[Json]:
    metadata = {"name": SERVICE, "namespace": crowd.installation.namespace}
    bundle = base64.b64encode(ca.certificate_path.read_bytes()).decode()
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": metadata,
            "subsets": [{"addresses": [{"ip": MACHINE}], "ports": [{"port": port}]}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": bundle,
                "service": {**metadata, "port": 443},
            },
        },
    ]


class _Server(ThreadingHTTPServer):
    """HTTPS on the bridge."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, said: Answer) -> None:
        self.said = said
        super().__init__((MACHINE, 0), _Conversation)
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one question."""
        assert isinstance(self.server, _Server)
        found = self.server.said(unquote(urlsplit(self.path).path))
        body = json.dumps(found or {"kind": "Status", "code": 404}).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the API server asks every few seconds."""
