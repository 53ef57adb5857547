"""What every test may use: programs that are not ours, and how Hypothesis draws.

Fixtures of one part belong beside the tests of that part.
"""

import os
import random

import pytest
from hypothesis import settings

from tests.programs import ProgramFinder

settings.register_profile("chordial", deadline=None, derandomize=True, database=None)
settings.load_profile("chordial")


def pytest_configure() -> None:
    """Draw the seed of the fresh simulations once, for all processes of this run."""
    os.environ.setdefault("CHORDIAL_SEED", str(random.SystemRandom().getrandbits(31)))


def pytest_report_header() -> str:
    return f"fresh simulations: CHORDIAL_SEED={os.environ['CHORDIAL_SEED']}"


@pytest.fixture(scope="session")
def require_program() -> ProgramFinder:
    """`require_program("sipp", "sip-tester")`: its path, else the test is skipped or fails."""
    return ProgramFinder(everything_required=os.environ.get("CHORDIAL_REQUIRE_ALL") == "1")
