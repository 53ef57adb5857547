"""What tests of the life of objects share: a release that is small and quick, and its looks.

Definitions are the cluster's, not a namespace's: a release brings them only where there are none.
What a single test asserts must never be put here.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.harness import parts
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Json, KubectlError
from tests.cluster.installation import CHART, Installation, image_options, ours

DEFINITIONS = tuple(
    f"{plural}.chordial.dev" for plural in ("overlays", "bootstrapsets", "relaysets", "sipusers")
)
PROTECTED = "kubernetes.io/pvc-protection"
OPERATOR_LABEL = ("app.kubernetes.io/component", "operator")
FLEETING = ("Lease", "Event", "PodMetrics")
READY = "Ready"


def brief(**more: object) -> Json:
    """A set's spec for tests that cannot wait: little asked for, short times."""
    return {
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "drain": {"timeout": "10s"},
        "scaleIn": {"stabilization": "2s"},
        **more,
    }


def relays(name: str, replicas: int = 2, overlay: str = "voice", **more: object) -> Json:
    """A RelaySet of short times, without volumes unless told otherwise."""
    spec: Json = {
        "overlayRef": {"name": overlay},
        "replicas": replicas,
        "listeners": [{"name": "udp", "transport": "UDP", "port": 5060}],
        "storage": {"type": "EmptyDir"},
        "registration": {"maxExpires": "20s", "keepAlive": "5s"},
    }
    return ours("RelaySet", name, brief(**{**spec, **more}))


def seeds(name: str, replicas: int = 5, overlay: str = "voice", **more: object) -> Json:
    """A BootstrapSet of short times, without volumes unless told otherwise."""
    spec: Json = {
        "overlayRef": {"name": overlay},
        "replicas": replicas,
        "storage": {"type": "EmptyDir"},
    }
    return ours("BootstrapSet", name, brief(**{**spec, **more}))


def overlay(name: str, **more: object) -> Json:
    """An Overlay that is as patient as a test."""
    spec: Json = {"domains": [f"{name}.test"], "upgrade": {"stabilization": "1s"}}
    return ours("Overlay", name, {**spec, **more})


