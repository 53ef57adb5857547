"""Two baresips register at two peers, one calls, each must hear the other's tone."""

import sys
from pathlib import Path

import pytest

from tests.integration.baresip import Ports, baresip
from tests.integration.rig import DOMAIN, LocalFleet, free_port, wait_for
from tests.programs import ProgramFinder

pytestmark = [pytest.mark.foreign, pytest.mark.slow, pytest.mark.timeout(180)]


def free_ports() -> Ports:
    """Return ports for SIP, control and RTP that nobody uses at present."""
    return Ports(free_port(), free_port(), free_port() & ~1)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_two_baresips_at_two_peers_hear_each_other(
    shared_fleet: LocalFleet, require_program: ProgramFinder, tmp_path: Path, transport: str
) -> None:
    assert sys.platform == "linux"
    program = require_program("baresip", "baresip-core")
    caller, callee = f"anna{transport}", f"ben{transport}"
    shared_fleet.add_users([caller, callee], tmp_path)
    with (
        baresip(program, tmp_path, callee, free_ports(), 1000, shared_fleet.sip(4, transport),
                transport, "auto") as ben,
        baresip(program, tmp_path, caller, free_ports(), 440, shared_fleet.sip(2, transport),
                transport, "manual") as anna,
    ):  # fmt: skip
        wait_for(lambda: anna.is_registered() and ben.is_registered(), 20.0)
        anna.ask("dial", f"sip:{callee}@{DOMAIN}")
        wait_for(lambda: abs(ben.heard() - 440) <= 20, 30.0, pause=0.5)
        wait_for(lambda: abs(anna.heard() - 1000) <= 30, 30.0, pause=0.5)
        wait_for(lambda: anna.tells("hangup", ""))
        wait_for(ben.is_idle, 10.0)
