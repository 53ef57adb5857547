"""What goes over a network, written down and searched: tcpdump in a namespace, bytes in its file.

"These bytes are nowhere" proves nothing by itself: the capture may have seen nothing at all, have
lost packets, or a TCP segment may end in the middle of the word. So TCP is put together again,
lost packets are an error, and whoever asks for absence must name bytes that are there.
"""

import os
import selectors
import signal
import struct
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.cluster.harness import network
from tests.cluster.harness.parts import installed

ETHERNET, COOKED, COOKED_2 = 1, 113, 276
LINK_HEADERS = {ETHERNET: (14, 12), COOKED: (16, 14), COOKED_2: (20, 0)}
"""Of each kind of link: length of its header, and where the protocol stands in it."""
IP4 = 0x0800
TCP, UDP = 6, 17
START_SECONDS = 10.0
SETTLE_SECONDS = 3.0
SNAP_BYTES = 65_535
WORD = "the capture"


class CaptureError(Exception):
    """A capture did not start, lost packets, or shows nothing that it should."""


class Segment(msgspec.Struct, frozen=True):
    """What one packet carries."""

    protocol: int
    source: tuple[str, int]
    destination: tuple[str, int]
    number: int
    """The sequence number of TCP."""
    payload: bytes


class Capture:
    """A capture that runs or has ended."""

    def __init__(self, path: Path, process: "subprocess.Popen[bytes]") -> None:
        self.path = path
        self._process = process
        self._said = b""

    def wait_listening(self) -> None:
        """Return when tcpdump sees packets."""
        assert self._process.stderr is not None
        limit = time.monotonic() + START_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stderr, selectors.EVENT_READ)
            while b"listening on" not in self._said:
                left = limit - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise CaptureError(f"{WORD} did not start: {self._said.decode()}")
                more = os.read(self._process.stderr.fileno(), 4096)
                if not more:
                    raise CaptureError(f"{WORD} ended: {self._said.decode()}")
                self._said += more

    def stop(self) -> None:
        """End the capture; CaptureError when it lost packets."""
        if self._process.returncode is not None:
            return
        if self._process.poll() is None:
            self._settle()
            self._process.send_signal(signal.SIGINT)
        try:
            self._said += self._process.communicate(timeout=10)[1]
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._said += self._process.communicate()[1]
        lost = [line for line in self._said.decode().splitlines() if "dropped by" in line]
        if any(not line.startswith("0 ") for line in lost):
            raise CaptureError(f"{WORD} is not whole: {', '.join(lost)}")

    def _settle(self) -> None:
        """Let tcpdump write what it has seen: what it has not read when it ends is lost."""
        limit = time.monotonic() + SETTLE_SECONDS
        before = -1
        while time.monotonic() < limit and before != (now := _size(self.path)):
            before = now
            time.sleep(0.1)

    def segments(self) -> list[Segment]:
        """What the packets carry, in the order in which they were seen."""
        return list(read_segments(self.path))

    def contains(self, wanted: bytes) -> bool:
        """Whether bytes went over this network, in a datagram or within one TCP stream."""
        return any(wanted in each for each in texts(self.segments()))

    def require_absent(self, forbidden: bytes, *, control: bytes) -> None:
        """CaptureError if bytes are there, or if the control, which must be, is not."""
        everything = texts(self.segments())
        if not any(control in each for each in everything):
            raise CaptureError(f"{WORD} proves nothing: {control!r} is not in it either")
        for text in everything:
            place = text.find(forbidden)
            if place >= 0:
                around = text[max(place - 200, 0) : place + 200]
                raise CaptureError(f"{WORD} shows {forbidden!r}: …{around!r}…")


@contextmanager
def capturing(
    path: Path, packets: str = "", *, namespace: str = "", interface: str = "any"
) -> Iterator[Capture]:
    """Write the packets that match a filter of tcpdump to a file, from a namespace's network."""
    inside = network.inside_of(namespace) if namespace else []
    process = subprocess.Popen(
        [
            *inside, installed("tcpdump"), "-n", "-U", "--immediate-mode", "-B", "16384",
            "-s", str(SNAP_BYTES), "-Z", "root", "-i", interface, "-w", str(path), *packets.split(),
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    capture = Capture(path, process)
    try:
        capture.wait_listening()
        yield capture
    finally:
        capture.stop()


def texts(segments: list[Segment]) -> list[bytes]:
    """The datagrams, and each direction of each TCP connection put together."""
    streams: dict[tuple[tuple[str, int], tuple[str, int]], dict[int, bytes]] = defaultdict(dict)
    found: list[bytes] = []
    for each in segments:
        if each.protocol == UDP:
            found.append(each.payload)
        elif each.payload:
            parts = streams[each.source, each.destination]
            if len(each.payload) > len(parts.get(each.number, b"")):
                parts[each.number] = each.payload
    return found + [_joined(parts) for parts in streams.values()]


def read_segments(path: Path) -> Iterator[Segment]:
    """Read a pcap file; packets other than TCP and UDP over IPv4 are left out."""
    data = path.read_bytes()
    if len(data) < 24 or data[:4] != b"\xd4\xc3\xb2\xa1":
        raise CaptureError(f"{path} is no pcap file of this machine")
    (link,) = struct.unpack_from("<I", data, 20)
    place = 24
    while place + 16 <= len(data):
        (length,) = struct.unpack_from("<I", data, place + 8)
        segment = _segment(data[place + 16 : place + 16 + length], link)
        if segment is not None:
            yield segment
        place += 16 + length


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _segment(frame: bytes, link: int) -> Segment | None:
    header, kind = LINK_HEADERS[link]
    if len(frame) < header + 20 or struct.unpack_from("!H", frame, kind)[0] != IP4:
        return None
    packet = frame[header:]
    start = (packet[0] & 15) * 4
    (total,) = struct.unpack_from("!H", packet, 2)
    packet = packet[: total or len(packet)]  # 0: the card was to divide it
    protocol = packet[9]
    source, destination = (".".join(map(str, packet[at : at + 4])) for at in (12, 16))
    if protocol not in (TCP, UDP) or len(packet) < start + 8:
        return None
    ports = struct.unpack_from("!HH", packet, start)
    number = struct.unpack_from("!I", packet, start + 4)[0] if protocol == TCP else 0
    skipped = start + (8 if protocol == UDP else (packet[start + 12] >> 4) * 4)
    return Segment(protocol, (source, ports[0]), (destination, ports[1]), number, packet[skipped:])


def _joined(parts: dict[int, bytes]) -> bytes:
    """A stream from its parts, by number; what came twice once, a gap as a line of its own."""
    text = b""
    expected = -1
    for number in sorted(parts):
        part = parts[number]
        if expected < 0 or number > expected:
            text += part if expected < 0 else b"\n" + part
        elif number + len(part) > expected:
            text += part[expected - number :]
        expected = max(expected, number + len(part))
    return text
