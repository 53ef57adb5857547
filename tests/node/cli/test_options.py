"""Command lines: what is understood, and what is said about the rest."""

from pathlib import Path

import pytest

from chordial_node.cli.options import UsageError, aor_of, environment_state, host_port
from chordial_node.cli.values import seconds_of


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("127.0.0.1:5060", ("127.0.0.1", 5060)),
        ("[::1]:5060", ("::1", 5060)),
        ("a.test:1", ("a.test", 1)),
    ],
)
def test_an_address_is_host_and_port(text: str, pair: tuple[str, int]) -> None:
    assert host_port(text) == pair


@pytest.mark.parametrize("text", ["", "5060", "a:", "a:0", "a:65536", "a:b"])
def test_what_is_no_address_is_told_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:5060"):
        host_port(text)


@pytest.mark.parametrize("text", ["bob", "sip:bob", "bob@chordial.test", "sip:bob@chordial.test"])
def test_a_user_may_be_named_shortly(text: str) -> None:
    assert aor_of(text, "chordial.test") == "sip:bob@chordial.test"


@pytest.mark.parametrize("text", ["", "sip:", "bob <x>", 'b"b', "sips:bob@a.test", "a\r\nb"])
def test_what_is_no_sip_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no SIP address"):
        aor_of(text, "chordial.test")


def test_the_state_folder_is_the_users_own_unless_said_otherwise() -> None:
    assert environment_state({"HOME": "/home/u"}) == Path("/home/u/.local/state/chordial")
    assert environment_state({"XDG_STATE_HOME": "/s"}) == Path("/s/chordial")
    assert environment_state({"CHORDIAL_STATE": "/here", "XDG_STATE_HOME": "/s"}) == Path("/here")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("15m", 900.0), ("2h", 7200.0), ("1d", 86_400.0), ("5", 5.0)],
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "0s", "-1m", "nan", "inf", "1w"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="a time is"):
        seconds_of(text)
