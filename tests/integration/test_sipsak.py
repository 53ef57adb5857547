"""sipsak, the administrator's tool, against a peer."""

import subprocess

import pytest

from tests.integration.rig import DOMAIN, LocalFleet
from tests.programs import ProgramFinder

pytestmark = [pytest.mark.foreign, pytest.mark.slow]


def test_sipsak_gets_an_answer_to_options(
    shared_fleet: LocalFleet, require_program: ProgramFinder
) -> None:
    """RFC 3261 §11: OPTIONS to the server itself is answered 200.

    The peer is named as outbound proxy: sipsak cuts a digit off ports of five in a Request-URI.
    """
    program = require_program("sipsak", "sipsak")
    host, port = shared_fleet.sip(1)
    done = subprocess.run(
        [str(program), "-vv", "-p", f"{host}:{port}", "-s", f"sip:{DOMAIN}"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "SIP/2.0 200" in done.stdout
