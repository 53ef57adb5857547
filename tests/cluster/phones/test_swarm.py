"""The swarm itself: phones on loopback at a ring of this machine, no cluster needed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.phones.swarms import added, everybody, swarm
from tests.integration.rig import LocalFleet

PHONES = 50
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """A ring of five peers that has the users of the swarm."""
    folder = tmp_path_factory.mktemp("swarm")
    fleet = LocalFleet(folder / "state")
    try:
        fleet.up()
        fleet.add_users([f"u{number:04}" for number in range(PHONES)], folder)
        yield fleet
    finally:
        fleet.down()


def test_fifty_phones_call_each_other_without_a_failure(fleet: LocalFleet, tmp_path: Path) -> None:
    targets = [fleet.sip(number) for number in range(1, 6)]
    with swarm(targets, tmp_path, "--count", str(PHONES), "--hold", "1") as phones:
        assert phones.ask("start")["registered"] == PHONES
        phones.ask("rate", per_second=5)
        time.sleep(10.0)  # the load itself
        phones.ask("stop")
        report = phones.report()
        assert report.failures == [], report.told()
        assert report.protocol_errors == {}, report.examples
        assert report.count("tried") >= 48, report.told()
        assert report.count("tried") == report.count("answered") == report.count("completed")
        assert report.count("heard") == report.count("answers_completed") == report.count("tried")
        called = phones.ask("call_everyone", per_second=25)
        assert (called["called"], called["answered"]) == (PHONES, PHONES), called
        phones.end(unregister=True)
    fleet.assert_no_fault()


def test_two_swarms_call_each_other_and_who_is_not_there_is_named(
    fleet: LocalFleet, tmp_path: Path
) -> None:
    targets = [fleet.sip(2), fleet.sip(4)]
    options = ("--callees", "0:21", "--hold", "0.5", "--count", "10", "--expires", "7")
    with (
        swarm(targets, tmp_path, *options, name="one") as one,
        swarm(targets, tmp_path, *options, "--first", "10", name="two") as two,
    ):
        both = [one, two]
        # 7 s are too few for the registrar (423): they ask again for what it wants
        assert [each["registered"] for each in everybody(both, "start")] == [10, 10]
        called = one.ask("call_everyone")
        assert (called["called"], called["answered"]) == (21, 20), called
        report = added(both)
        assert report.causes() == {"call set-up: 480 Temporarily Unavailable": 1}, report.told()
        assert report.unheard == ["u0020"]
        assert report.count("heard") == 20
        assert report.protocol_errors == {}, report.examples
        everybody(both, "quit", unregister=True)


def test_a_wrong_password_is_a_registration_that_failed(fleet: LocalFleet, tmp_path: Path) -> None:
    with swarm([fleet.sip(1)], tmp_path, "--count", "2", "--password", "no") as phones:
        started = phones.ask("start")
        assert started["registered"] == 0
        assert set(phones.report().causes()) <= {
            "registration register: 401 Unauthorized", "registration register: 403 Forbidden",
        }  # fmt: skip
