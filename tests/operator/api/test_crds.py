"""The definitions on a real API server: defaults, refusals, scale, status, what kubectl tells."""

import json
import time
from collections.abc import Callable

import pytest

from chordial_operator.spec.manifest import Manifest
from tests.cluster.harness.api_server import ApiServer
from tests.cluster.harness.kubectl import Kubectl, KubectlError
from tests.definitions import KINDS, defaulted, definitions, examples, fields, policies, schema
from tests.operator.api.bad_specs import BAD, CHANGES, GOOD, Refused

NAMESPACE = "definitions"
IN = f"--namespace={NAMESPACE}"
POLICY_SECONDS = 20.0


@pytest.fixture(scope="module")
def kubectl(api_server: ApiServer) -> Kubectl:
    """kubectl of an API server that knows the definitions."""
    api_server.kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        *definitions().values(),
    )
    names = [f"crd/{made['metadata']['name']}" for made in definitions().values()]
    api_server.kubectl.wait("--for=condition=Established", *names)
    return api_server.kubectl


def resource(kind: str, name: str, **changes: object) -> Manifest:
    """Return an object of the least spec and its changes."""
    spec = {**GOOD[kind], **changes}
    return {
        "apiVersion": "chordial.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {field: value for field, value in spec.items() if value is not None},
    }


def create(kubectl: Kubectl, manifest: Manifest, *options: str) -> None:
    kubectl("create", "--filename=-", *options, text=json.dumps(manifest))


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(KubectlError) as caught:
        act()
    return str(caught.value)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_refuses_a_bad_spec_with_its_field_and_what_to_do(kubectl: Kubectl, bad: Refused) -> None:
    manifest = resource(bad.kind, "bad", **bad.change)
    said = refusal(lambda: create(kubectl, manifest, "--dry-run=server"))
    assert f"{bad.field}: " in said
    assert bad.words in said


@pytest.mark.parametrize("bad", CHANGES, ids=str)
def test_refuses_a_change_of_what_is_fixed(kubectl: Kubectl, bad: Refused) -> None:
    create(kubectl, resource(bad.kind, "fixed", **bad.before))
    patch = json.dumps({"spec": bad.change})
    try:
        said = refusal(
            lambda: kubectl("patch", bad.kind, "fixed", IN, "--type=merge", f"--patch={patch}")
        )
    finally:
        kubectl("delete", bad.kind, "fixed", IN)
    assert f"{bad.field}: " in said
    assert bad.words in said


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Overlay", {"domains": ["voice.example.org", "b.example"]}),
        ("Overlay", {"successors": 8, "copies": 7, "disruption": {"maxUnavailable": 3}}),
        ("BootstrapSet", {"storage": {"size": "1.5Gi"}}),
        ("BootstrapSet", {"storage": {"size": "1024Mi"}}),
        ("RelaySet", {"replicas": 0}),
        ("RelaySet", {"exposure": {"type": "HostPort"}}),
        ("SipUser", {"generate": None, "passwordSecretRef": {"name": "alice"}}),
    ],
)
def test_lets_everything_else_change(kubectl: Kubectl, kind: str, change: Manifest) -> None:
    create(kubectl, resource(kind, "free"))
    patch = json.dumps({"spec": change})
    try:
        kubectl("patch", kind, "free", IN, "--type=merge", f"--patch={patch}")
    finally:
        kubectl("delete", kind, "free", IN)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("Overlay", "1st", "begin with a letter"),
        ("Overlay", "a" * 41, "at most 40 characters"),
        ("RelaySet", "edge.east", "a-z, 0-9 and hyphen"),
        ("RelaySet", "edge-1", "must not end in a hyphen with a number"),
        ("BootstrapSet", "voice-peers", "must not end in a hyphen with"),
        ("SipUser", "a" * 64, "at most 63 characters"),
    ],
)
def test_refuses_a_name_that_children_cannot_have(
    kubectl: Kubectl, kind: str, name: str, words: str
) -> None:
    assert words in refusal(lambda: create(kubectl, resource(kind, name), "--dry-run=server"))


@pytest.mark.parametrize("kind", KINDS)
def test_fills_in_every_default(kubectl: Kubectl, kind: str) -> None:
    create(kubectl, resource(kind, "least"))
    made: Manifest = kubectl.json("get", kind, "least", IN)
    assert made["spec"] == defaulted(schema(kind)["properties"]["spec"], GOOD[kind])
    assert "finalizers" not in made["metadata"]
    kubectl("delete", kind, "least", IN)


