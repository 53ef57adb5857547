"""Who is no peer is refused at the peers' doors, seen with OpenSSL as the outsider."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.rig import LocalFleet
from tests.programs import ProgramFinder

pytestmark = [pytest.mark.foreign, pytest.mark.slow]


def shake_hands(program: Path, address: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Try a TLS handshake and say something."""
    return subprocess.run(
        [str(program), "s_client", "-connect", address, "-tls1_3", "-alpn", "h2", *options],
        capture_output=True, text=True, timeout=20, input="x\n", check=False,
    )  # fmt: skip


def test_without_a_certificate_no_link_and_no_peer_hop(
    shared_fleet: LocalFleet, require_program: ProgramFinder
) -> None:
    program = require_program("openssl", "openssl")
    places = shared_fleet.peer(1)
    sip = places["sip"]
    assert isinstance(sip, dict)
    for address in (str(places["grpc"]), str(sip["peer"])):
        done = shake_hands(program, address, "-ign_eof")
        assert "certificate required" in done.stderr.lower(), done.stderr


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
    done = shake_hands(program, str(shared_fleet.peer(1)["grpc"]), *options)
    assert "alert" in done.stderr.lower(), done.stderr
