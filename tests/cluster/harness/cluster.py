"""A whole cluster in one folder: started, found again, stopped with nothing left behind.

What runs is recorded in the folder, so that a cluster that was left running is found by the next
process, and one that was left by a crash is cleaned up before the next start.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cluster.harness import cgroups, images, network, storage
from tests.cluster.harness.control_plane import ControlPlane, dns_role
from tests.cluster.harness.kubectl import Json, Kubectl
from tests.cluster.harness.parts import Tell
from tests.cluster.harness.processes import Processes
from tests.cluster.harness.worker import Worker

NODES = 3
READY_SECONDS = 90.0


class Cluster:
    """The three-node cluster of one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        self.processes = Processes(self.folder)
        self.control_plane = ControlPlane(self.folder / "control-plane", self.processes)
        self.workers = [
            Worker(self.folder, number, self.processes) for number in range(1, NODES + 1)
        ]
        self.kubeconfig = self.control_plane.kubeconfig
        self.kubectl = Kubectl(self.kubeconfig)

    def is_running(self) -> bool:
        """Whether every process of the cluster runs."""
        return bool(self.processes.record()) and not self.ended()

    def ended(self) -> list[str]:
        """The processes of the cluster that should run and do not."""
        return [name for name in self.processes.record() if self.processes.running(name) is None]

    def start(self, tell: Tell) -> None:
        """Start the cluster and return when its nodes are Ready; remains are removed first."""
        archives = images.build_all(tell)
        self.stop()
        self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        network.create(NODES)
        tell("network: there")
        ca = self.control_plane.prepare()
        for worker in self.workers:
            worker.prepare(ca, self.control_plane.folder)
            worker.start_containerd()
        self.control_plane.start()
        tell("control plane: ready")
        self._apply([*dns_role(), storage.storage_class()])
        self.control_plane.start_dns()
        self.load(archives)
        for worker in self.workers:
            worker.start_kubelet()
        self._apply([entry for worker in self.workers for entry in storage.volumes(worker)])
        self._start_recycling()
        self.wait_ready()
        tell(f"{NODES} nodes: Ready")

    def load(self, archives: Sequence[Path]) -> None:
        """Import archives of images on every node."""
        with ThreadPoolExecutor(NODES) as pool:
            for _ in pool.map(lambda worker: worker.import_images(archives), self.workers):
                pass

    def name_image(self, image: str, also: str) -> None:
        """Give an image another name on every node."""
        for worker in self.workers:
            worker.name_image(image, also)

    def load_products(self, tell: Tell) -> None:
        """Build what has changed of the product's images and import it on every node."""
        self.load(images.build_all(tell))

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return when every node is Ready."""
        names = [f"node/{worker.name}" for worker in self.workers]
        self.kubectl.wait("--for=condition=Ready", *names, seconds=seconds)
        self.kubectl.wait(
            "--for=create", "serviceaccount/default", "--namespace=default", seconds=seconds
        )

    def stop(self) -> None:
        """End everything: kubelets, containers, the rest, then mounts, network and cgroups."""
        record = self.processes.record()
        early = [n for n in record if n.startswith(("kubelet", "kube-proxy", "recycle"))]
        self.processes.end(early)
        for worker in self.workers:
            worker.end_containers()
        self.processes.end(patience=1.0)  # what they keep is thrown away
        for worker in self.workers:
            cgroups.remove(worker.cgroup)
        unmount_below(self.folder)
        network.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def recycle_volumes(self) -> None:
        """Make released volumes again until this process is ended."""
        while True:
            storage.recycle(self.kubectl, self.workers)
            time.sleep(1.0)  # the API was gone: ask again

    def _apply(self, objects: list[Json]) -> None:
        self.kubectl.apply(*objects)

    def _start_recycling(self) -> None:
        command: list[str | Path] = [sys.executable, "-m", "tests.cluster.harness", "recycle"]
        environment = {"PYTHONPATH": str(images.ROOT), "CHORDIAL_CLUSTER": str(self.folder)}
        self.processes.start("recycle", command, environment=environment)


def default_folder() -> Path:
    """Where the cluster lives: CHORDIAL_CLUSTER, or one place for this machine."""
    return Path(os.environ.get("CHORDIAL_CLUSTER", "/var/lib/chordial-test-cluster"))


def mounts_below(folder: Path) -> list[str]:
    """The mounts under a folder, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return sorted((p for p in points if p.startswith(f"{folder}/")), key=len, reverse=True)


def unmount_below(folder: Path) -> None:
    """Unmount what is left under a folder."""
    for point in mounts_below(folder):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def running_cluster(tell: Callable[[str], None]) -> Cluster:
    """The cluster of this machine, started if it does not run."""
    cluster = Cluster()
    if cluster.is_running():
        tell(f"found a running cluster: {cluster.kubeconfig}")
        return cluster
    ended = cluster.ended()
    if ended:
        tell(f"a cluster was here, but {', '.join(ended)} ended: starting anew")
    cluster.start(tell)
    return cluster
