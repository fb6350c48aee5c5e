"""Each limit at its boundaries: dense there, sparse elsewhere, the expected value beside it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.limit_rules import (
    MAX_ACCELERATION_DEG_S2,
    RAMP_AGREEMENT_DEG,
    REJECT_DEG,
    STEP_WINDOW_DEG,
    agrees,
    braking_step,
    clamp,
    is_jump,
    keep_near,
    limit_acceleration,
    limit_speed,
    reject_band_deg,
)

CHANGE_DEG = MAX_ACCELERATION_DEG_S2 / 100.0**2  # of the step, at 100 Hz
EPSILON = 1e-9
DEGREES = st.floats(-1e3, 1e3)
STEPS = st.floats(-10.0, 10.0)


def around(limit: float) -> list[float]:
    """Values dense at both ends of a symmetric limit."""
    near = [limit - 1e-6, limit, limit + 1e-6]
    return [*near, *(-value for value in near), 0.0, 10.0 * limit, -10.0 * limit]


@pytest.mark.parametrize("value", around(90.0))
def test_a_range_is_never_left(value: float) -> None:
    assert clamp(value, -90.0, 90.0) == max(-90.0, min(90.0, value))


@pytest.mark.parametrize(
    ("value", "expected"), [(4.9, 5.0), (5.0, 5.0), (5.1, 5.1), (7.0, 7.0), (7.1, 7.0), (-9.0, 5.0)]
)
def test_a_range_need_not_hold_zero(value: float, expected: float) -> None:
    assert clamp(value, 5.0, 7.0) == expected


@pytest.mark.parametrize("value", around(STEP_WINDOW_DEG))
def test_a_goal_stays_near_where_the_joint_is(value: float) -> None:
    expected = max(-STEP_WINDOW_DEG, min(STEP_WINDOW_DEG, value))

    assert keep_near(value, 0.0, STEP_WINDOW_DEG) == expected
    assert keep_near(value + 30.0, 30.0, STEP_WINDOW_DEG) == pytest.approx(expected + 30.0)


@pytest.mark.parametrize("value", around(2.7))
def test_a_step_is_never_longer_than_the_speed_allows(value: float) -> None:
    assert limit_speed(value, 2.7) == max(-2.7, min(2.7, value))


@pytest.mark.parametrize("joint", range(5))
@pytest.mark.parametrize(
    ("by_deg", "expected"),
    [(19.999, False), (20.0, False), (20.001, True), (-20.0, False), (-20.001, True), (0.0, False)],
)
def test_one_joint_of_the_arm_makes_a_jump(joint: int, by_deg: float, expected: bool) -> None:
    asked = [10.0] * 6
    asked[joint] += by_deg

    assert is_jump(asked, [10.0] * 6, REJECT_DEG) is expected


def test_a_gripper_that_closes_in_one_step_is_no_jump() -> None:
    assert not is_jump([0.0] * 5 + [100.0], [0.0] * 6, REJECT_DEG)


@pytest.mark.parametrize(
    ("rate_hz", "band_deg"),
    [(200.0, 20.0), (100.0, 20.0), (30.0, 20.0), (20.0, 30.0), (1.0, 600.0)],
)
def test_the_reject_band_widens_where_periods_are_long(rate_hz: float, band_deg: float) -> None:
    assert reject_band_deg(rate_hz) == band_deg


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize(
    ("gap", "expected"), [(2.999, True), (3.0, True), (3.001, False), (-3.0, True), (-3.001, False)]
)
def test_agreement_takes_every_joint(joint: int, gap: float, expected: bool) -> None:
    goal = [0.0] * 6
    goal[joint] = gap

    assert agrees(goal, [0.0] * 6, RAMP_AGREEMENT_DEG) is expected


def test_agreement_is_with_the_last_goal_wherever_that_is() -> None:
    assert agrees([40.0] * 6, [38.0] * 6, RAMP_AGREEMENT_DEG)
    assert not agrees([40.0] * 6, [-38.0] * 6, RAMP_AGREEMENT_DEG)
    assert not agrees([1.0] * 6, [-2.5] * 6, RAMP_AGREEMENT_DEG)


def test_goals_of_unequal_length_are_a_defect_and_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        agrees([0.0] * 6, [0.0] * 5, RAMP_AGREEMENT_DEG)
    with pytest.raises(ValueError, match="zip"):
        is_jump([0.0] * 6, [0.0] * 4, REJECT_DEG)


@pytest.mark.parametrize(
    ("way", "expected"),
    # Steps shrink by 1: a way of 1 is done in one step, one of 3 in 2 + 1, one of 6 in 3 + 2 + 1.
    [
        (0.0, 0.0),
        (0.5, 0.5),
        (0.9, 0.9),
        (2.9, 1.95),
        (1.0, 1.0),
        (2.0, 1.5),
        (3.0, 2.0),
        (4.5, 2.5),
        (6.0, 3.0),
        (-6.0, -3.0),
    ],
)
def test_braking_steps_end_just_at_the_way(way: float, expected: float) -> None:
    assert braking_step(way, 1.0) == pytest.approx(expected)


@given(st.floats(0.0, 400.0), st.floats(1e-3, 5.0))
def test_braking_steps_shrink_by_the_change_and_arrive(way: float, change: float) -> None:
    step = braking_step(way, change)
    left = way
    for _ in range(10_000):
        left -= step
        following = braking_step(left, change) if left > EPSILON else 0.0
        assert following <= step + EPSILON
        assert following >= step - change - 1e-6
        step = following
        if step == 0.0:
            break

    assert left == pytest.approx(0.0, abs=1e-6)


@given(DEGREES, STEPS, STEPS)
def test_a_step_neither_speeds_up_beyond_the_change_nor_passes_the_goal(
    way: float, lead: float, last_step: float
) -> None:
    step = limit_acceleration(way, lead, last_step, CHANGE_DEG)

    assert min(0.0, last_step) - CHANGE_DEG - EPSILON <= step
    assert step <= max(0.0, last_step) + CHANGE_DEG + EPSILON
    assert min(0.0, way) <= step <= max(0.0, way)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("way", "lead", "last_step", "expected"),
    [
        (10.0, 0.0, 0.0, 1.0),  # speeds up by the change
        (10.0, 0.0, 1.5, 2.5),
        (1.0, 0.0, 0.0, 1.0),  # just within it
        (0.4, 0.0, 0.0, 0.4),
        (6.0, 0.0, 4.0, 3.0),  # brakes: 3 + 2 + 1
        (3.0, 0.0, 3.0, 2.0),
        (0.0, 0.0, 5.0, 0.0),  # the goal stopped: so does the joint
        (1.0, 0.0, 5.0, 1.0),
        (-2.0, 0.0, 5.0, 0.0),  # turned round: stops first
        (-2.0, 0.0, 0.0, -1.0),
        (2.0, 2.0, 2.0, 2.0),  # keeps up with a goal that moves
        (2.5, 2.5, 2.0, 2.5),
        (4.0, 2.0, 2.0, 3.0),  # catches up: 2 of the lead and 1 of braking_step(2)=1.5, cut at 3
        (2.25, 2.0, 2.25, 2.25),
        (4.0, 1.0, 2.5, 3.0),  # brakes for the 3 that are left beside the lead
    ],
)
def test_steps_by_hand(
    sign: float, way: float, lead: float, last_step: float, expected: float
) -> None:
    step = limit_acceleration(sign * way, sign * lead, sign * last_step, 1.0)

    assert step == pytest.approx(sign * expected)


@given(st.floats(0.1, 300.0), st.floats(1.0, 300.0))
def test_a_goal_that_moves_evenly_is_followed_without_lag(speed_deg_s: float, start: float) -> None:
    """From standing: behind while it speeds up, then level with the goal, and not before it."""
    goal, sent, step = start, start, 0.0
    gaps: list[float] = []
    for _ in range(400):
        lead = speed_deg_s / 100.0
        goal += lead
        step = limit_acceleration(goal - sent, lead, step, CHANGE_DEG)
        sent += step
        gaps.append(goal - sent)

    assert min(gaps) >= -EPSILON
    assert gaps[-1] == pytest.approx(0.0, abs=1e-6)


def test_a_hand_is_followed_without_lag() -> None:
    """A movement of 60° and back at 1 Hz asks for 1184°/s² at most: nothing of it is lost."""
    sent, step, before = 0.0, 0.0, 0.0
    gaps: list[float] = []
    for tick in range(1, 300):
        goal = 30.0 * (1.0 - math.cos(2.0 * math.pi * tick / 100.0))
        step = limit_acceleration(goal - sent, goal - before, step, CHANGE_DEG)
        sent, before = sent + step, goal
        gaps.append(abs(goal - sent))

    assert max(gaps) < EPSILON
