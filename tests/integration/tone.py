"""Which tone a recording holds, by the Goertzel algorithm over its last second."""

import math
import struct
from pathlib import Path

HEADER_BYTES = 44
"""The header tells no length until the phone has closed the file, so it is not read."""
RATE = 8000
LEAST = 500
"""Amplitude below which a recording counts as silence."""


def loudest_frequency(path: Path) -> int:
    """Return the strongest frequency of a growing 8 kHz mono WAV file in Hz, 0 for silence."""
    raw = path.read_bytes()[HEADER_BYTES:]
    samples = struct.unpack(f"<{len(raw) // 2}h", raw[: len(raw) // 2 * 2])
    last = samples[-RATE:]
    if len(last) < RATE or max(map(abs, last)) < LEAST:
        return 0
    return max(range(100, 2000, 10), key=lambda hz: _power(last, hz))


def _power(samples: tuple[int, ...], frequency: int) -> float:
    factor = 2 * math.cos(2 * math.pi * frequency / RATE)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + factor * last - before
    return last * last + before * before - factor * before * last
