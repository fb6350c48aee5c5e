import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.errors import LimitRefused
from robot.health import GOOD
from robot.joint_sample import JointSample
from robot.joints import Calibration, FloatVector, JointCalibration
from robot.limits import (
    RAMP_AGREEMENT_DEG,
    RAMP_SPEED_DEG_S,
    RANGE_MARGIN_DEG,
    STALE_S,
    STEP_WINDOW_DEG,
    GoalLimiter,
    agrees,
    clamp_range,
    limit_speed,
    limit_step,
)
from robot.loop import Goal

CALIBRATION = Calibration(tuple(JointCalibration(i, 0, 0, 1024, 3071) for i in range(1, 7)))
LOW_DEG, HIGH_DEG = CALIBRATION.range_deg
RATE_HZ = 100.0
SPEED_DEG_S = 270.0


def sample(position_deg: FloatVector) -> JointSample:
    zero = np.zeros(6)
    return JointSample(zero, position_deg, zero, zero, zero, zero, zero, (0,) * 6)


def new_limiter() -> GoalLimiter:
    return GoalLimiter(CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=SPEED_DEG_S)


def boundary_values(limit: float) -> list[float]:
    return [limit - 1e-6, limit, limit + 1e-6, 0.0, -limit, 10 * limit, -10 * limit]


@pytest.mark.parametrize("value", boundary_values(90.0))
def test_range_is_never_left(value: float) -> None:
    assert np.all(
        np.abs(clamp_range(np.full(6, value), np.full(6, -90.0), np.full(6, 90.0))) <= 90.0
    )


@pytest.mark.parametrize("value", boundary_values(2.7))
def test_speed_is_never_exceeded(value: float) -> None:
    step = limit_speed(np.full(6, value), np.zeros(6), np.full(6, 2.7))

    assert np.all(np.abs(step) <= 2.7)
    assert np.allclose(step, np.clip(value, -2.7, 2.7))


@pytest.mark.parametrize("value", boundary_values(STEP_WINDOW_DEG))
def test_a_goal_stays_near_where_the_joint_is(value: float) -> None:
    goal = limit_step(np.full(6, value), np.zeros(6), STEP_WINDOW_DEG)

    assert np.all(np.abs(goal) <= STEP_WINDOW_DEG)


@pytest.mark.parametrize(
    ("gap", "expected"), [(2.999, True), (3.0, True), (3.001, False), (-3.001, False)]
)
def test_agreement_takes_every_joint(gap: float, expected: bool) -> None:
    goal = np.zeros(6)
    goal[4] = gap

    assert agrees(goal, np.zeros(6), RAMP_AGREEMENT_DEG) is expected


def test_the_first_tick_never_jumps() -> None:
    limiter = new_limiter()
    start = np.array([0.0, 10.0, 0.0, 0.0, 0.0, 50.0])

    sent = limiter.limit(Goal(np.full(6, 60.0), 0.0), sample(start), GOOD, 0.0)

    assert limiter.is_ramping
    assert np.all(np.abs(sent - start) <= RAMP_SPEED_DEG_S / RATE_HZ + 1e-9)


def test_the_ramp_ends_when_goal_and_follower_agree_and_full_speed_begins() -> None:
    limiter = new_limiter()
    position = np.zeros(6) + 10.0
    goal = Goal(np.full(6, 20.0), 0.0)
    for _ in range(int(10 / RAMP_SPEED_DEG_S * RATE_HZ) + 2):
        position = limiter.limit(goal, sample(position), GOOD, 0.0)

    assert not limiter.is_ramping
    assert limiter.limit(Goal(np.full(6, 40.0), 0.0), sample(position), GOOD, 0.0)[0] - position[0] > 2.0


def test_a_stale_goal_is_not_followed_and_arms_the_ramp_again() -> None:
    limiter = new_limiter()
    here = np.full(6, 10.0)
    limiter.limit(Goal(here, 0.0), sample(here), GOOD, 0.0)

    sent = limiter.limit(Goal(np.full(6, 50.0), 0.0), sample(here), GOOD, STALE_S + 0.001)

    assert np.allclose(sent, here)
    assert limiter.is_ramping


@pytest.mark.parametrize(
    "bad", [np.array([0.0, np.nan, 0, 0, 0, 0]), np.array([np.inf] * 6), np.zeros(5)]
)
def test_refuses_goals_that_are_not_six_finite_numbers(bad: FloatVector) -> None:
    with pytest.raises(LimitRefused, match="nothing was sent"):
        new_limiter().limit(Goal(bad, 0.0), sample(np.zeros(6)), GOOD, 0.0)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6), min_size=1, max_size=30),
    st.lists(st.floats(-80, 80), min_size=6, max_size=6),
)
def test_any_goals_stay_in_range_and_within_the_speed(
    goals: list[list[float]], start: list[float]
) -> None:
    limiter = new_limiter()
    position = np.array(start)
    last = position  # the gripper's may lie outside its range (0..100 %)
    for goal in goals:
        sent = limiter.limit(Goal(np.array(goal), 0.0), sample(position), GOOD, 0.0)
        assert np.all(sent >= np.minimum(LOW_DEG, last) - 1e-9)
        assert np.all(sent <= np.maximum(HIGH_DEG, last) + 1e-9)
        assert np.all(np.abs(sent - last) <= SPEED_DEG_S / RATE_HZ + 1e-6)
        last = position = sent


@pytest.mark.parametrize("outside_deg", [0.5, 2.9, 12.0])
def test_a_joint_outside_its_range_is_led_back_at_the_ramps_speed(outside_deg: float) -> None:
    limiter = new_limiter()
    high_deg = HIGH_DEG[1] - RANGE_MARGIN_DEG
    position: FloatVector = np.zeros(6)
    position[1] = high_deg + outside_deg
    steps: list[float] = []
    for tick in range(60):
        sent = limiter.limit(Goal(position.clip(-50, 50), tick / RATE_HZ), sample(position), GOOD, 0.0)
        steps.append(position[1] - sent[1])
        position = sent
        if position[1] <= high_deg:
            break

    assert np.all(np.array(steps) > 0)
    assert max(steps) <= RAMP_SPEED_DEG_S / RATE_HZ + 1e-9
    assert position[1] <= high_deg


def test_after_a_pause_the_ramp_starts_anew_from_where_the_follower_stands() -> None:
    limiter = new_limiter()
    limiter.limit(Goal(np.zeros(6), 0.0), sample(np.zeros(6)), GOOD, 0.0)
    was_ramping = limiter.is_ramping

    fallen = np.full(6, 30.0)
    now_s = STALE_S + 0.001
    sent = limiter.limit(Goal(np.zeros(6), now_s), sample(fallen), GOOD, now_s)

    assert [was_ramping, limiter.is_ramping] == [False, True]
    assert np.all(fallen - sent <= RAMP_SPEED_DEG_S / RATE_HZ + 1e-9)


def test_rearming_ramps_from_where_the_follower_stands() -> None:
    limiter = new_limiter()
    limiter.limit(Goal(np.zeros(6), 0.0), sample(np.zeros(6)), GOOD, 0.0)

    limiter.rearm()
    sent = limiter.limit(Goal(np.zeros(6), 0.0), sample(np.full(6, 30.0)), GOOD, 0.0)

    assert limiter.is_ramping
    assert np.all(sent > 29.0)
