"""Who is no peer is refused at the peers' doors, seen with OpenSSL as the outsider."""

import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.integration.rig import LocalFleet, wait_for
from tests.programs import ProgramFinder

pytestmark = [pytest.mark.foreign, pytest.mark.slow]


def shake_hands(program: Path, address: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Try a TLS handshake and say something."""
    return subprocess.run(
        [str(program), "s_client", "-connect", address, "-tls1_3", "-alpn", "h2", *options],
        capture_output=True, text=True, timeout=20, input="x\n", check=False,
    )  # fmt: skip


def refusals(fleet: LocalFleet) -> str:
    """Return what the first peer has logged of outsiders."""
    log = (fleet.state / "peers" / "peer-1" / "node.log").read_text()
    return "\n".join(line.lower() for line in log.splitlines() if "outsider refused" in line)


def told_more(fleet: LocalFleet, before: int) -> bool:
    """Tell whether the first peer has refused another certificate since."""
    return refusals(fleet).count("certificate") > before


def test_without_a_certificate_no_link_and_no_peer_hop(
    shared_fleet: LocalFleet, require_program: ProgramFinder
) -> None:
    program = require_program("openssl", "openssl")
    places = shared_fleet.peer(1)
    sip = places["sip"]
    assert isinstance(sip, dict)
    for address in (str(places["grpc"]), str(sip["peer"])):
        before = refusals(shared_fleet).count("certificate")
        done = shake_hands(program, address, "-ign_eof")
        assert "Verification: OK" not in done.stdout
        wait_for(partial(told_more, shared_fleet, before))


def test_a_certificate_of_another_authority_is_refused(
    shared_fleet: LocalFleet, require_program: ProgramFinder, tmp_path: Path
) -> None:
    program = require_program("openssl", "openssl")
    subprocess.run(
        [
            str(program), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=eve",
        ],
        cwd=tmp_path, capture_output=True, check=True, timeout=20,
    )  # fmt: skip
    options = ("-cert", str(tmp_path / "cert.pem"), "-key", str(tmp_path / "key.pem"), "-ign_eof")
    before = refusals(shared_fleet)
    shake_hands(program, str(shared_fleet.peer(1)["grpc"]), *options)
    wait_for(lambda: refusals(shared_fleet) != before)
    assert "self signed certificate" in refusals(shared_fleet).removeprefix(before)
