"""The rig of the API tier itself: it serves, issues tokens, and collects garbage when asked to."""

import json
from pathlib import Path

import pytest

from tests.cluster.harness.api_server import ISSUER, ApiServer, token_of


def test_serves_the_version_that_it_says(api_server: ApiServer) -> None:
    version = json.loads(api_server.kubectl("get", "--raw=/version"))
    assert version["gitVersion"] == "v1.34.4"


def test_tells_whose_token_it_is(api_server: ApiServer) -> None:
    api_server.kubectl("create", "namespace", "tokens")
    api_server.kubectl("create", "serviceaccount", "peer", "--namespace=tokens")
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token_of(api_server, "peer", "tokens"), "audiences": [ISSUER]},
    }
    said = api_server.kubectl("create", "-o", "json", "-f", "-", text=json.dumps(review))
    assert json.loads(said)["status"]["user"]["username"] == "system:serviceaccount:tokens:peer"


@pytest.mark.usefixtures("api_server")  # the parts are there, or this test is left out with it
def test_controllers_delete_a_namespace(tmp_path: Path) -> None:
    """On a server of its own: where controllers run, StatefulSets have pods."""
    own = ApiServer(tmp_path)
    try:
        own.start()
        own.start_controllers()
        own.kubectl("create", "namespace", "passing")
        own.kubectl("delete", "namespace", "passing", "--timeout=60s", timeout=70)
    finally:
        own.stop()
