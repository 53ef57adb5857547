"""What needs no write because it stands already."""

import pytest

from chordial_operator.resources.comparison import (
    APPLIED_ANNOTATION,
    fingerprint,
    is_covered,
    marked,
)


def test_defaults_and_foreign_fields_do_not_count() -> None:
    wanted = {"spec": {"ports": [{"port": 5060}]}}
    observed = {"spec": {"ports": [{"port": 5060, "nodePort": 31000}], "clusterIP": "10.0.0.1"}}
    assert is_covered(wanted, observed)


def test_a_changed_field_counts() -> None:
    assert not is_covered({"spec": {"replicas": 1}}, {"spec": {"replicas": 2}})
    assert not is_covered({"spec": {"replicas": 1}}, {"spec": {}})
    assert not is_covered({"a": [1, 2]}, {"a": [1, 2, 3]})
    assert not is_covered({"a": True}, {"a": 1})


def test_a_selector_counts_as_a_whole() -> None:
    wanted = {"spec": {"selector": {"a": "b"}, "ingress": [{"ports": [1]}]}}
    assert is_covered(wanted, {"spec": {**wanted["spec"], "type": "ClusterIP"}})
    assert not is_covered(wanted, {"spec": {**wanted["spec"], "selector": {"a": "b", "c": "d"}}})
    assert not is_covered(wanted, {"spec": {**wanted["spec"], "ingress": [{"ports": [1], "x": 2}]}})
    assert is_covered({"nodeSelector": {}}, {})


def test_what_the_server_drops_when_empty_is_covered() -> None:
    assert is_covered({"annotations": {}, "tolerations": []}, {})


def test_the_mark_tells_of_a_field_that_is_wanted_no_more() -> None:
    before = marked({"metadata": {"name": "a"}, "spec": {"nodeSelector": {"x": "y"}}})
    after = marked({"metadata": {"name": "a"}, "spec": {}})
    assert not is_covered(after, before)
    marks = [each["metadata"]["annotations"][APPLIED_ANNOTATION] for each in (before, after)]
    assert marks[0] != marks[1]


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("wanted", "observed", "is_same"),
    [
        ("0.5", "500m", True),
        (0.5, "500m", True),
        (1, "1", True),
        ("1024Mi", "1Gi", True),
        ("1e3", "1k", True),
        ("1000m", "1", True),
        ("0.5", "501m", False),
        ("1G", "1Gi", False),
        ("1", None, False),
        ("much", "much", True),
    ],
)
def test_another_spelling_of_an_amount_is_no_difference(
    wanted: object, observed: object, is_same: bool
) -> None:
    """The API server writes an amount in one way, however it came: that asks for no write."""
    for which in ("requests", "limits"):
        made = [{"resources": {which: {"cpu": each}}} for each in (wanted, observed)]
        assert is_covered(made[0], made[1]) is is_same
