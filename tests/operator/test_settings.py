"""What the operator is told at its start."""

import pytest

from chordial_operator.settings import SettingsError, read_settings

CHART = {
    "CHORDIAL_NAMESPACE": "chordial",
    "CHORDIAL_POD_NAME": "chordial-0",
    "CHORDIAL_ENROLLMENT_HOST": "chordial.chordial.svc",
    "CHORDIAL_WATCH_NAMESPACES": "a, b",
    "CHORDIAL_NODE_IMAGE": "registry.example/chordial/node:1.0",
    "CHORDIAL_IMAGE_PULL_SECRETS": "pull",
    "CHORDIAL_FIRST_OVERLAY": "chordial-first-overlay",
}


def test_takes_what_the_chart_sets() -> None:
    settings = read_settings([], CHART)
    assert settings.watch_namespaces == ("a", "b")
    assert settings.node_image == "registry.example/chordial/node:1.0"
    assert settings.image_pull_secrets == ("pull",)
    assert settings.first_overlay == "chordial-first-overlay"
    assert settings.enrollment_port == 6085


def test_a_flag_wins() -> None:
    settings = read_settings(["--watch-namespaces", "c", "--log-level=debug"], CHART)
    assert (settings.watch_namespaces, settings.log_level) == (("c",), "debug")
    assert read_settings(["--all-namespaces"], CHART).watch_namespaces == ()


def test_registrations_may_be_left_to_metrics() -> None:
    assert read_settings([], CHART).tells_registered
    off = {**CHART, "CHORDIAL_TELL_REGISTERED": "false"}
    assert not read_settings([], off).tells_registered
    with pytest.raises(SettingsError, match="--tell-registered must be true or false, not 'no'"):
        read_settings(["--tell-registered=no"], CHART)


def test_tells_every_problem_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(["--log-level", "loud", "--workers", "99"], {})
    said = str(caught.value)
    for word in ("--namespace", "--pod-name", "--enrollment-host", "'loud'", "99"):
        assert word in said


def test_refuses_a_flag_that_it_does_not_know() -> None:
    with pytest.raises(SettingsError, match="--nonsense"):
        read_settings(["--nonsense"], CHART)
