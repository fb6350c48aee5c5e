"""The task's distribution is the one the acceptance test is about."""

import numpy as np

from sim.tasks.pick_red import (
    RED_CLEARANCE_M,
    RED_X_M,
    RED_Y_M,
    REST_RAD,
    REST_SPREAD_RAD,
    sample_start,
)


def test_red_block_is_drawn_from_the_whole_distribution_and_no_more() -> None:
    rng = np.random.default_rng(0)
    starts = [sample_start(rng) for _ in range(500)]
    x, y, yaw = np.array([[s.red.x_m, s.red.y_m, s.red.yaw_rad] for s in starts]).T

    assert (RED_X_M, RED_Y_M) == ((0.262, 0.295), (-0.06, 0.06))
    for values, low, high in ((x, *RED_X_M), (y, *RED_Y_M), (np.rad2deg(yaw), -15.0, 15.0)):
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high


def test_other_blocks_keep_clear_of_the_red_one_each_other_and_the_folded_arm() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        start = sample_start(rng)
        assert [other.colour for other in start.others] == ["blue", "green"]
        places = np.array([[b.x_m, b.y_m] for b in (start.red, *start.others)])
        assert np.linalg.norm(places[1:] - places[0], axis=1).min() >= RED_CLEARANCE_M
        assert np.linalg.norm(places[1] - places[2]) >= 0.05
        assert not any(x < 0.235 and abs(y) < 0.055 for x, y in places[1:])


def test_arms_start_folded_with_a_small_spread() -> None:
    rng = np.random.default_rng(2)
    poses = np.array([sample_start(rng).arm_rad for _ in range(200)])

    assert np.all(np.abs(poses - REST_RAD) <= REST_SPREAD_RAD)
    assert np.all(poses.std(axis=0) > 0.4 * REST_SPREAD_RAD)


def test_equal_generators_draw_equal_starts() -> None:
    assert sample_start(np.random.default_rng(7)) == sample_start(np.random.default_rng(7))
    assert sample_start(np.random.default_rng(7)) != sample_start(np.random.default_rng(8))
