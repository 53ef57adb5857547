"""Proofs 3 and 7: the real HorizontalPodAutoscaler takes the relays 3, 8, 3 on their load.

The load is the calls that run. While it falls the leaving relays still have some, and the
autoscaler must not grow again because of them (fleet H12).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.harness.kubectl import Json
from tests.cluster.installation import field
from tests.cluster.load.crowd import CALLS_PER_SECOND, HOLD, RELAYS, Crowd
from tests.cluster.load.metrics_api import METRIC, metrics_api
from tests.cluster.phones.swarms import everybody

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

MOST = 8
TARGET = max(1, int(CALLS_PER_SECOND * HOLD / (MOST + 4)))
"""Calls a relay; the load asks for a third more relays than there may be."""
LITTLE = CALLS_PER_SECOND / 10
"""Calls a second when it is evening; one relay would do."""
STAYS_SECONDS = 20.0


def test_the_autoscaler_grows_with_the_load_and_shrinks_with_it(
    crowd: Crowd, tmp_path: Path
) -> None:
    with metrics_api(crowd, tmp_path), crowd.load(tmp_path, "autoscaler 3, 8, 3") as load:
        with _autoscaler(crowd):
            began = time.monotonic()
            crowd.settled(MOST)
            crowd.tell(f"autoscaler 3 to {MOST}: {time.monotonic() - began:.1f} s")
            began = time.monotonic()
            everybody(load.swarms, "rate", per_second=LITTLE / len(load.swarms))
            with _watched(crowd) as wanted:
                crowd.settled(RELAYS)
                crowd.tell(f"autoscaler {MOST} to 3: {time.monotonic() - began:.1f} s")
                time.sleep(STAYS_SECONDS)  # what must not happen has no event to wait for
            crowd.tell(f"replicas that were wanted meanwhile: {wanted}")
        report = load.end()
    assert wanted == sorted(wanted, reverse=True)
    assert wanted[-1] == RELAYS
    assert report.failures == [], report.causes()
    assert load.lost == []
    assert report.protocol_errors == {}, report.examples


@contextmanager
def _autoscaler(crowd: Crowd) -> Iterator[None]:
    body = _body()
    crowd.installation.apply(body)
    try:
        yield
    finally:
        crowd.installation.kubectl("delete", "hpa", "edge", "--ignore-not-found")


@contextmanager
def _watched(crowd: Crowd) -> Iterator[list[int]]:
    """The values that `spec.replicas` takes, each once in a row."""
    wanted: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.5):
            now = int(field(crowd.installation.json("get", "relayset", "edge"), "spec", "replicas"))
            if wanted[-1:] != [now]:
                wanted.append(now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield wanted
    finally:
        is_over.set()
        thread.join()


def _body() -> Json:
    at_once = {"stabilizationWindowSeconds": 0}
    policies = [{"type": "Pods", "value": MOST, "periodSeconds": 5}]
    metric = {
        "metric": {"name": METRIC},
        "target": {"type": "AverageValue", "averageValue": str(TARGET)},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "edge"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "chordial.dev/v1alpha1",
                "kind": "RelaySet",
                "name": "edge",
            },
            "minReplicas": RELAYS,
            "maxReplicas": MOST,
            "metrics": [{"type": "Pods", "pods": metric}],
            "behavior": {
                "scaleUp": {**at_once, "policies": policies},
                "scaleDown": {**at_once, "policies": policies},
            },
        },
    }
