"""The API tier: a real kube-apiserver and etcd on loopback, one for all tests of a process."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.harness.api_server import ApiServer
from tests.cluster.harness.parts import API_TIER, missing


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that tests share, each in a namespace of its own."""
    absent = missing(API_TIER)
    if absent:
        reason = f"{absent[0].name} is not built; build it with: make cluster-parts"
        if os.environ.get("CHORDIAL_REQUIRE_ALL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    server = ApiServer(tmp_path_factory.mktemp("api"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
