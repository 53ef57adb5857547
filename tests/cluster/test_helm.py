"""The chart over older definitions, upgraded, uninstalled and installed anew, by both Helms.

Definitions belong to the whole cluster: whatever happens here, they are afterwards as before. What
the older ones lack is a field that no other test uses.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Json
from tests.cluster.installation import CHART, HelmError, image_options
from tests.cluster.lifecycle import DEFINITIONS, Fleet, timed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NEWER = "podMetadata"
"""The field that the older definitions of sets lack."""
SEEDS = {
    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    "drain": {"timeout": "10s"},
}
VALUES = ("--set-json", f"bootstrapSet.spec={json.dumps(SEEDS)}")
NEWER_VALUES = (*VALUES, "--set", f"bootstrapSet.spec.{NEWER}.labels.team=voice")
BARE = ("--set", "overlay.enabled=false", "--set", "operator.replicas=1")
OWN = "--take-ownership"
"""The definitions may have come with another test's release."""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our chart as it might have been: one version lower, its sets without a field."""
    chart = tmp_path_factory.mktemp("charts") / "chordial"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "0.0.9"}))
    for name in ("bootstrapsets", "relaysets"):
        path = chart / "files" / "crds" / f"{name}.yaml"
        definition = yaml.safe_load(path.read_text())
        for version in definition["spec"]["versions"]:
            del _fields(version)[NEWER]
        path.write_text(yaml.safe_dump(definition))
    return chart


@pytest.fixture(scope="module")
def definitions(cluster: Cluster) -> Iterator[None]:
    """The definitions as they are, put back afterwards."""
    found = cluster.kubectl.json("get", "crd", *DEFINITIONS, "--ignore-not-found").get("items", [])
    yield
    assert isinstance(found, list)
    for each in found:
        for field in ("resourceVersion", "managedFields"):
            each["metadata"].pop(field, None)
        each.pop("status", None)
        cluster.kubectl("replace", "-f", "-", text=json.dumps(each))


@pytest.fixture(scope="module")
def fleet(cluster: Cluster, definitions: None) -> Iterator[Fleet]:
    """A namespace for a release."""
    made = Fleet(cluster, "helms")
    made.remove()
    try:
        yield made
    finally:
        made.remove()


def test_helm_3_upgrades_older_definitions(fleet: Fleet, older: Path) -> None:
    fleet.helm3("install", "chordial", str(older), "--create-namespace", OWN,
                *image_options(), *VALUES)  # fmt: skip
    with timed("Helm 3 installed the older chart, overlay ready"):
        fleet.wait_ready("overlay/voice")
        fleet.settled("bootstrapset/seed", 5)
    assert NEWER not in _definition(fleet)
    pods = fleet.uids("pod", "chordial.dev/set=seed")
    with timed("Helm 3 upgraded"):
        fleet.upgrade(CHART, *NEWER_VALUES, helm3=True)
    assert NEWER in _definition(fleet)
    fleet.wait("--for=condition=Available", "deployment/chordial-operator")
    assert fleet.uids("pod", "chordial.dev/set=seed") == pods, "no peer was restarted"


def test_the_newer_field_is_kept_now(fleet: Fleet) -> None:
    fleet.kubectl("rollout", "restart", "deployment/chordial-operator")
    fleet.until("the first overlay is applied again", lambda: NEWER in _stored(fleet), 40)


def test_helm_4_upgrades_what_helm_3_installed(fleet: Fleet) -> None:
    identity = _instance(fleet)
    overlay = fleet.uids("overlay")
    with timed("Helm 4 upgraded Helm 3's release"):
        fleet.upgrade(CHART, *NEWER_VALUES)
    fleet.wait("--for=condition=Available", "deployment/chordial-operator")
    assert fleet.uids("overlay") == overlay
    assert _instance(fleet) == identity
    assert fleet.finalizers() == {}


def test_helm_4_upgrades_older_definitions(cluster: Cluster, fleet: Fleet, older: Path) -> None:
    other = Fleet(cluster, "helms-four")
    other.remove()
    try:
        other.helm("install", "chordial", str(older), "--create-namespace", OWN,
                   *image_options(), *BARE)  # fmt: skip
        assert NEWER not in _definition(other)
        with timed("Helm 4 upgraded"):
            other.upgrade(CHART, *BARE)
        assert NEWER in _definition(other)
        assert fleet.names("overlay") == ["voice"]
    finally:
        other.remove()


def test_uninstalling_with_a_dead_operator_leaves_overlays_alone(fleet: Fleet) -> None:
    fleet.kubectl("scale", "deployment/chordial-operator", "--replicas=0")
    selector = "app.kubernetes.io/component=operator"
    fleet.until("the operator is dead", lambda: not fleet.names("pod", selector), 40)
    pods = fleet.uids("pod", "chordial.dev/overlay=voice")
    with timed("uninstalled, operator dead"):
        fleet.helm("uninstall", "chordial")
    with pytest.raises(HelmError, match="not found"):
        fleet.helm("uninstall", "chordial")
    with pytest.raises(HelmError, match="not found"):
        fleet.helm3("uninstall", "chordial")
    fleet.helm("uninstall", "chordial", "--ignore-not-found")
    fleet.helm3("uninstall", "chordial", "--ignore-not-found")
    assert fleet.is_gone("deployment/chordial-operator")
    assert fleet.uids("pod", "chordial.dev/overlay=voice") == pods
    assert fleet.names("overlay") == ["voice"]
    assert sorted(fleet.peers("seed")) == sorted(pods)


def test_installing_again_takes_the_overlay_over(fleet: Fleet) -> None:
    identity = _instance(fleet)
    pods = fleet.uids("pod", "chordial.dev/overlay=voice")
    with timed("installed over kept definitions, overlay scaled"):
        fleet.install(OWN, *NEWER_VALUES)
        fleet.wait("--for=condition=Available", "deployment/chordial-operator")
        fleet.kubectl("scale", "bootstrapset/seed", "--replicas=6")
        fleet.settled("bootstrapset/seed", 6)
    assert _instance(fleet) == identity
    after = fleet.uids("pod", "chordial.dev/overlay=voice")
    assert {name: uid for name, uid in after.items() if name in pods} == pods


def test_a_namespace_goes_away_with_its_release(fleet: Fleet) -> None:
    fleet.kubectl("scale", "deployment/chordial-operator", "--replicas=0")
    assert fleet.finalizers() == {}
    with timed("namespace with an overlay deleted, operator dead"):
        fleet.remove()


def _fields(version: Json) -> Json:
    schema = version["schema"]
    assert isinstance(schema, dict)
    fields = schema["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert isinstance(fields, dict)
    return fields


def _definition(fleet: Fleet) -> Json:
    spec = fleet.json("get", "crd", "bootstrapsets.chordial.dev")["spec"]
    assert isinstance(spec, dict)
    return _fields(spec["versions"][0])


def _stored(fleet: Fleet) -> Json:
    spec = fleet.json("get", "bootstrapset/seed")["spec"]
    assert isinstance(spec, dict)
    return spec


def _instance(fleet: Fleet) -> str:
    return fleet.kubectl("get", "overlay/voice", "-o", "jsonpath={.status.instanceID}")
