"""A node: containerd, kubelet and kube-proxy in one network namespace, everything in one folder.

The settings are those with which several kubelets share one kernel without systemd, and without
touching the machine's own containerd, cgroups or kernel settings.
"""

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.harness import cgroups, network
from tests.cluster.harness.certificates import Authority, write_kubeconfig
from tests.cluster.harness.control_plane import ADDRESS, URL
from tests.cluster.harness.parts import installed, program
from tests.cluster.harness.processes import Processes, started

PAUSE_IMAGE = "localhost/chordial/pause:1"
RESULTS = Path("/var/lib/cni/results")
"""Where every CNI plugin of a machine remembers what it did; no setting moves it."""
START_SECONDS = 60.0
IMPORT_SECONDS = 180.0

CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "{folder}/state"
oom_score = 0
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{folder}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""


class Worker:
    """One node of the cluster."""

    def __init__(self, folder: Path, number: int, processes: Processes) -> None:
        self.number = number
        self.name = f"node-{number}"
        self.folder = folder / self.name
        self.address = network.node_address(number)
        self.namespace = network.node_namespace(number)
        self.cgroup = self.namespace
        self.socket = self.folder / "containerd.sock"
        self._processes = processes

    def prepare(self, ca: Authority, control_plane: Path) -> None:
        """Write the node's certificates and settings."""
        for part in ("cni", "kubelet", "pod-logs", "volumes"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        user = f"system:node:{self.name}"
        pair = ca.issue(self.name, user, ["system:nodes"], [self.name], [self.address])
        write_kubeconfig(self._kubeconfig, URL, ca.certificate_path, pair)
        (self.folder / "containerd.toml").write_text(
            CONTAINERD.format(folder=self.folder, socket=self.socket, pause=PAUSE_IMAGE)
        )
        (self.folder / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
        self._write("cni/pods.conflist", self._pod_network())
        self._write("kubelet.json", self._kubelet_settings(ca.certificate_path, pair))
        self._write("proxy.json", self._proxy_settings(control_plane / "proxy.kubeconfig"))
        cgroups.create(self.cgroup)

    def start_containerd(self) -> None:
        """Start the container engine and return when it answers."""
        name = f"containerd-{self.number}"
        command: list[str | Path] = [
            installed("containerd"), "--config", self.folder / "containerd.toml",
        ]  # fmt: skip
        self._processes.start(name, command, namespace=self.namespace)
        self._processes.wait(name, "answer", self._engine_answers, START_SECONDS)

    def start_kubelet(self) -> None:
        """Start the kubelet and the proxy; they join on their own."""
        self._processes.start(
            f"kubelet-{self.number}",
            [
                program("kubelet"),
                f"--config={self.folder / 'kubelet.json'}",
                f"--kubeconfig={self._kubeconfig}",
                f"--root-dir={self.folder / 'kubelet'}",
                f"--cert-dir={self.folder / 'kubelet-pki'}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.address}",
                f"--node-labels=topology.kubernetes.io/zone=zone-{self.number}",
            ],
            namespace=self.namespace,
        )
        self._processes.start(
            f"kube-proxy-{self.number}",
            [
                program("kube-proxy"),
                f"--config={self.folder / 'proxy.json'}",
                f"--hostname-override={self.name}",
            ],
            namespace=self.namespace,
        )

    def import_images(self, archives: Sequence[Path]) -> None:
        """Load archives of images; a pod can name each also by digest, as one of a registry."""
        for archive in archives:
            said = self.engine("images", "import", str(archive), timeout=IMPORT_SECONDS)
            for image in re.findall(r"unpacking (\S+:\S+) \(", said):
                repository, _, _ = image.rpartition(":")
                self.name_image(image, f"{repository}@{self.digest_of(image)}")

    def digest_of(self, image: str) -> str:
        """The digest of an image that the node has."""
        lines = [line.split() for line in self.engine("images", "ls").splitlines()]
        return next(words[2] for words in lines if words and words[0] == image)

    def name_image(self, image: str, also: str) -> None:
        """Give an image of the node another name, a tag or a digest."""
        self.engine("images", "tag", "--force", image, also)

    def engine(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run `ctr` on the node's engine and return what it wrote."""
        done = subprocess.run(
            [installed("ctr"), "--address", self.socket, "--namespace", "k8s.io", *arguments],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode:
            raise network.NetworkError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def end_containers(self) -> None:
        """End what the node's containers are and leave: processes, shims, sockets, notes."""
        bundles = list((self.folder / "state/io.containerd.runtime.v2.task/k8s.io").glob("*"))
        left = [file for bundle in bundles for file in RESULTS.glob(f"*-{bundle.name}-*")]
        for bundle in bundles:
            if (address := bundle / "address").exists():
                left.append(Path(address.read_text().removeprefix("unix://")))
        cgroups.remove(self.cgroup)
        for pid in shims(self.socket):
            end_shim(pid)
        for file in left:
            file.unlink(missing_ok=True)

    @property
    def _kubeconfig(self) -> Path:
        return self.folder / "kubelet.kubeconfig"

    def _engine_answers(self) -> bool:
        try:
            self.engine("version", timeout=5.0)
        except (network.NetworkError, subprocess.TimeoutExpired):
            return False
        return True

    def _write(self, file: str, content: object) -> None:
        (self.folder / file).write_text(json.dumps(content, indent=1))

    def _pod_network(self) -> object:
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": network.pods_of(self.number)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": str(self.folder / "addresses"),
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": "chordial-test", "plugins": [bridge, ports]}

    def _kubelet_settings(self, authority: Path, pair: tuple[Path, Path]) -> object:
        certificate, key = pair
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": str(authority)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            # a full disk must not taint the node, nor garbage collection eat what we imported
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": str(self.folder / "pod-logs"),
            "resolvConf": str(self.folder / "resolv.conf"),
            "clusterDNS": [ADDRESS],
            "clusterDomain": "cluster.local",
            "oomScoreAdj": 0,
            "maxOpenFiles": 20000,
        }

    def _proxy_settings(self, kubeconfig: Path) -> object:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "mode": "iptables",
            "clusterCIDR": network.PODS,
            "detectLocalMode": "ClusterCIDR",
            "oomScoreAdj": 0,
            # leave the machine's own settings alone
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
                "udpTimeout": "0s",
                "udpStreamTimeout": "0s",
            },
        }


def shims(socket: Path) -> list[int]:
    """The processes between a node's engine and its containers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"containerd-shim" in words[0] and os.fsencode(socket) in words:
            found.append(int(entry.parent.name))
    return found


def end_shim(pid: int) -> None:
    """Kill a shim whose containers are gone."""
    if started(pid) is not None:
        os.kill(pid, 9)
