"""Proof 3 by hand: relays go from three to five and back while phones register and call.

New relays get no phones before a flow is opened anew, and who has none would leave first: the two
that leave are asked for by name, so that it is phones with flows and calls that have to move.
"""

from pathlib import Path

import pytest

from tests.cluster.load.crowd import Crowd, names_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_scaling_loses_no_call_and_no_registration(crowd: Crowd, tmp_path: Path) -> None:
    with crowd.load(tmp_path, "scale 3, 5, 3") as load:
        out = crowd.scale(5)
        crowd.remove_first("edge-0", "edge-1")
        back = crowd.scale(3)
        crowd.tell(f"kubectl scale 3 to 5: {out:.1f} s; 5 to 3: {back:.1f} s")
        left = {name.rpartition("-")[0] for name in names_of(crowd.relays())}
        report = load.end()
    assert left == {"edge-2", "edge-3", "edge-4"}
    assert report.failures == [], report.causes()
    assert load.lost == []
    assert report.protocol_errors == {}, report.examples
