"""An Overlay is read with every default, and refused by the name of its field."""

import pytest

from chordial_operator.spec.manifest import InvalidSpecError, Manifest, NameRef
from chordial_operator.spec.overlay import Overlay, parse_overlay


def overlay(**spec: object) -> Overlay:
    body: Manifest = {"metadata": {"name": "voice", "namespace": "calls"}, "spec": spec}
    return parse_overlay(body)


def test_the_least_overlay_has_every_default() -> None:
    least = overlay(domains=["voice.example.org"])
    assert least.meta.name == "voice"
    assert least.realm == "voice.example.org"
    assert (least.copies, least.successors) == (3, 3)
    assert least.certificates.lifetime == 604_800
    assert least.limits.max_value_size.amount == 65_536
    assert least.upgrade.peer_timeout == 900
    assert least.image is None


def test_reads_what_is_said() -> None:
    said = overlay(
        domains=["a.example", "b.example"],
        copies=7,
        successors=8,
        image={"digest": "sha256:0"},
        imagePullSecrets=[{"name": "registry"}],
        certificates={"lifetime": "1h", "caSecretRef": {"name": "ours"}},
        telemetry={
            "otlp": {"endpoint": "http://otel:4317", "headersSecretRef": {"name": "collector"}},
            "logLevel": "Debug",
        },
        networkPolicy={"metricsFrom": [{"matchLabels": {"a": "b"}}]},
        paused=True,
    )
    assert said.domains == ("a.example", "b.example")
    assert said.image is not None
    assert (said.image.digest, said.image.pull_policy) == ("sha256:0", "IfNotPresent")
    assert said.image_pull_secrets == (NameRef("registry"),)
    assert said.certificates.ca_secret_ref == NameRef("ours")
    assert said.certificates.ca_lifetime == 87_600 * 3600
    assert said.telemetry.otlp is not None
    assert said.telemetry.otlp.headers_secret_ref == NameRef("collector")
    assert said.network_policy.metrics_from == ({"matchLabels": {"a": "b"}},)
    assert said.paused


def test_a_field_of_a_later_version_is_no_error() -> None:
    assert overlay(domains=["a.example"], newer=1).realm == "a.example"


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({}, "spec", "missing required field `domains`"),
        ({"domains": "a.example"}, "spec.domains", "Expected `array`"),
        ({"domains": ["a"], "copies": "3"}, "spec.copies", "Expected `int`"),
        ({"domains": ["a"], "acknowledge": "Two"}, "spec.acknowledge", "Invalid enum value 'Two'"),
        (
            {"domains": ["a"], "certificates": {"lifetime": "soon"}},
            "spec.certificates.lifetime",
            "must be a duration such as 30s",
        ),
        (
            {"domains": ["a"], "limits": {"maxValueSize": 5}},
            "spec.limits.maxValueSize",
            "must be a text, not 5",
        ),
    ],
)
def test_names_the_field_that_cannot_be_used(
    spec: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        overlay(**spec)
    assert caught.value.field == field
    assert words in caught.value.message
