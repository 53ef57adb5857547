"""Throughput, percentiles, CPU per operation, and how two measurements compare."""

import os

import pytest

from chordial_node.cli.bench.figures import (
    Figures,
    Ratio,
    Round,
    cpu_seconds,
    figures,
    percentile,
    ratio_of,
)


def measured(ops: int, seconds: float, cpu: float) -> Figures:
    return figures("lookup", "x", 16, 32, [Round([0.001] * ops, ops, 0, seconds, cpu)])


@pytest.mark.parametrize(
    ("part", "expected"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)]
)
def test_a_percentile_is_a_value_that_was_measured(part: float, expected: float) -> None:
    assert percentile([float(each) for each in range(1, 101)], part) == expected


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 0.99) == 0.0


def test_rounds_are_taken_together() -> None:
    rounds = [Round([0.002, 0.001], 2, 0, 1.0, 0.001), Round([0.004], 1, 1, 0.5, 0.002)]
    assert figures("store", "chordial", 5, 2, rounds) == Figures(
        what="store",
        system="chordial",
        peers=5,
        in_flight=2,
        ops=3,
        failed=1,
        seconds=1.5,
        ops_per_second=2.0,
        p50_ms=2.0,
        p99_ms=4.0,
        cpu_us_per_op=1000.0,
    )


def test_the_ratio_is_ours_divided_by_the_others() -> None:
    assert ratio_of(measured(100, 1.0, 0.01), measured(50, 1.0, 0.02)) == Ratio(2.0, 0.25)


def test_who_did_nothing_is_compared_with_nobody() -> None:
    assert ratio_of(measured(100, 1.0, 0.01), measured(0, 1.0, 0.0)) == Ratio(0.0, 0.0)


def test_cpu_time_grows_with_work_and_a_process_that_is_gone_has_none() -> None:
    before = cpu_seconds([os.getpid()])
    assert sum(range(300_000)) > 0
    assert cpu_seconds([os.getpid()]) > before
    assert cpu_seconds([2**22 + 1]) == 0.0
