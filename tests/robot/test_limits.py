"""The limits joined: what is sent, whatever is asked and whatever the servos say."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.errors import LimitRefused
from robot.health import GOOD, Finding, Health, Response
from robot.joint_sample import JointSample
from robot.joints import GRIPPER, Calibration, FloatVector, JointCalibration
from robot.limit_rules import (
    MAX_ACCELERATION_DEG_S2,
    RAMP_SPEED_DEG_S,
    RANGE_MARGIN_DEG,
    REJECTS_TO_BELIEVE,
    STALE_S,
    STEP_WINDOW_DEG,
)
from robot.limits import GoalLimiter
from robot.loop import Goal

CALIBRATION = Calibration(tuple(JointCalibration(i, 0, 0, 1024, 3071) for i in range(1, 7)))
LOW_DEG, HIGH_DEG = CALIBRATION.range_deg
RATE_HZ = 100.0
SPEED_DEG_S = 270.0
STEP_DEG = SPEED_DEG_S / RATE_HZ
RAMP_STEP_DEG = RAMP_SPEED_DEG_S / RATE_HZ
CHANGE_DEG = MAX_ACCELERATION_DEG_S2 / RATE_HZ**2
EPSILON = 1e-9
HELD = replace(
    GOOD, response=Response.HOLD, findings=(Finding("elbow_flex", "silence", Response.HOLD, ""),)
)
SIX = st.lists(st.floats(-80, 80), min_size=6, max_size=6)


def sample(position_deg: FloatVector | Sequence[float]) -> JointSample:
    zero = np.zeros(6)
    return JointSample(zero, np.array(position_deg), zero, zero, zero, zero, zero, (0,) * 6)


def new_limiter(table_height_m: float | None = None) -> GoalLimiter:
    return GoalLimiter(
        CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=SPEED_DEG_S, table_height_m=table_height_m
    )


class Follower:
    """A limiter and a follower that stands where it was sent, tick by tick."""

    def __init__(self, start_deg: float | FloatVector = 0.0) -> None:
        self.limiter = new_limiter()
        self.position_deg: FloatVector = np.zeros(6) + start_deg
        self.now_s = 0.0
        self.steps_deg: list[FloatVector] = []

    def is_ramping(self) -> bool:
        return self.limiter.is_ramping

    def ask(
        self, goal_deg: float | FloatVector, ticks: int = 1, health: Health = GOOD
    ) -> FloatVector:
        for _ in range(ticks):
            goal = Goal(np.zeros(6) + goal_deg, self.now_s)
            sent_deg = self.limiter.limit(goal, sample(self.position_deg), health, self.now_s)
            self.steps_deg.append(sent_deg - self.position_deg)
            self.position_deg = sent_deg
            self.now_s += 1.0 / RATE_HZ
        return self.position_deg


@pytest.fixture
def agreed() -> Follower:
    """A follower that stands at 10 where its goal is, the ramp behind it."""
    follower = Follower(10.0)
    follower.ask(10.0, 2)
    assert not follower.is_ramping()
    return follower


# --- start ramp ----------------------------------------------------------------------------------


def test_the_first_tick_never_jumps() -> None:
    follower = Follower(np.array([0.0, 10.0, 0.0, 0.0, 0.0, 50.0]))

    follower.ask(60.0)

    assert follower.is_ramping()
    assert np.all(np.abs(follower.steps_deg[0]) <= RAMP_STEP_DEG + EPSILON)


def test_the_ramp_ends_when_goal_and_follower_agree_and_full_speed_begins() -> None:
    follower = Follower(10.0)
    follower.ask(20.0, int(7 / RAMP_SPEED_DEG_S * RATE_HZ))
    assert np.max(follower.steps_deg) == pytest.approx(RAMP_STEP_DEG)
    assert follower.is_ramping()
    follower.ask(20.0, 30)
    assert np.max(follower.steps_deg) < 1.0  # it brakes for a goal that is near

    assert not follower.is_ramping()
    follower.ask(39.0, 30)
    assert np.max(follower.steps_deg) > 3 * RAMP_STEP_DEG


def test_the_ramp_goes_on_while_one_joint_disagrees() -> None:
    follower = Follower(10.0)
    goal = np.full(6, 10.0)
    goal[4] = 40.0

    follower.ask(goal, 20)

    assert follower.is_ramping()


def test_rearming_ramps_from_where_the_follower_stands(agreed: Follower) -> None:
    agreed.limiter.rearm()
    agreed.position_deg = np.full(6, 30.0)

    sent = agreed.ask(10.0)

    assert agreed.is_ramping()
    assert np.all(sent > 29.0)


def test_after_a_pause_the_ramp_starts_anew_from_the_last_goal(agreed: Follower) -> None:
    """An arm that sags under its load must not be told to stay where it sags to."""
    agreed.ask(19.0, 3)
    last = agreed.position_deg
    agreed.now_s += STALE_S
    agreed.position_deg = last - 7.0

    sent = agreed.ask(19.0)

    assert agreed.is_ramping()
    assert sent == pytest.approx(last + CHANGE_DEG)


def test_after_a_pause_a_joint_far_from_its_last_goal_starts_from_where_it_stands(
    agreed: Follower,
) -> None:
    agreed.now_s += STALE_S
    agreed.position_deg = 10.0 + np.array([STEP_WINDOW_DEG + 0.1, STEP_WINDOW_DEG, 0, 0, 0, 0])

    sent = agreed.ask(10.0)

    assert agreed.is_ramping()
    assert sent[0] == pytest.approx(10.1 + STEP_WINDOW_DEG - CHANGE_DEG)
    assert sent[1:] == pytest.approx([10.0] * 5)


def test_a_joint_that_is_rearmed_starts_from_where_it_stands_and_the_others_do_not(
    agreed: Follower,
) -> None:
    agreed.position_deg = np.full(6, 4.0)
    agreed.limiter.rearm({"elbow_flex"})

    assert agreed.limiter.last_sent_deg is not None
    sent = agreed.ask(10.0)

    assert agreed.is_ramping()
    assert sent[2] == pytest.approx(4.0 + CHANGE_DEG)
    assert np.delete(sent, 2) == pytest.approx([10.0] * 5)
    again = agreed.ask(10.0)
    assert again[2] == pytest.approx(4.0 + 3.0 * CHANGE_DEG)


def test_a_joint_rearmed_before_a_pause_still_starts_from_where_it_stands(
    agreed: Follower,
) -> None:
    agreed.position_deg = np.full(6, 4.0)
    agreed.limiter.rearm({"elbow_flex"})
    agreed.now_s += STALE_S

    assert agreed.ask(4.0)[2] == pytest.approx(4.0)


def test_a_pause_just_short_of_that_is_none(agreed: Follower) -> None:
    agreed.now_s += STALE_S - 0.01 - 1e-6

    agreed.ask(10.0)

    assert not agreed.is_ramping()


def test_a_late_tick_makes_no_larger_step(agreed: Follower) -> None:
    agreed.ask(25.0, 25)
    agreed.now_s += 0.2

    agreed.ask(40.0)

    assert np.all(agreed.steps_deg[-1] <= STEP_DEG + EPSILON)


def test_what_was_sent_last_can_be_asked(agreed: Follower) -> None:
    before = agreed.limiter.last_sent_deg
    agreed.limiter.rearm()

    assert before == pytest.approx(np.full(6, 10.0))
    assert agreed.limiter.last_sent_deg is None
    assert new_limiter().last_sent_deg is None


# --- goals that are not followed -----------------------------------------------------------------


@pytest.mark.parametrize("age_s", [STALE_S - 1e-6, STALE_S + 1e-6])
def test_a_stale_goal_is_not_followed_and_arms_the_ramp_again(
    agreed: Follower, age_s: float
) -> None:
    goal = Goal(np.full(6, 20.0), agreed.now_s - age_s)

    sent = agreed.limiter.limit(goal, sample(agreed.position_deg), GOOD, agreed.now_s)

    is_stale = age_s > STALE_S
    assert agreed.is_ramping() is is_stale
    assert np.all(sent == 10.0) if is_stale else np.all(sent > 10.0)


def test_a_hold_keeps_the_last_goal_and_goes_on_by_the_ramp(agreed: Follower) -> None:
    agreed.ask(12.0)
    last = agreed.position_deg

    held = agreed.ask(25.0, 5, HELD)
    agreed.ask(25.0, 20)

    assert np.array_equal(held, last)
    assert agreed.is_ramping()
    assert np.max(agreed.steps_deg[-20:]) == pytest.approx(RAMP_STEP_DEG)


def test_a_joint_that_is_held_outside_its_range_stays_there() -> None:
    follower = Follower(HIGH_DEG + 2.0)

    follower.ask(0.0, 3, HELD)

    assert np.array_equal(follower.position_deg, HIGH_DEG + 2.0)


def test_a_goal_that_jumps_is_not_followed(agreed: Follower) -> None:
    sent = agreed.ask(40.0, REJECTS_TO_BELIEVE - 1)

    assert np.all(sent == 10.0)
    assert not agreed.is_ramping()


def test_a_goal_that_jumped_once_is_forgotten(agreed: Follower) -> None:
    for _ in range(3):
        agreed.ask(40.0, REJECTS_TO_BELIEVE - 1)
        assert np.all(agreed.ask(10.0) == 10.0)

    assert not agreed.is_ramping()


def test_jumps_in_a_row_are_a_new_path_and_approached_by_the_ramp(agreed: Follower) -> None:
    agreed.ask(40.0, REJECTS_TO_BELIEVE)

    assert agreed.is_ramping()
    assert np.all(agreed.steps_deg[-1] > 0.0)
    agreed.ask(40.0, 30)
    assert np.max(agreed.steps_deg) == pytest.approx(RAMP_STEP_DEG)


@pytest.mark.parametrize("interruption", ["hold", "stale", "rearm"])
def test_after_an_interruption_any_goal_is_a_first_one(agreed: Follower, interruption: str) -> None:
    if interruption == "hold":
        agreed.ask(10.0, 1, HELD)
    elif interruption == "stale":
        old = Goal(np.full(6, 10.0), agreed.now_s - 1.0)
        agreed.limiter.limit(old, sample(agreed.position_deg), GOOD, agreed.now_s)
    else:
        agreed.limiter.rearm()

    agreed.ask(40.0)

    assert np.all(agreed.steps_deg[-1] > 0.0)
    assert agreed.is_ramping()


@pytest.mark.parametrize(
    "bad",
    [
        np.array([0.0, np.nan, 0, 0, 0, 0]),
        np.array([np.inf] * 6),
        np.array([0.0] * 5 + [-np.inf]),
        np.zeros(5),
        np.zeros(7),
        np.zeros(0),
    ],
)
def test_refuses_goals_that_are_not_six_finite_numbers(bad: FloatVector) -> None:
    with pytest.raises(LimitRefused, match=r"^a goal of six finite numbers .*nothing was sent$"):
        new_limiter().limit(Goal(bad, 0.0), sample(np.zeros(6)), GOOD, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_a_position_that_is_no_number(agreed: Follower, bad: float) -> None:
    where = np.zeros(6)
    where[1] = bad

    with pytest.raises(LimitRefused, match=r"^nobody knows where the arm is.*nothing was sent$"):
        agreed.limiter.limit(Goal(np.zeros(6), agreed.now_s), sample(where), GOOD, agreed.now_s)


# --- range, window -------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_goals_end_a_degree_inside_the_range_and_the_gripper_at_its_end(sign: float) -> None:
    follower = Follower(50.0)

    follower.ask(sign * 500.0, 600)

    end_deg = HIGH_DEG - RANGE_MARGIN_DEG if sign > 0 else LOW_DEG + RANGE_MARGIN_DEG
    assert follower.position_deg[:5] == pytest.approx(end_deg[:5])
    assert follower.position_deg[GRIPPER] == pytest.approx(100.0 if sign > 0 else 0.0)


@pytest.mark.parametrize("outside_deg", [0.5, 2.9, 12.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_joint_outside_its_range_is_led_back_at_the_ramps_speed(
    outside_deg: float, sign: float
) -> None:
    edge_deg = HIGH_DEG[1] - RANGE_MARGIN_DEG  # the range is symmetric
    start = np.zeros(6)
    start[1] = sign * (edge_deg + outside_deg)
    follower = Follower(start)
    inside = np.zeros(6)
    inside[1] = sign * edge_deg  # agrees at once where it is within three degrees

    for tick in range(60):
        follower.ask(inside if outside_deg < 3.0 else sign * 50.0)
        if abs(follower.position_deg[1]) <= edge_deg:
            break
        step = -sign * follower.steps_deg[tick][1]
        assert 0.0 < step <= RAMP_STEP_DEG + EPSILON

    assert abs(follower.position_deg[1]) <= edge_deg


def test_goals_stay_near_a_joint_that_does_not_follow() -> None:
    limiter = new_limiter()
    sent: FloatVector = np.zeros(6)
    for tick in range(600):
        now_s = tick / RATE_HZ
        sent = limiter.limit(Goal(np.full(6, 80.0), now_s), sample(np.zeros(6)), GOOD, now_s)

    assert sent == pytest.approx(np.full(6, STEP_WINDOW_DEG))


def test_a_sample_of_fewer_joints_is_a_defect() -> None:
    with pytest.raises(ValueError, match="zip"):
        new_limiter().limit(Goal(np.zeros(6), 0.0), sample(np.zeros(5)), GOOD, 0.0)


# --- health --------------------------------------------------------------------------------------


def test_a_derated_arm_goes_at_a_share_of_its_speed() -> None:
    derated = replace(GOOD, speed_factor=0.5)
    follower = Follower(0.0)
    follower.ask(0.0)

    follower.ask(19.0, 40, derated)

    assert np.max(follower.steps_deg) <= STEP_DEG / 2 + EPSILON
    assert np.max(follower.steps_deg) > STEP_DEG / 2 - 0.2


def yields(*joints: int) -> Health:
    yielding = np.zeros(6, dtype=np.bool_)
    yielding[list(joints)] = True
    return replace(GOOD, yielding=yielding)


def test_a_joint_that_yields_gets_its_present_position_and_is_led_from_there(
    agreed: Follower,
) -> None:
    agreed.ask(12.0, 10)
    agreed.position_deg = np.full(6, 10.0)
    agreed.position_deg[2] = -20.0

    sent = agreed.ask(12.0, 1, yields(2))
    assert sent[2] == -20.0
    assert sent[1] == pytest.approx(12.0)
    agreed.ask(12.0, 20)

    steps = np.array(agreed.steps_deg)[-20:, 2]
    assert steps.max() == pytest.approx(RAMP_STEP_DEG)
    assert not agreed.is_ramping()
    agreed.ask(12.0, 100)
    agreed.ask(31.0, 30)
    assert np.max(np.array(agreed.steps_deg)[-30:, 2]) > 2 * RAMP_STEP_DEG


def test_a_joint_that_yields_outside_its_range_gets_the_ranges_end(agreed: Follower) -> None:
    agreed.position_deg = HIGH_DEG + 5.0

    sent = agreed.ask(10.0, 1, yields(0))

    assert sent[0] == HIGH_DEG[0] - RANGE_MARGIN_DEG


def fenced(joint: int, below: float = -np.inf, above: float = np.inf) -> Health:
    not_below, not_above = [-np.inf] * 6, [np.inf] * 6
    not_below[joint], not_above[joint] = below, above
    return replace(GOOD, not_below_deg=tuple(not_below), not_above_deg=tuple(not_above))


@pytest.mark.parametrize(("joint", "other"), [(0, 1), (5, 4)])
def test_a_fence_takes_a_goal_back_and_another_joint_goes_on(
    agreed: Follower, joint: int, other: int
) -> None:
    agreed.ask(20.0, 30)

    sent = agreed.ask(25.0, 60, fenced(joint, above=12.0))

    assert sent[joint] == pytest.approx(12.0)
    assert sent[other] == pytest.approx(25.0)
    steps = np.array(agreed.steps_deg)[-60:, joint]
    assert steps.min() == pytest.approx(-RAMP_STEP_DEG)


def test_a_fence_below_holds_too_and_even_while_all_are_held(agreed: Follower) -> None:
    sent = agreed.ask(0.0, 60, replace(HELD, not_below_deg=(12.0,) + (-np.inf,) * 5))

    assert sent == pytest.approx([12.0] + [10.0] * 5)


def test_a_joint_is_led_to_a_goal_beyond_a_fence_that_went_down(agreed: Follower) -> None:
    agreed.ask(25.0, 60, fenced(1, above=12.0))

    agreed.ask(25.0, 20)

    steps = np.array(agreed.steps_deg)[-20:, 1]
    assert steps.max() == pytest.approx(RAMP_STEP_DEG)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_goal_that_turns_round_before_a_fence_is_followed_at_full_speed(
    agreed: Follower, way: float
) -> None:
    stop_deg = 10.0 + 2.0 * way
    health = fenced(1, above=stop_deg) if way > 0 else fenced(1, below=stop_deg)
    agreed.ask(10.0 + 15.0 * way, 60, health)

    agreed.ask(10.0 - 4.0 * way, 1, health)
    agreed.ask(10.0 - 20.0 * way, 25)

    steps = -way * np.array(agreed.steps_deg)[-25:, 1]
    assert steps.max() > 2 * RAMP_STEP_DEG
    assert steps.min() >= 0.0


# --- whatever is asked, whatever the servos say --------------------------------------------------


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6), min_size=1, max_size=30),
    SIX,
)
def test_any_goals_stay_in_range_and_within_the_speed(
    goals: list[list[float]], start: list[float]
) -> None:
    follower = Follower(np.array(start))
    for goal in goals:
        last = follower.position_deg  # the gripper's may lie outside its range (0..100 %)
        sent = follower.ask(np.array(goal))
        assert np.all(sent >= np.minimum(LOW_DEG, last) - EPSILON)
        assert np.all(sent <= np.maximum(HIGH_DEG, last) + EPSILON)
        assert np.all(np.abs(sent - last) <= STEP_DEG + EPSILON)


@given(
    st.lists(st.tuples(SIX, SIX, st.sampled_from([0.5, 1.0])), min_size=2, max_size=40),
    st.booleans(),
)
def test_any_goals_and_any_samples_stay_within_range_speed_and_acceleration(
    ticks: list[tuple[list[float], list[float], float]], has_table: bool
) -> None:
    limiter = new_limiter(0.0 if has_table else None)
    last, last_step = np.array(ticks[0][1]), np.zeros(6)
    for index, (asked, present, factor) in enumerate(ticks):
        health = replace(GOOD, speed_factor=factor)
        now_s = index / RATE_HZ
        sent = limiter.limit(Goal(np.array(asked), now_s), sample(present), health, now_s)
        step = sent - last
        assert np.all(sent >= np.minimum(LOW_DEG, last) - EPSILON)
        assert np.all(sent <= np.maximum(HIGH_DEG, last) + EPSILON)
        assert np.all(np.abs(step) <= STEP_DEG * factor + EPSILON)
        assert np.all(step <= np.maximum(last_step, 0.0) + CHANGE_DEG + EPSILON)
        assert np.all(step >= np.minimum(last_step, 0.0) - CHANGE_DEG - EPSILON)
        last, last_step = sent, step
