"""Which tone a recording holds, by the Goertzel algorithm over its last second."""

import math
import struct
import wave
from pathlib import Path

LEAST = 500
"""Amplitude below which a recording counts as silence."""


def loudest_frequency(path: Path) -> int:
    """Return the strongest frequency of a WAV file in Hz to the next ten, 0 for silence."""
    try:
        with wave.open(str(path)) as file:
            rate, channels = file.getframerate(), file.getnchannels()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError):
        return 0
    samples = struct.unpack(f"<{len(raw) // 2}h", raw[: len(raw) // 2 * 2])[::channels]
    last = samples[-rate:]
    if len(last) < rate or max(map(abs, last)) < LEAST:
        return 0
    return max(range(100, 2000, 10), key=lambda hz: _power(last, hz, rate))


def _power(samples: tuple[int, ...], frequency: int, rate: int) -> float:
    factor = 2 * math.cos(2 * math.pi * frequency / rate)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + factor * last - before
    return last * last + before * before - factor * before * last
