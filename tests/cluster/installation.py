"""A release of the chart in a namespace of the test's own, as a user installs it.

What is in it is Helm's and kubectl's own doing: a test says what it wants and waits for conditions.
The definitions of our kinds are the whole cluster's: the first release brings them, they are kept,
and every later one finds them and brings them up to date.
"""

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.harness import images, parts
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Json, Kubectl, KubectlError

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "chordial"
DEFINITIONS = CHART / "files" / "crds"
OWNER = OWNER_NAME, OWNER_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
READY_SECONDS = 180.0


class HelmError(Exception):
    """Helm said no; the message is what it said."""


class Installation:
    """One namespace with a release in it."""

    def __init__(self, cluster: Cluster, namespace: str, release: str = "chordial") -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.release = release
        self.helm_program = parts.HELM4.binary("helm")

    # Helm

    def helm(self, *arguments: str, seconds: float = 120.0) -> str:
        """Run Helm and return what it wrote; HelmError with its complaint."""
        done = subprocess.run(
            [str(self.helm_program), "--kubeconfig", str(self.cluster.kubeconfig),
             "--namespace", self.namespace, *arguments],
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        if done.returncode:
            raise HelmError(f"helm {' '.join(arguments)}: {done.stderr.strip()} {done.stdout}")
        return done.stdout

    def install(self, *options: str, chart: Path = CHART) -> str:
        """Install the chart with the images of this checkout, and definitions if there are none."""
        names = definitions()
        are_there = bool(self._kubectl("get", "crd", "--ignore-not-found", *names).strip())
        if are_there:
            self._kubectl(
                "apply", "--server-side", "--force-conflicts", "--field-manager=chordial-tests",
                f"--filename={DEFINITIONS}",
            )  # fmt: skip
        return self.helm(
            "install", self.release, str(chart), "--create-namespace",
            *image_options(), "--set", f"crds.enabled={str(not are_there).lower()}", *options,
        )  # fmt: skip

    @contextmanager
    def owning_definitions(self) -> Iterator[None]:
        """Let this release find the definitions as its own, as if there had never been another."""
        found = self._kubectl.json("get", "crd", "--ignore-not-found", *definitions())
        before = {name_of(each): annotations_of(each) for each in items_of(found)}
        own = {OWNER_NAME: self.release, OWNER_NAMESPACE: self.namespace}
        self._claim(dict.fromkeys(before, own))
        try:
            yield
        finally:
            self._claim(before)

    def _claim(self, owners: Mapping[str, Mapping[str, str]]) -> None:
        for name, owner in owners.items():
            marks = [f"{key}={owner[key]}" if key in owner else f"{key}-" for key in OWNER]
            self._kubectl("annotate", "--overwrite", "crd", name, *marks)
            self._kubectl("label", "--overwrite", "crd", name, "app.kubernetes.io/managed-by=Helm")

    # kubectl, in the namespace

    def kubectl(self, *arguments: str, text: str | None = None, timeout: float = 60.0) -> str:
        """Run kubectl in the namespace."""
        return self._kubectl(
            *arguments, f"--namespace={self.namespace}", text=text, timeout=timeout
        )

    def json(self, *arguments: str) -> Json:
        """Run kubectl in the namespace and return the object."""
        answer: Json = json.loads(self.kubectl(*arguments, "-o", "json"))
        return answer

    def apply(self, *objects: Json) -> None:
        """Apply objects in the namespace, as a user does."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "-f", "-", text=text)

    def wait(self, *arguments: str, seconds: float = READY_SECONDS) -> None:
        """`kubectl wait` in the namespace, which also waits for the object to be there."""
        self._kubectl.wait(*arguments, f"--namespace={self.namespace}", seconds=seconds)

    def wait_ready(self, name: str, seconds: float = READY_SECONDS) -> None:
        """Return when an object of ours (`overlay/voice`) is Ready."""
        self.wait("--for=condition=Ready", name, seconds=seconds)

    def until(self, what: str, holds: Callable[[], object], seconds: float = READY_SECONDS) -> None:
        """Return when something holds; AssertionError says what did not, and shows the pods."""
        limit = time.monotonic() + seconds
        while not self._holds(holds):
            if time.monotonic() > limit:
                pods = self.kubectl("get", "chordial,pods", "-o", "wide")
                raise AssertionError(f"not within {seconds:g} s: {what}\n{pods}")
            time.sleep(0.5)  # the condition is elsewhere: nothing tells when it changes

    def pods(self, selector: str) -> list[Json]:
        """The pods of a selector."""
        return items_of(self.json("get", "pods", "--selector", selector))

    def secret(self, name: str, key: str = "password") -> str:
        """The text in a Secret."""
        data = self.json("get", "secret", name)["data"]
        assert isinstance(data, dict)
        return base64.b64decode(data[key]).decode()

    def remove(self) -> None:
        """Take everything away at once: the release, the namespace and what is in it."""
        self.helm("uninstall", self.release, "--ignore-not-found")
        gone = ("--ignore-not-found", "--wait=false")
        if self._kubectl("get", "customresourcedefinitions", "-o", "name"):
            self.kubectl("delete", "relaysets,bootstrapsets,overlays", "--all", *gone)
        self.kubectl("delete", "pods", "--all", "--grace-period=1", *gone)
        self._kubectl(
            "delete", "namespace", self.namespace, "--ignore-not-found", "--timeout=90s",
            timeout=100,
        )  # fmt: skip

    @property
    def _kubectl(self) -> Kubectl:
        return self.cluster.kubectl

    @staticmethod
    def _holds(holds: Callable[[], object]) -> bool:
        try:
            return bool(holds())
        except KubectlError:
            return False


def items_of(listed: Json) -> list[Json]:
    """The objects of a list; kubectl gives a single one without a list around it, or nothing."""
    items = listed.get("items", [listed] if listed else [])
    assert isinstance(items, list)
    return items


def field(body: Json, *path: str) -> str:
    """The text at a path of an object, empty where there is none."""
    found: object = body
    for name in path:
        assert isinstance(found, dict)
        found = found.get(name, {})
    return str(found or "")


def name_of(body: Json) -> str:
    """The name of an object."""
    return field(body, "metadata", "name")


def annotations_of(body: Json) -> dict[str, str]:
    """The annotations of an object."""
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    return metadata.get("annotations") or {}


def definitions() -> list[str]:
    """The names of the definitions that the chart brings."""
    return [f"{path.stem}.chordial.dev" for path in sorted(DEFINITIONS.glob("*.yaml"))]


def registry_and_tag() -> tuple[str, str]:
    """What comes before and after the names of the images of this checkout."""
    registry, _, _ = images.name_of("node").partition("/")
    return registry, images.name_of("node").rpartition(":")[2]


def image_options() -> list[str]:
    """The values that name the images of this checkout."""
    registry, tag = registry_and_tag()
    return [
        "--set", f"global.imageRegistry={registry}",
        "--set", f"operator.image.tag={tag}",
        "--set", f"node.image.tag={tag}",
    ]  # fmt: skip


def relay_set(name: str = "edge", replicas: int = 2, **more: object) -> Json:
    """A RelaySet with UDP and TCP on 5060."""
    spec: Json = {
        "overlayRef": {"name": "voice"},
        "replicas": replicas,
        "listeners": [
            {"name": "udp", "transport": "UDP", "port": 5060},
            {"name": "tcp", "transport": "TCP", "port": 5060},
        ],
        **more,
    }
    return ours("RelaySet", name, spec)


def sip_user(name: str) -> Json:
    """A SipUser whose password the operator makes."""
    return ours(
        "SipUser",
        name,
        {"overlayRef": {"name": "voice"}, "user": name, "generate": {"secretName": f"{name}-sip"}},
    )


def ours(kind: str, name: str, spec: Json) -> Json:
    """A custom resource."""
    return {
        "apiVersion": "chordial.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }
