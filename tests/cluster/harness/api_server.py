"""etcd and kube-apiserver alone on loopback: what CRDs, CEL, apply and status are tested against.

Starts in about five seconds in a folder of its own, ended by process id. The controllers
(garbage collection, namespace deletion, StatefulSets, service accounts) are started on demand.
There is no node: nothing that needs a running pod may be tested here.
"""

import http.client
import json
import socket
import ssl
from pathlib import Path

from tests.cluster.harness.certificates import (
    Authority,
    write_kubeconfig,
    write_service_account_keys,
)
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.parts import program
from tests.cluster.harness.processes import Processes

ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVICE_RANGE = "10.96.0.0/16"
NEVER_ROUTED = "192.0.2.1"  # the advertised address must not be loopback; nobody goes there
START_SECONDS = 60.0


class ApiServer:
    """One etcd and one kube-apiserver on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "admin.kubeconfig"
        self.kubectl = Kubectl(self.kubeconfig)
        self.port = 0
        self._processes = Processes(folder)
        self._pki = folder / "pki"

    @property
    def url(self) -> str:
        """Where the API is served."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that signed the server's."""
        return self._pki / "ca.crt"

    def start(self) -> None:
        """Start etcd and the API server and return when it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        client, peer, self.port = free_ports(3)
        ca = Authority(self._pki, "ca")
        ca.issue(
            "apiserver", "kube-apiserver",
            names=["localhost", "kubernetes.default.svc"], addresses=["127.0.0.1"],
        )  # fmt: skip
        write_service_account_keys(self._pki)
        admin = ca.issue("admin", "chordial-admin", ["system:masters"])
        write_kubeconfig(self.kubeconfig, self.url, self.authority, admin)
        controllers = ca.issue("controllers", "system:kube-controller-manager")
        write_kubeconfig(self._controllers, self.url, self.authority, controllers)
        self._processes.start(
            "etcd", etcd_command(program("etcd"), self.folder / "etcd", client, peer)
        )
        self._processes.start("kube-apiserver", self._command(client))
        self._processes.wait("kube-apiserver", "ready API", self._ready, START_SECONDS)

    def start_controllers(self) -> None:
        """Start kube-controller-manager: garbage collection, namespaces, workloads, accounts."""
        if self._processes.running("kube-controller-manager") is not None:
            return
        (port,) = free_ports(1)
        command: list[str | Path] = [
            program("kube-controller-manager"),
            f"--kubeconfig={self._controllers}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self._pki / 'service-accounts.key'}",
            f"--root-ca-file={self.authority}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder / 'controllers'}",
            "--concurrent-gc-syncs=4",
        ]
        self._processes.start("kube-controller-manager", command)
        self._processes.wait(
            "kube-controller-manager", "default service account", self._has_accounts, START_SECONDS
        )

    def stop(self) -> None:
        """End the processes, etcd last."""
        for name in reversed(self._processes.record()):
            self._processes.end([name])

    def log(self, name: str) -> Path:
        """The log of etcd, kube-apiserver or kube-controller-manager."""
        return self._processes.log(name)

    @property
    def _controllers(self) -> Path:
        return self.folder / "controllers.kubeconfig"

    def _command(self, etcd_port: int) -> list[str | Path]:
        return [
            program("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--advertise-address={NEVER_ROUTED}",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--client-ca-file={self.authority}",
            f"--tls-cert-file={self._pki / 'apiserver.crt'}",
            f"--tls-private-key-file={self._pki / 'apiserver.key'}",
            *service_account_flags(self._pki),
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",  # else no pod without the controllers
            f"--cert-dir={self.folder / 'apiserver'}",
            "--event-ttl=1h",
        ]

    def _ready(self) -> bool:
        return answers(self.port, "/readyz", self.authority, self._pki / "admin")

    def _has_accounts(self) -> bool:
        found = self.kubectl.json("get", "serviceaccounts", "--namespace=default")
        return bool(found["items"])


def etcd_command(etcd: Path, data: Path, client: int, peer: int) -> list[str | Path]:
    """The command of an etcd on loopback that does not wait for the disk: tests only."""
    return [
        etcd,
        f"--data-dir={data}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    ]


def service_account_flags(pki: Path) -> list[str]:
    """The API server's flags for tokens whose issuer is the cluster's usual one."""
    return [
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
    ]


def answers(port: int, path: str, authority: Path, client: Path, host: str = "127.0.0.1") -> bool:
    """Whether an HTTPS server answers 200 to a client with a certificate."""
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(client.with_suffix(".crt"), client.with_suffix(".key"))
    connection = http.client.HTTPSConnection(host, port, timeout=5.0, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def token_of(server: ApiServer, account: str, namespace: str = "default") -> str:
    """A token of a service account, as a pod would have it."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    said = server.kubectl("create", f"--raw={path}", "-f", "-", text=json.dumps(request))
    status: dict[str, str] = json.loads(said)["status"]
    return status["token"]