@pytest.mark.parametrize("kind", KINDS)
def test_is_not_ready_before_the_operator_has_looked(kubectl: Kubectl, kind: str) -> None:
    create(kubectl, resource(kind, "new"))
    status: Manifest = kubectl.json("get", kind, "new", IN)["status"]  # type: ignore[assignment]
    assert status["observedGeneration"] == -1
    [ready] = status["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "Unknown", "Pending")
    shown = kubectl("get", kind, "new", IN)
    assert shown.splitlines()[1].split()[-2] == "Pending"
    kubectl("delete", kind, "new", IN)


def test_kubectl_explains_every_field(kubectl: Kubectl) -> None:
    """`kubectl explain` reads this document."""
    served = json.loads(kubectl("get", "--raw=/openapi/v3/apis/chordial.dev/v1alpha1"))
    for kind in KINDS:
        told = dict(fields(served["components"]["schemas"][f"dev.chordial.v1alpha1.{kind}"]))
        assert [path for path, part in told.items() if not part.get("description")] == []
        assert len(told) > 20
    drain = " ".join(kubectl("explain", "relayset.spec.drain.timeout").split())
    assert "How long a leaving peer waits for its calls, 10s to 24h; 10m by default." in drain
    assert "<no description>" not in kubectl("explain", "relayset", "--recursive")


def test_scale_obeys_the_rules(kubectl: Kubectl) -> None:
    create(kubectl, resource("BootstrapSet", "seed"))
    create(kubectl, resource("RelaySet", "edge"))
    said = refusal(lambda: kubectl("scale", "bss/seed", IN, "--replicas=0"))
    assert "cannot be scaled to 0: its seeds hold the ring" in said
    kubectl("scale", "bss/seed", IN, "--replicas=6")
    kubectl("scale", "rls/edge", IN, "--replicas=0")
    assert kubectl("get", "bss", "seed", IN, "--output=jsonpath={.spec.replicas}") == "6"
    assert kubectl("get", "rls", "edge", IN, "--output=jsonpath={.spec.replicas}") == "0"
    kubectl("delete", "bss/seed", "rls/edge", IN)


def test_scale_tells_an_autoscaler_what_the_status_says(kubectl: Kubectl) -> None:
    create(kubectl, resource("RelaySet", "edge"))
    selector = "chordial.dev/set=edge,chordial.dev/overlay=voice"
    patch = json.dumps({"status": {"replicas": 3, "selector": selector}})
    kubectl("patch", "rls", "edge", IN, "--type=merge", "--subresource=status", f"--patch={patch}")
    path = f"/apis/chordial.dev/v1alpha1/namespaces/{NAMESPACE}/relaysets/edge/scale"
    scale = json.loads(kubectl("get", f"--raw={path}"))
    assert scale["status"] == {"replicas": 3, "selector": selector}
    kubectl("delete", "rls/edge", IN)


def test_is_found_by_short_name_category_and_overlay(kubectl: Kubectl) -> None:
    create(kubectl, resource("Overlay", "voice"))
    create(kubectl, resource("RelaySet", "edge"))
    create(kubectl, resource("RelaySet", "other", overlayRef={"name": "other"}))
    of_voice = "--field-selector=spec.overlayRef.name=voice"
    shown = kubectl("get", "rls", IN, of_voice, "--output=name")
    assert shown.split() == ["relayset.chordial.dev/edge"]
    assert len(kubectl("get", "chordial", IN, "--output=name").split()) == 3
    for short in ("ovl", "bss", "rls", "sipu"):
        kubectl("get", short, IN)
    kubectl("delete", "ovl/voice", "rls/edge", "rls/other", IN)


@pytest.mark.parametrize("name", sorted(examples()))
def test_takes_every_example(kubectl: Kubectl, name: str) -> None:
    for manifest in examples()[name]:
        create(kubectl, manifest, "--dry-run=server", "--validate=strict", IN)


def test_policies_refuse_what_spans_two_objects(kubectl: Kubectl) -> None:
    namespace = "policies"
    kubectl("create", "namespace", namespace)
    within = f"--namespace={namespace}"

    def attempt(kind: str, name: str, **changes: object) -> str:
        manifest = resource(kind, name, **changes)
        manifest["metadata"]["namespace"] = namespace
        try:
            create(kubectl, manifest, "--dry-run=server")
        except KubectlError as error:
            return str(error)
        return ""

    overlay = resource("Overlay", "voice", successors=5, limits={"maxContactsPerUser": 3})
    overlay["metadata"]["namespace"] = namespace
    create(kubectl, overlay)
    kubectl.apply(*policies())
    try:
        limit = time.monotonic() + POLICY_SECONDS
        while not (said := attempt("BootstrapSet", "few", replicas=5)):
            assert time.monotonic() < limit, "the policy is not obeyed"
        assert "spec.replicas must be at least 6: Overlay voice keeps 3 copies" in said
        assert attempt("BootstrapSet", "enough", replicas=6) == ""
        assert attempt("BootstrapSet", "apart", replicas=1, overlayRef={"name": "x"}) == ""
        said = attempt("SipUser", "alice", maxContacts=4)
        assert "spec.maxContacts must be at most 3" in said
        assert attempt("SipUser", "alice", maxContacts=3) == ""
    finally:
        for manifest in policies():
            kubectl("delete", manifest["kind"], manifest["metadata"]["name"])
        kubectl("delete", "ovl/voice", within)
