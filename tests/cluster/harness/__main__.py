"""The harness as a command, for a cluster that stays up while one works.

`python -m tests.cluster.harness up` prints what to export; `images` builds and loads the product's
images again; `down` ends everything.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from tests.cluster.harness import parts
from tests.cluster.harness.cluster import Cluster, running_cluster
from tests.cluster.harness.kubectl import KubectlError
from tests.cluster.harness.network import NetworkError
from tests.cluster.harness.processes import ProcessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.harness", description=__doc__)
    parser.add_argument("verb", choices=tuple(VERBS))
    options = parser.parse_args(arguments)
    try:
        VERBS[options.verb]()
    except (parts.PartsError, KubectlError, NetworkError, ProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parts() -> None:
    absent = parts.missing_packages()
    if absent:
        _tell(f"still to be installed for a whole cluster: apt-get install {' '.join(absent)}")
    parts.build(_tell)


def _up() -> None:
    _parts()
    cluster = running_cluster(_tell)
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    folders = dict.fromkeys(str(path.parent) for path in parts.binaries(parts.CONTROL))
    print(f"export PATH=$PATH:{':'.join(folders)}:{parts.HELM4.binary('helm').parent}")


def _down() -> None:
    Cluster().stop()
    _tell("nothing of the cluster is left")


def _images() -> None:
    Cluster().load_products(_tell)


def _status() -> None:
    cluster = Cluster()
    for name in cluster.processes.record():
        pid = cluster.processes.running(name)
        print(f"{name:26} {pid if pid is not None else 'ended'}")
    if cluster.is_running():
        print(cluster.kubectl("get", "nodes", "-o", "wide"), end="")
    else:
        print("no cluster runs: make cluster-up")


def _recycle() -> None:
    Cluster().recycle_volumes()


BEGAN = time.monotonic()


def _tell(line: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {line}", flush=True)


VERBS: dict[str, Callable[[], None]] = {
    "parts": _parts,
    "up": _up,
    "down": _down,
    "images": _images,
    "status": _status,
    "recycle": _recycle,
}

if __name__ == "__main__":
    sys.exit(main())
