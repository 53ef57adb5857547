"""A capture on loopback shows what went there, and says when it proves nothing."""

import os
import socket
from pathlib import Path

import pytest

from tests.cluster.phones.capture import TCP, CaptureError, Segment, capturing, texts
from tests.programs import ProgramFinder

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(os.geteuid() != 0, reason="capturing packets needs root"),
]


def test_bytes_that_went_by_are_found_also_across_two_segments(
    require_program: ProgramFinder, tmp_path: Path
) -> None:
    require_program("tcpdump", "tcpdump")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            capturing(tmp_path / "lo.pcap", f"port {port}", interface="lo") as capture,
            socket.create_connection(("127.0.0.1", port)) as ours,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            theirs, _ = server.accept()
            with theirs:
                for half in (b"hello pass", b"word"):
                    ours.sendall(half)
                    assert theirs.recv(100) == half
            datagrams.sendto(b"over udp", ("127.0.0.1", port))
        assert capture.contains(b"hello password")
        assert capture.contains(b"over udp")
        assert not capture.contains(b"secret")
        capture.require_absent(b"secret", control=b"password")
        with pytest.raises(CaptureError, match="shows b'password'"):
            capture.require_absent(b"password", control=b"over udp")
        with pytest.raises(CaptureError, match="proves nothing"):
            capture.require_absent(b"secret", control=b"never sent")


def test_a_filter_that_is_none_is_told(require_program: ProgramFinder, tmp_path: Path) -> None:
    require_program("tcpdump", "tcpdump")
    with (
        pytest.raises(CaptureError, match="syntax error"),
        capturing(tmp_path / "lo.pcap", "no such filter ("),
    ):
        pass


def test_a_stream_is_put_together_from_parts_that_came_twice_and_in_disorder() -> None:
    def part(number: int, payload: bytes) -> Segment:
        return Segment(TCP, ("a", 1), ("b", 2), number, payload)

    parts = [part(13, b"word"), part(9, b"pass"), part(9, b"passwo"), part(30, b"more")]
    assert texts(parts) == [b"password\nmore"]
