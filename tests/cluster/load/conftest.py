"""One fleet under load for all tests of this folder; who pulls a cable comes after everybody."""

from collections.abc import Callable, Iterator

import pytest

from tests.cluster.harness.cluster import Cluster
from tests.cluster.load.crowd import Crowd

LAST = "test_cable"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a node be cut off only when all other tests of the cluster are through."""
    items.sort(key=lambda item: item.path.stem == LAST)


@pytest.fixture(scope="session")
def crowd(cluster: Cluster, tell: Callable[[str], None]) -> Iterator[Crowd]:
    """Five seeds and three relays of short times, and the phones' users."""
    made = Crowd(cluster, tell)
    try:
        made.start()
        yield made
    finally:
        made.remove()
