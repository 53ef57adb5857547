"""Volumes that follow a pod to another node, as those of a network's storage do.

All nodes are on one machine, so a folder of it is seen by all. Local volumes would hold a drained
peer back until its node returns, and with it, by the budget, every other one of that node.
"""

import shutil

from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Json

CLASS = "roaming"
VOLUMES = 48
"""A peer that has left has used one up."""


def create(cluster: Cluster) -> None:
    """Make the class and its volumes, all empty."""
    remove(cluster)
    cluster.kubectl.apply(_class(), *(_volume(cluster, number) for number in range(VOLUMES)))


def remove(cluster: Cluster) -> None:
    """Take the class, its volumes and what is in them away."""
    names = [f"persistentvolume/{CLASS}-{number:02}" for number in range(VOLUMES)]
    cluster.kubectl(
        "delete", f"storageclass/{CLASS}", *names, "--ignore-not-found", "--timeout=60s"
    )
    shutil.rmtree(cluster.folder / CLASS, ignore_errors=True)


def _class() -> Json:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(cluster: Cluster, number: int) -> Json:
    folder = cluster.folder / CLASS / f"{number:02}"
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # a pod's group is not given to a folder of the machine
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{CLASS}-{number:02}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "hostPath": {"path": str(folder)},
        },
    }
