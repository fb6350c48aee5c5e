"""Hands reach what they promise, through the arm's own dynamics."""

import numpy as np
import pytest

from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD
from sim.hands import MIDDLE_RAD, TO_MIDDLE_S, RecordedHand, SweepHand, row_at, smooth_step
from sim.tasks.pick_red import REST_RAD
from sim.world import LeaderArm

LIMP = np.zeros(6)


def test_a_sweep_presses_every_joint_against_both_stops_and_ends_in_the_middle() -> None:
    arm, hand = LeaderArm(), SweepHand()
    arm.reset(REST_RAD)
    lowest, highest = arm.position_rad.copy(), arm.position_rad.copy()
    now_s, at_middle = 0.0, False
    while not hand.done:
        target_rad = hand.target_rad(now_s, arm.position_rad, arm.position_rad)
        for _ in range(10):
            arm.step(LIMP, target_rad)
        now_s += 0.01
        np.minimum(lowest, arm.position_rad, out=lowest)
        np.maximum(highest, arm.position_rad, out=highest)
        if now_s == pytest.approx(1.9 * TO_MIDDLE_S):
            at_middle = bool(np.rad2deg(np.abs(arm.position_rad - MIDDLE_RAD)).max() < 2.0)
    for _ in range(300):
        arm.step(LIMP, hand.target_rad(now_s, arm.position_rad, arm.position_rad))

    assert at_middle
    assert np.rad2deg(lowest - RANGE_MIN_RAD) == pytest.approx(np.zeros(6), abs=1.5)
    assert np.rad2deg(highest - RANGE_MAX_RAD) == pytest.approx(np.zeros(6), abs=1.5)
    assert np.rad2deg(arm.position_rad - MIDDLE_RAD) == pytest.approx(np.zeros(6), abs=2.0)
    assert now_s < 60.0


def test_a_recorded_motion_is_replayed_from_the_first_call_and_holds_its_end() -> None:
    times_s = np.array([100.0, 100.5, 101.0])
    rows = np.array([np.zeros(6), np.full(6, 0.5), np.full(6, 0.2)])
    hand = RecordedHand(times_s, rows)

    seen = [hand.target_rad(7.0 + t, LIMP, LIMP)[0] for t in (0.0, 0.25, 0.5, 0.75)]
    assert seen == pytest.approx([0.0, 0.25, 0.5, 0.35])
    assert not hand.done
    assert hand.target_rad(9.0, LIMP, LIMP) == pytest.approx(np.full(6, 0.2))
    assert hand.done


def test_rows_outside_their_times_are_the_first_and_the_last() -> None:
    times_s, rows = np.array([1.0, 2.0]), np.array([np.zeros(6), np.ones(6)])

    assert row_at(times_s, rows, 0.0)[0] == 0.0
    assert row_at(times_s, rows, 1.25)[0] == 0.25
    assert row_at(times_s, rows, 2.0)[0] == 1.0
    assert row_at(times_s, rows, 3.0)[0] == 1.0


def test_a_smooth_step_starts_and_ends_at_rest() -> None:
    assert [smooth_step(s) for s in (-1.0, 0.0, 0.5, 1.0, 2.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert smooth_step(0.01) < 1e-4
