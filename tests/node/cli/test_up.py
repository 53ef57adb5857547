"""How long a peer that ends by itself is left alone."""

from chordial_node.cli.up import (
    HEALTHY_SECONDS,
    LONGEST_RESTART_SECONDS,
    RESTART_SECONDS,
    next_pause,
)


def test_a_peer_that_ends_again_and_again_waits_longer_each_time() -> None:
    pause, started = 0.0, 0.0
    seen = []
    for _ in range(8):
        pause = next_pause(pause, started, started + 1.0)
        started += 1.0 + pause
        seen.append(pause)
    assert seen[:3] == [RESTART_SECONDS, 2 * RESTART_SECONDS, 4 * RESTART_SECONDS]
    assert seen[-1] == LONGEST_RESTART_SECONDS


def test_who_had_served_well_is_started_as_if_for_the_first_time() -> None:
    assert next_pause(16.0, 100.0, 100.0 + HEALTHY_SECONDS + 1.0) == RESTART_SECONDS
