"""Storage: the default StorageClass `local`, volumes on every node, and their recycling.

Nobody provisions: the volumes are folders of the nodes, made beforehand. One whose claim is gone
is emptied and made again by `recycle`, as a cloud would make a new one.
"""

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.harness.kubectl import Json, Kubectl, KubectlError
from tests.cluster.harness.parts import program
from tests.cluster.harness.worker import Worker

CLASS = "local"
VOLUMES_PER_NODE = 16
CAPACITY = "1Gi"
DONE_WITH = ("Released", "Failed")


def storage_class() -> Json:
    """The default class: a volume is chosen when a pod's node is."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Retain",
    }


def volumes(worker: Worker) -> list[Json]:
    """The volumes of a node, and their folders made."""
    made = []
    for number in range(1, VOLUMES_PER_NODE + 1):
        folder = worker.folder / "volumes" / f"{number:02}"
        folder.mkdir(parents=True, exist_ok=True)
        made.append(volume(f"{worker.name}-{number:02}", worker.name, folder))
    return made


def volume(name: str, node: str, folder: Path) -> Json:
    """A volume in a folder of one node."""
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": CAPACITY},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "local": {"path": str(folder)},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]},
            },
        },
    }


def recycle(kubectl: Kubectl, workers: Sequence[Worker]) -> None:
    """Empty and make again each volume whose claim is gone, for as long as the API answers."""
    folders = {
        f"{worker.name}-{number:02}": (worker.name, worker.folder / "volumes" / f"{number:02}")
        for worker in workers
        for number in range(1, VOLUMES_PER_NODE + 1)
    }
    columns = "custom-columns=NAME:.metadata.name,PHASE:.status.phase"
    command: list[str | Path] = [
        program("kubectl"), f"--kubeconfig={kubectl.kubeconfig}", "get", "persistentvolumes",
        "--watch", "--no-headers", "-o", columns,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        for line in watch.stdout:
            name, phase = line.split()
            if phase in DONE_WITH and name in folders:
                _remake(kubectl, name, *folders[name])


def _remake(kubectl: Kubectl, name: str, node: str, folder: Path) -> None:
    """Delete a volume, empty it, make it again; a busy API server is asked until it has done so."""
    while True:
        try:
            kubectl("delete", "persistentvolume", name, "--ignore-not-found")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            kubectl.apply(volume(name, node, folder))
        except KubectlError:
            time.sleep(1.0)  # nothing tells when it has time again
        else:
            return
