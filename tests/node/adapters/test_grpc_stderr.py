"""Lines that native code writes to descriptor 2 become refusals and log lines."""

import os
import subprocess
import sys

REFUSED = (
    "I1124 16:01:06.372466   11458 ssl_transport_security.cc:2563] Handshake failed with error "
    "SSL_ERROR_SSL: error:100000c0:SSL routines:OPENSSL_internal:"
    "PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid certificate verification context"
)
EXPIRED = (
    "I1124 16:01:06.879028   11458 ssl_transport_security.cc:2563] Handshake failed with error "
    "SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
    "CERTIFICATE_VERIFY_FAILED: certificate has expired"
)
PROGRAM = """
import asyncio, os, sys
from chordial_node.adapters.grpc_stderr import GrpcStderr

async def main():
    told = []
    taken = GrpcStderr(lambda kind, why, _: told.append((kind, why)), lambda *l: told.append(l))
    for line in sys.argv[1:]:
        os.write(2, line.encode() + b"\\n")
    print("python's own", file=sys.stderr)
    await asyncio.sleep(0)
    taken.close()
    os.write(2, b"as before\\n")
    print(told)

asyncio.run(main())
"""


def test_refused_handshakes_and_other_lines_are_told_apart() -> None:
    lines = [REFUSED, EXPIRED, "E1124 16:01:06.0 1 x.cc:5] something else", "no prefix"]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *lines],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.stdout.strip() == str(
        [
            ("handshake", "no certificate was shown"),
            ("handshake", "the certificate does not count: certificate has expired"),
            ("error", "something else"),
            ("warning", "no prefix"),
        ]
    )
    assert ended.stderr.splitlines() == ["python's own", "as before"]
