"""Durations and quantities are read as Kubernetes writes them, and who an object is."""

import pytest

from chordial_operator.spec.manifest import Quantity, Seconds, meta_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("1.5s", 1.5), ("0s", 0), ("168h", 604_800)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert Seconds.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-1s", "1 m", "1d", "10m ", "9" * 40 + "s"])
def test_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration such as 30s"):
        Seconds.parse(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("64Ki", 65_536), ("1Gi", 1 << 30), ("1.5Ki", 1536), ("3", 3), ("2k", 2000), ("500m", 0)],
)
def test_a_quantity_keeps_its_text(text: str, amount: int) -> None:
    quantity = Quantity.parse(text)
    assert quantity == text
    assert quantity.amount == amount


@pytest.mark.parametrize("text", ["", "-1Gi", "1gi", "Gi", "1 Gi", "1e"])
def test_refuses_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantity such as 64Ki"):
        Quantity.parse(text)


def test_reads_who_an_object_is() -> None:
    meta = meta_of(
        {
            "metadata": {
                "name": "voice",
                "namespace": "calls",
                "uid": "u-1",
                "generation": 3,
                "resourceVersion": "17",
                "creationTimestamp": "1970-01-01T00:01:00Z",
                "labels": {"a": "b"},
                "deletionTimestamp": "1970-01-01T00:02:00Z",
            }
        }
    )
    assert (meta.name, meta.namespace, meta.uid) == ("voice", "calls", "u-1")
    assert (meta.generation, meta.resource_version, meta.creation) == (3, "17", 60.0)
    assert meta.labels == {"a": "b"}
    assert meta.annotations == {}
    assert meta.deletion


def test_an_object_without_metadata_has_no_name() -> None:
    assert meta_of({}).name == ""
