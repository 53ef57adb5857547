"""Configuration: defaults, and every problem told at once."""

import json
from typing import cast

import pytest

from chordial_node.config import ConfigError, Endpoint, Transport, parse

Json = dict[str, object]


def valid() -> dict[str, Json]:
    here = {"host": "127.0.0.1", "port": 6084}
    return {
        "overlay": {
            "name": "laptop",
            "bind": here,
            "advertise": here,
            "founders": ["00" * 15 + "01"],
        },
        "sip": {
            "domain": "chordial.test",
            "listeners": [
                {"transport": "udp", "bind": {"host": "127.0.0.1", "port": 5060}},
                {"transport": "peer", "bind": {"host": "::1", "port": 5081}},
            ],
        },
        "identity": {"certificate": "a", "key": "b", "trusted": "c", "overlay_keys": "d"},
        "storage": {"path": "values.db"},
    }


def problems(change: dict[str, Json]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(json.dumps({"name": "peer-1", **change}))
    return str(caught.value)


def test_a_valid_configuration_is_read_with_its_defaults() -> None:
    config = parse(json.dumps({"name": "peer-1", **valid()}))
    assert config.overlay.copies == 3
    assert config.sip.listeners[1].transport is Transport.PEER
    assert str(config.sip.listeners[1].advertised) == "[::1]:5081"
    assert config.telemetry.otlp_endpoint == ""


def test_all_problems_are_told_together() -> None:
    change = valid()
    change["overlay"]["founders"] = ["xyz"]
    change["sip"]["domain"] = "Chordial.Test"
    change["sip"]["listeners"] = cast(list[object], change["sip"]["listeners"])[:1]
    told = problems(change)
    assert "overlay.founders" in told
    assert "lower case" in told
    assert "exactly one of transport peer" in told


def test_further_domains_are_other_ones() -> None:
    change = valid()
    change["sip"]["domains"] = ["voice.example.org", "Upper.example", "chordial.test"]
    told = problems(change)
    assert "sip.domains must hold names in lower case, not 'Upper.example'" in told
    assert "sip.domains names a domain twice" in told


def test_a_founder_counts_once() -> None:
    change = valid()
    change["overlay"]["founders"] = ["0a" * 16, "0A" * 16]
    assert "names one twice" in problems(change)


def test_copies_need_successors_to_lie_at() -> None:
    change = valid()
    change["overlay"].update(copies=5, successors=4)
    assert "overlay.successors is less than overlay.copies" in problems(change)


def test_an_unknown_field_is_named() -> None:
    change = valid()
    change["overlay"]["copys"] = 3
    assert "copys" in problems(change)


def test_a_peer_may_serve_no_phones() -> None:
    change = valid()
    change["sip"]["listeners"] = cast(list[object], change["sip"]["listeners"])[1:]
    assert len(parse(json.dumps({"name": "seed", **change})).sip.listeners) == 1


def test_a_listener_has_both_certificate_and_key_or_neither() -> None:
    change = valid()
    listeners = cast(list[Json], change["sip"]["listeners"])
    listeners[0]["certificate"] = "tls.crt"
    told = problems(change)
    assert "sip.listeners[0] needs both certificate and key, or neither" in told
    assert "sip.listeners[0].certificate is for transport tls alone" in told


def test_seeds_are_told_apart_by_what_they_are() -> None:
    change = valid()
    seeds = [{"host": host, "port": 6084} for host in ("127.0.0.2", "peers.example", "::2")]
    change["overlay"]["seeds"] = seeds
    overlay = parse(json.dumps({"name": "peer-1", **change})).overlay
    assert [each.host for each in overlay.seed_addresses] == ["127.0.0.2", "::2"]
    assert [each.host for each in overlay.seed_names] == ["peers.example"]


def test_an_endpoint_brackets_ipv6() -> None:
    assert str(Endpoint("::1", 5060)) == "[::1]:5060"
