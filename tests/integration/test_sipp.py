"""SIPp as the load: many phones at one peer, many calls through another."""

from pathlib import Path

import pytest

from tests.integration import sipp
from tests.integration.rig import LocalFleet, wait_for
from tests.programs import ProgramFinder

COUNT = 500
pytestmark = [pytest.mark.foreign, pytest.mark.slow, pytest.mark.timeout(300)]


def test_500_registers_at_one_peer_and_500_calls_through_another_without_a_failure(
    shared_fleet: LocalFleet, require_program: ProgramFinder, tmp_path: Path
) -> None:
    program = require_program("sipp", "sip-tester")
    users = [f"user{number}" for number in range(COUNT)]
    shared_fleet.add_users(users, tmp_path)
    with sipp.answering(program, tmp_path) as (port, stats):
        rows = [(user, sipp.authentication(user), str(port)) for user in users]
        registering = sipp.write_csv(tmp_path / "register-users.csv", rows)
        registered = sipp.run(
            program, "register", shared_fleet.sip(1), tmp_path,
            "-inf", str(registering), "-m", str(COUNT), "-r", "60", "-l", "50",
        )  # fmt: skip
        assert registered == sipp.Counts(COUNT, 0, 0)
        rows = [
            (user, sipp.authentication(user), users[(number + 7) % COUNT])
            for number, user in enumerate(users)
        ]
        calling = sipp.write_csv(tmp_path / "call-users.csv", rows)
        called = sipp.run(
            program, "call", shared_fleet.sip(3), tmp_path,
            "-inf", str(calling), "-m", str(COUNT), "-r", "30", "-d", "100",
        )  # fmt: skip
        assert called == sipp.Counts(COUNT, 0, 0)
        wait_for(lambda: sipp.read_counts(stats).successful == COUNT)
        answered = sipp.read_counts(stats)
        assert (answered.failed, answered.retransmitted) == (0, 0)
