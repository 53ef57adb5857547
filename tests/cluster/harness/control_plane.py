"""The control plane: etcd, API server, controllers, scheduler and DNS in one network namespace.

The controllers are told to notice a lost node and a changed load within seconds, so that tests
need not wait for minutes. The kubelets must never be put here.
"""

from pathlib import Path

from tests.cluster.harness import network
from tests.cluster.harness.api_server import answers, etcd_command, service_account_flags
from tests.cluster.harness.certificates import (
    Authority,
    write_kubeconfig,
    write_service_account_keys,
)
from tests.cluster.harness.kubectl import Json
from tests.cluster.harness.parts import program
from tests.cluster.harness.processes import Processes

NAMESPACE = network.node_namespace(0)
ADDRESS = network.CONTROL_PLANE
PORT = 6443
URL = f"https://{ADDRESS}:{PORT}"
KUBERNETES_SERVICE = "10.96.0.1"
DNS_USER = "chordial:coredns"
START_SECONDS = 90.0

SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
CORE_FILE = """\
.:53 {{
    bind {address}
    errors
    health 127.0.0.1:8080
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig} test
        pods insecure
        ttl 30
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loadbalance
}}
"""  # as kubeadm has it


class ControlPlane:
    """The control plane's files and processes."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder = folder
        self.pki = folder / "pki"
        self.kubeconfig = folder / "admin.kubeconfig"
        self._processes = processes

    def prepare(self) -> Authority:
        """Make the authorities, certificates and kubeconfigs; return the authority."""
        ca = Authority(self.pki, "ca")
        ca.issue("apiserver", "kube-apiserver", names=SERVER_NAMES,
                 addresses=[ADDRESS, "127.0.0.1", KUBERNETES_SERVICE])  # fmt: skip
        ca.issue("kubelet-client", "chordial-apiserver", ["system:masters"])
        Authority(self.pki, "front-proxy-ca").issue("front-proxy", "front-proxy-client")
        write_service_account_keys(self.pki)
        for file, user, groups in (
            ("admin", "chordial-admin", ["system:masters"]),
            ("controllers", "system:kube-controller-manager", []),
            ("scheduler", "system:kube-scheduler", []),
            ("proxy", "system:kube-proxy", []),
            ("dns", DNS_USER, []),
        ):
            pair = ca.issue(file, user, groups)
            write_kubeconfig(self._kubeconfig(file), URL, ca.certificate_path, pair)
        return ca

    def start(self) -> None:
        """Start the API and its store and return when it is ready; then the rest."""
        self._start("etcd", etcd_command(program("etcd"), self.folder / "etcd", 2379, 2380))
        self._start("kube-apiserver", self._api_server())
        self._processes.wait("kube-apiserver", "ready API", self._ready, START_SECONDS)
        self._start("kube-controller-manager", self._controllers())
        self._start("kube-scheduler", self._scheduler())

    def start_dns(self) -> None:
        """Start the cluster's DNS; its role must be there."""
        core_file = self.folder / "Corefile"
        core_file.write_text(CORE_FILE.format(address=ADDRESS, kubeconfig=self._kubeconfig("dns")))
        self._start("coredns", [program("coredns"), "-conf", core_file])

    def _start(self, name: str, command: list[str | Path]) -> None:
        self._processes.start(name, command, namespace=NAMESPACE)

    def _ready(self) -> bool:
        return answers(PORT, "/readyz", self.pki / "ca.crt", self.pki / "admin", host=ADDRESS)

    def _kubeconfig(self, user: str) -> Path:
        return self.folder / f"{user}.kubeconfig"

    def _pair(self, flag: str, name: str) -> list[str]:
        """Two flags that name a certificate and its key."""
        cert, key = flag.split("/")
        return [f"--{cert}={self.pki / name}.crt", f"--{key}={self.pki / name}.key"]

    def _api_server(self) -> list[str | Path]:
        return [
            program("kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            f"--secure-port={PORT}",
            f"--advertise-address={ADDRESS}",
            f"--service-cluster-ip-range={network.SERVICES}",
            f"--client-ca-file={self.pki / 'ca.crt'}",
            *self._pair("tls-cert-file/tls-private-key-file", "apiserver"),
            *self._pair("kubelet-client-certificate/kubelet-client-key", "kubelet-client"),
            f"--kubelet-certificate-authority={self.pki / 'ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
            *service_account_flags(self.pki),
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-aggregator-routing=true",  # no kube-proxy here: straight to the endpoints
            f"--requestheader-client-ca-file={self.pki / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            *self._pair("proxy-client-cert-file/proxy-client-key-file", "front-proxy"),
            f"--cert-dir={self.folder / 'apiserver'}",
            "--event-ttl=1h",
        ]

    def _controllers(self) -> list[str | Path]:
        return [
            program("kube-controller-manager"),
            f"--kubeconfig={self._kubeconfig('controllers')}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.pki / 'service-accounts.key'}",
            f"--root-ca-file={self.pki / 'ca.crt'}",
            *self._pair("cluster-signing-cert-file/cluster-signing-key-file", "ca"),
            f"--service-cluster-ip-range={network.SERVICES}",
            f"--cluster-cidr={network.PODS}",
            "--allocate-node-cidrs=false",
            "--node-monitor-grace-period=16s",
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--horizontal-pod-autoscaler-downscale-stabilization=10s",
            "--leader-elect=false",
            f"--cert-dir={self.folder / 'controllers'}",
        ]

    def _scheduler(self) -> list[str | Path]:
        return [
            program("kube-scheduler"),
            f"--kubeconfig={self._kubeconfig('scheduler')}",
            f"--authentication-kubeconfig={self._kubeconfig('scheduler')}",
            f"--authorization-kubeconfig={self._kubeconfig('scheduler')}",
            "--leader-elect=false",
            f"--cert-dir={self.folder / 'scheduler'}",
        ]


def dns_role() -> list[Json]:
    """What the cluster's DNS may read."""
    readable = {
        "": ["services", "pods", "namespaces", "nodes"],
        "discovery.k8s.io": ["endpointslices"],
    }
    rules = [
        {"apiGroups": [api], "resources": resources, "verbs": ["get", "list", "watch"]}
        for api, resources in readable.items()
    ]
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": DNS_USER},
            "rules": rules,
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": DNS_USER},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": DNS_USER},
            "subjects": [{"apiGroup": group, "kind": "User", "name": DNS_USER}],
        },
    ]
