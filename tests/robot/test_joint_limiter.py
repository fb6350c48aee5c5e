"""One joint's limits where the six together do not show it."""

import math

import pytest

from robot.joint_limiter import JointLimiter
from robot.limit_rules import MAX_ACCELERATION_DEG_S2, RAMP_SPEED_DEG_S, STEP_WINDOW_DEG

RATE_HZ = 25.0
SPEED_DEG_S = 250.0
STEP_DEG = SPEED_DEG_S / RATE_HZ
RAMP_STEP_DEG = RAMP_SPEED_DEG_S / RATE_HZ
FREE = (-math.inf, math.inf)


def joint_at(present_deg: float, max_speed_deg_s: float = SPEED_DEG_S) -> JointLimiter:
    return JointLimiter(
        present_deg, low_deg=-80.0, high_deg=80.0, rate_hz=RATE_HZ, max_speed_deg_s=max_speed_deg_s
    )


@pytest.mark.parametrize("present_deg", [-80.0, 0.0, 80.0])
def test_within_its_range_and_at_its_ends_a_joint_goes_at_full_speed(present_deg: float) -> None:
    assert joint_at(present_deg).reach_deg(False, 1.0) == STEP_DEG


@pytest.mark.parametrize("present_deg", [-80.001, 80.001])
def test_outside_its_range_it_goes_at_the_ramps_speed(present_deg: float) -> None:
    assert joint_at(present_deg).reach_deg(False, 1.0) == RAMP_STEP_DEG


@pytest.mark.parametrize(("is_ramping", "step_deg"), [(True, RAMP_STEP_DEG), (False, STEP_DEG)])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_ramp_and_derating_multiply(is_ramping: bool, step_deg: float, factor: float) -> None:
    assert joint_at(0.0).reach_deg(is_ramping, factor) == step_deg * factor


def test_an_arm_slower_than_the_ramp_ramps_at_its_own_speed() -> None:
    assert joint_at(0.0, max_speed_deg_s=20.0).reach_deg(True, 1.0) == 20.0 / RATE_HZ


CHANGE_DEG = MAX_ACCELERATION_DEG_S2 / RATE_HZ**2  # 2.72


@pytest.mark.parametrize(
    ("present_deg", "step_deg", "reach_deg", "fence", "expected"),
    [
        (0.0, 0.0, 1.0, FREE, (-1.0, 1.0)),
        (0.0, 0.0, 9.0, FREE, (-CHANGE_DEG, CHANGE_DEG)),
        (0.0, 2.0, 9.0, FREE, (-CHANGE_DEG, 2.0 + CHANGE_DEG)),
        (0.0, -2.0, 9.0, FREE, (-2.0 - CHANGE_DEG, CHANGE_DEG)),
        (79.0, 0.0, 2.0, FREE, (77.0, 80.0)),
        (-79.0, 0.0, 2.0, FREE, (-80.0, -77.0)),
        (83.0, 0.0, 2.0, FREE, (81.0, 83.0)),
        (-83.0, 0.0, 2.0, FREE, (-83.0, -81.0)),
        (0.0, 0.0, 2.0, (-1.0, 1.5), (-1.0, 1.5)),
        (0.0, 0.0, 2.0, (0.5, math.inf), (0.0, 2.0)),  # behind a fence: it may stand still
        (0.0, 0.0, 2.0, (-math.inf, -0.5), (-2.0, 0.0)),
    ],
)
def test_the_room_is_what_can_be_reached(
    present_deg: float,
    step_deg: float,
    reach_deg: float,
    fence: tuple[float, float],
    expected: tuple[float, float],
) -> None:
    joint = joint_at(present_deg - step_deg)
    joint.sent(present_deg)

    assert joint.room_deg(reach_deg, *fence) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("wanted_deg", "fence", "expected"),
    [
        (10.0, FREE, 10.0),
        (90.0, FREE, 80.0),
        (-90.0, FREE, -80.0),
        (10.0, (-math.inf, 5.0), 5.0),
        (10.0, (15.0, math.inf), 15.0),
        (10.0, (-math.inf, 90.0), 10.0),
        (85.0, (-math.inf, 83.0), 80.0),  # a fence beyond the range opens nothing
        (None, FREE, 0.0),
        (None, (-math.inf, -5.0), -5.0),
    ],
)
def test_where_it_goes(
    wanted_deg: float | None, fence: tuple[float, float], expected: float
) -> None:
    assert joint_at(0.0).aim(wanted_deg, *fence) == expected


def test_who_stays_stays_outside_the_range_too_but_not_beyond_a_fence() -> None:
    assert joint_at(85.0).aim(None, *FREE) == 85.0
    assert joint_at(85.0).aim(85.0, *FREE) == 80.0
    assert joint_at(85.0).aim(None, -math.inf, 83.0) == 80.0


def test_a_joint_that_was_fenced_is_led_until_it_agrees() -> None:
    joint = joint_at(0.0)
    joint.aim(10.0, -math.inf, 5.0)
    assert joint.reach_deg(False, 1.0) == RAMP_STEP_DEG

    joint.aim(None, *FREE)  # who stays agrees with nothing
    assert joint.reach_deg(False, 1.0) == RAMP_STEP_DEG
    joint.aim(3.5, *FREE)
    assert joint.reach_deg(False, 1.0) == RAMP_STEP_DEG
    joint.aim(3.0, *FREE)
    assert joint.reach_deg(False, 1.0) == STEP_DEG


def test_a_joint_that_yielded_is_led_from_where_it_stands() -> None:
    joint = joint_at(0.0)

    joint.yield_to(-20.0)

    assert joint.last_deg == -20.0
    assert joint.reach_deg(False, 1.0) == RAMP_STEP_DEG
    assert joint.next_deg(-20.0, -20.0, STEP_DEG) == -20.0


def test_a_step_is_no_longer_than_its_reach() -> None:
    assert joint_at(0.0).next_deg(60.0, 0.0, 2.0) == 2.0
    assert joint_at(0.0).next_deg(-60.0, 0.0, 2.0) == -2.0


def test_a_goal_is_kept_near_the_joint_and_within_its_range() -> None:
    joint = joint_at(0.0)

    assert joint.next_deg(79.0, STEP_WINDOW_DEG * -1.0 + 1.0, 5.0) == 1.0
    assert joint.next_deg(79.0, -300.0, 5.0) < 0.0  # towards a joint that was dragged away


def test_speed_is_built_up_from_the_last_step_sent() -> None:
    joint = joint_at(0.0)
    first = joint.next_deg(70.0, 0.0, STEP_DEG)
    assert first == pytest.approx(CHANGE_DEG)

    joint.sent(1.0)  # a table, say, let less through
    second = joint.next_deg(70.0, 30.0, STEP_DEG)

    assert second - 1.0 == pytest.approx(1.0 + CHANGE_DEG)
