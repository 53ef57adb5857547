"""Fleets that tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.rig import LocalFleet


@pytest.fixture(scope="session")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """A ring of five peers that nobody kills."""
    fleet = LocalFleet(tmp_path_factory.mktemp("fleet") / "state")
    try:
        fleet.up()
        yield fleet
    finally:
        fleet.down()


@pytest.fixture
def own_fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    """A ring of five peers to do anything with."""
    fleet = LocalFleet(tmp_path / "state")
    try:
        fleet.up()
        yield fleet
    finally:
        fleet.down()
