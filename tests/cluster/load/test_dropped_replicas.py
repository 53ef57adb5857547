"""Proof 7: dropping `replicas` from a manifest takes nobody before somebody can notice (fleet H13).

The field falls to its default then. Who is about to leave stands in an Event at once, and leaves
only after `scaleIn.stabilization`, which is a minute where nothing is said.
"""

import time
from collections.abc import Iterator

import pytest

from tests.cluster.installation import field, relay_set
from tests.cluster.load.crowd import Crowd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

NAME, REPLICAS, DEFAULT = "spare", 4, 2
NOTICED_SECONDS = 20.0
SELECTOR = f"chordial.dev/set={NAME}"


@pytest.fixture
def spare(crowd: Crowd) -> Iterator[Crowd]:
    """A second RelaySet that keeps its default patience, and no volumes."""
    crowd.installation.apply(_manifest(REPLICAS))
    try:
        crowd.installation.wait_ready(f"relayset/{NAME}")
        yield crowd
    finally:
        crowd.installation.kubectl("delete", f"relayset/{NAME}", "--wait=false")


def test_a_manifest_without_replicas_takes_nobody_before_it_is_noticed(spare: Crowd) -> None:
    before = _peers(spare)
    assert len(before) == REPLICAS
    began = time.monotonic()
    spare.installation.apply(_manifest(None))
    wanted = field(spare.installation.json("get", "relayset", NAME), "spec", "replicas")
    assert wanted == str(DEFAULT)
    spare.installation.until("an Event says so", lambda: spare.events("ScaleInPlanned"), 10)
    spare.tell(
        f"replicas dropped: noticed after {time.monotonic() - began:.1f} s: "
        f"{spare.events('ScaleInPlanned')[-1]}"
    )
    while time.monotonic() < began + NOTICED_SECONDS:
        assert _peers(spare) == before
        time.sleep(1.0)  # what must not happen has no event to wait for
    spare.installation.apply(_manifest(REPLICAS))
    spare.installation.wait_ready(f"relayset/{NAME}")
    assert _peers(spare) == before


def _manifest(replicas: int | None) -> dict[str, object]:
    made = relay_set(
        NAME, REPLICAS, storage={"type": "EmptyDir"}, registration={"maxExpires": "20s"},
        drain={"timeout": "10s"},
    )  # fmt: skip
    spec = made["spec"]
    assert isinstance(spec, dict)
    if replicas is None:
        del spec["replicas"]
    return made


def _peers(crowd: Crowd) -> dict[str, str]:
    """The pods that stay, by name."""
    return {
        field(pod, "metadata", "name"): field(pod, "metadata", "uid")
        for pod in crowd.installation.pods(SELECTOR)
        if not field(pod, "metadata", "deletionTimestamp")
    }