class Fleet(Installation):
    """A release in a namespace of its own, and what is seen there."""

    def open(self, *options: str, **labels: str) -> None:
        """Make the namespace and install the operator, without a first Overlay."""
        self.remove()  # a run that was broken off may have left it
        self.cluster.kubectl("create", "namespace", self.namespace)
        if labels:
            said = [f"{key.replace('__', '/').replace('_', '-')}={v}" for key, v in labels.items()]
            self.cluster.kubectl("label", "namespace", self.namespace, *said)
        self.install(*self.definitions(), "--set", "overlay.enabled=false", *options)

    def definitions(self) -> list[str]:
        """The option that leaves the definitions alone where the cluster has them."""
        found = self.cluster.kubectl("get", "crd", *DEFINITIONS, "--ignore-not-found", "-o", "name")
        return ["--set", f"crds.enabled={'false' if found else 'true'}"]

    def helm3(self, *arguments: str) -> str:
        """Run Helm 3."""
        present = self.helm_program
        self.helm_program = parts.HELM3.binary("helm")
        try:
            return self.helm(*arguments)
        finally:
            self.helm_program = present

    def upgrade(self, chart: Path = CHART, *options: str, helm3: bool = False) -> str:
        """Upgrade the release."""
        run = self.helm3 if helm3 else self.helm
        return run("upgrade", self.release, str(chart), *image_options(), *options)

    # what is seen

    def condition(self, name: str, kind: str) -> Json:
        """A condition of an object, empty while there is none."""
        status = self.json("get", name).get("status")
        assert isinstance(status, dict)
        found = [each for each in status.get("conditions", ()) if each["type"] == kind]
        return found[0] if found else {}

    def told(self, name: str, kind: str, status: str = "True", seconds: float = 30.0) -> str:
        """Wait for a condition and return its message."""

        def holds() -> bool:
            return self.condition(name, kind).get("status") == status

        self.until(f"{kind}={status} of {name}: {self.condition(name, kind)}", holds, seconds)
        return str(self.condition(name, kind)["message"])

    def names(self, kind: str, selector: str = "") -> list[str]:
        """The names of objects."""
        path = "jsonpath={.items[*].metadata.name}"
        return sorted(self.kubectl("get", kind, "-l", selector, "-o", path).split())

    def uids(self, kind: str, selector: str = "") -> dict[str, str]:
        """The uids of objects that nobody has deleted, by name."""
        items = self.json("get", kind, "-l", selector)["items"]
        assert isinstance(items, list)
        metas = [each["metadata"] for each in items]
        return {meta["name"]: meta["uid"] for meta in metas if "deletionTimestamp" not in meta}

    def peers(self, name: str) -> list[str]:
        """The pods of a set that are ready and stay."""
        found = []
        for pod in self.pods(f"chordial.dev/set={name}"):
            meta, status = pod["metadata"], pod["status"]
            assert isinstance(meta, dict)
            assert isinstance(status, dict)
            ready = [c["status"] for c in status.get("conditions", ()) if c["type"] == READY]
            if "deletionTimestamp" not in meta and ready == ["True"]:
                found.append(str(meta["name"]))
        return sorted(found)

    def settled(self, name: str, replicas: int, seconds: float = 60.0) -> None:
        """Wait until a set has just so many peers, all ready, and nobody leaves."""
        kind, _, plain = name.partition("/")

        def holds() -> bool:
            sets = self.names("statefulset", f"chordial.dev/set={plain}")
            return len(sets) == replicas and len(self.peers(plain)) == replicas

        self.until(f"{replicas} peers of {kind} {plain}", holds, seconds)
        self.told(name, READY, seconds=seconds)

    def everything(self) -> list[Json]:
        """Every object in the namespace, of every kind that is listed, Events apart."""
        kinds = self.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name")
        wanted = [kind for kind in kinds.split() if "event" not in kind and "metrics" not in kind]
        items = self.json("get", ",".join(wanted))["items"]
        assert isinstance(items, list)
        return items

    def finalizers(self) -> dict[str, list[str]]:
        """The finalizers in the namespace, by object; that of volume claims in use apart."""
        found = {}
        for each in self.everything():
            meta = each["metadata"]
            assert isinstance(meta, dict)
            own = [name for name in meta.get("finalizers", ()) if name != PROTECTED]
            if own:
                found[f"{each['kind']}/{meta['name']}"] = own
        return found

    def versions(self) -> dict[str, str]:
        """The resourceVersion of everything but Leases and the operator's own objects."""
        key, value = OPERATOR_LABEL
        found = {}
        for each in self.everything():
            meta = each["metadata"]
            assert isinstance(meta, dict)
            if each["kind"] not in FLEETING and (meta.get("labels") or {}).get(key) != value:
                found[f"{each['kind']}/{meta['name']}"] = str(meta["resourceVersion"])
        return found

    def leader(self) -> str:
        """The pod of the operator that reconciles."""
        path = "jsonpath={.spec.holderIdentity}"
        return self.kubectl("get", "lease", "chordial-operator", "-o", path)

    def events(self, reason: str) -> list[str]:
        """The notes of Events with a reason."""
        items = self.json("get", "events", "--field-selector", f"reason={reason}")["items"]
        assert isinstance(items, list)
        return [str(each["message"]) for each in items]

    def is_gone(self, *names: str) -> bool:
        """Tell whether none of these objects exists any more."""
        return not self.kubectl("get", *names, "--ignore-not-found", "-o", "name").strip()

    def left_of(self, name: str) -> list[str]:
        """What is left of a set."""
        kinds = "statefulset,pod,service,configmap,persistentvolumeclaim"
        said = self.kubectl("get", kinds, "-l", f"chordial.dev/set={name}", "-o", "name")
        return said.split()

    def patch(self, name: str, change: Json) -> None:
        """Change an object as a hand does."""
        self.kubectl("patch", name, "--type=merge", "-p", json.dumps(change))

    def in_pod(self, pod: str, program: str, *arguments: str) -> str:
        """Run a Python program in a peer's pod."""
        python = "/opt/chordial/bin/python"
        where = f"--namespace={self.namespace}"
        command = ("--", python, "-c", program, *arguments)
        return self.cluster.kubectl("exec", pod, where, *command).strip()


@contextmanager
def opened(cluster: Cluster, namespace: str, *options: str, **labels: str) -> Iterator[Fleet]:
    """A fleet's namespace with an operator, and nothing left of it afterwards."""
    fleet = Fleet(cluster, namespace)
    fleet.open(*options, **labels)
    try:
        yield fleet
    finally:
        fleet.remove()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long something took: figures are told, not asserted."""
    began = time.monotonic()
    yield
    sys.stderr.write(f"{what}: {time.monotonic() - began:.1f} s\n")


def always(holds: Callable[[], object], seconds: float) -> bool:
    """Tell whether something holds all the time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if not holds():
            return False
        time.sleep(0.5)  # what must not happen has no event to wait for
    return True


def refused(run: Callable[[], object]) -> str:
    """Return what a program complained of that must not succeed."""
    try:
        run()
    except (KubectlError, subprocess.CalledProcessError) as error:
        return str(error)
    raise AssertionError("this should have been refused")
