"""Proof 4's upgrade: the image of eight peers, then one that never gets ready, and back.

The new image is the same one under another name: what is shown is the operator's care, not a new
version. The broken one starts and does nothing.
"""

import time
from pathlib import Path

import pytest

from tests.cluster.harness import images
from tests.cluster.harness.kubectl import Json
from tests.cluster.harness.worker import PAUSE_IMAGE
from tests.cluster.installation import field
from tests.cluster.load.crowd import RELAYS, SEEDS, Crowd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

NEXT, BROKEN = "next", "broken"


def test_an_upgrade_loses_nothing_nor_does_a_broken_one(crowd: Crowd, tmp_path: Path) -> None:
    name = images.name_of("node").rpartition(":")[0]
    crowd.cluster.name_image(images.name_of("node"), f"{name}:{NEXT}")
    crowd.cluster.name_image(PAUSE_IMAGE, f"{name}:{BROKEN}")
    with crowd.load(tmp_path, "upgrade") as load:
        began = time.monotonic()
        _ask_for(crowd, NEXT)
        crowd.installation.until("all run the new image", lambda: _all_run(crowd, NEXT), 600)
        crowd.wait_ready()
        crowd.tell(f"upgrade of {SEEDS + RELAYS} peers: {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        _ask_for(crowd, BROKEN)
        crowd.installation.wait("--for=condition=UpgradeStalled", "overlay/voice")
        crowd.tell(f"a broken image: UpgradeStalled after {time.monotonic() - began:.1f} s")
        assert len(_pods_of(crowd, BROKEN)) == 1
        began = time.monotonic()
        _ask_for(crowd, NEXT)
        crowd.installation.until("all run what ran before", lambda: _all_run(crowd, NEXT), 120)
        crowd.wait_ready()
        crowd.tell(f"taken back: {time.monotonic() - began:.1f} s")
        report = load.end()
    assert report.failures == [], report.causes()
    assert load.lost == []
    assert report.protocol_errors == {}, report.examples


def _ask_for(crowd: Crowd, tag: str) -> None:
    crowd.installation.kubectl(
        "patch",
        "overlay/voice",
        "--type=merge",
        f'--patch={{"spec":{{"image":{{"tag":"{tag}"}}}}}}',
    )


def _pods_of(crowd: Crowd, tag: str) -> list[Json]:
    return [pod for pod in crowd.peers() if _tag_of(pod) == tag]


def _all_run(crowd: Crowd, tag: str) -> bool:
    return len(_pods_of(crowd, tag)) == SEEDS + RELAYS == len(crowd.peers())


def _tag_of(pod: Json) -> str:
    spec = pod["spec"]
    assert isinstance(spec, dict)
    return field(spec["containers"][0], "image").rpartition(":")[2]
