"""Authorities for tests: drawn from a seeded source, at one moment."""

import random
from collections.abc import Callable

from chordial_operator.enrollment.authority import AuthorityRecord, make_authority

NOW = 1_800_000_000.0
DAY = 86_400.0
OVERLAY = "phones.voice"


def seeded(seed: int = 1) -> Callable[[int], bytes]:
    """A source of bytes that says the same every time."""
    return random.Random(seed).randbytes


def made(seed: int = 1, now: float = NOW) -> AuthorityRecord:
    """A new overlay's authority."""
    return make_authority(
        OVERLAY, founders=4, lifetime_seconds=3650 * DAY, draw=seeded(seed), now=now
    )
