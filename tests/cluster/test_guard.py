"""A run of the tests never ends a cluster that others may use; no cluster is needed to see it."""

import json
import os
from pathlib import Path

from tests.cluster.conftest import why_not_to_touch
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.processes import started

GONE = (2**22 + 1, 1)
"""The id of a process that there cannot be."""


def cluster_of(folder: Path, **processes: tuple[int, int]) -> Cluster:
    (folder / "processes.json").write_text(json.dumps(processes))
    return Cluster(folder)


def living() -> tuple[int, int]:
    return os.getpid(), started(os.getpid()) or 0


def test_a_cluster_of_which_a_part_has_ended_is_left_alone(tmp_path: Path) -> None:
    refusal = why_not_to_touch(cluster_of(tmp_path, kubelet=living(), recycle=GONE))
    assert "but recycle ended" in refusal


def test_a_whole_cluster_is_used(tmp_path: Path) -> None:
    assert why_not_to_touch(cluster_of(tmp_path, kubelet=living(), recycle=living())) == ""


def test_what_a_crash_left_and_an_empty_folder_may_be_started_anew(tmp_path: Path) -> None:
    assert why_not_to_touch(Cluster(tmp_path)) == ""
    assert why_not_to_touch(cluster_of(tmp_path, kubelet=GONE, recycle=GONE)) == ""
