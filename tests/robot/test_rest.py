"""The walk to rest: its path, its pace, and the twin's arm on it."""

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_bench import WorldBench, model_calibration

from robot.arm_heights import ArmHeights
from robot.health import HealthMonitor
from robot.joint_sample import JointSample
from robot.joints import GRIPPER, Calibration, FloatVector, JointCalibration
from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD, deg_to_model_rad, model_rad_to_deg
from robot.limits import GoalLimiter
from robot.loop import Goal, Tick, turn_until
from robot.rest import (
    ACCELERATION_DEG_S2,
    ARRIVED_DEG,
    CLEARANCE_M,
    FREEZE_S,
    REST_DEG,
    SETTLE_S,
    SPEED_DEG_S,
    RestGoals,
    travelled_deg,
    walk_s,
)
from sim.tasks.pick_red import REST_RAD

HEIGHTS = ArmHeights()
CALIBRATION = model_calibration()
RATE_HZ = 100.0
EPSILON = 1e-9
LONGEST_S = 4.0
REDUCED_TORQUE_PCT = 60.0  # as on the way to rest: robot/drive.py


def height_m(position_deg: FloatVector) -> float:
    return HEIGHTS.lowest(position_deg.tolist()).height_m


def sample(position_deg: FloatVector) -> JointSample:
    zero = np.zeros(6)
    return JointSample(zero, position_deg, zero, zero, zero, zero, zero, (0,) * 6)


def walk(rest: RestGoals, observed_deg: FloatVector, until_s: float = 10.0) -> list[FloatVector]:
    """The goals of a walk by an arm that is always where it was sent."""
    goals = [rest.goal(sample(observed_deg), 0.0).position_deg]
    for tick in range(1, round(until_s * RATE_HZ)):
        goal = rest.goal(sample(goals[-1]), tick / RATE_HZ)
        assert goal.made_s == tick / RATE_HZ
        goals.append(goal.position_deg)
        if rest.is_done:
            return goals
    raise AssertionError("it never ends")


def legal_poses(count: int, seed: int) -> list[FloatVector]:
    """Random poses of the twin's arm that touch neither the table nor the arm itself."""
    rng = np.random.default_rng(seed)
    bench = WorldBench()
    world = bench.clock.world
    poses: list[FloatVector] = []
    while len(poses) < count:
        deg = np.clip(
            model_rad_to_deg(rng.uniform(RANGE_MIN_RAD, RANGE_MAX_RAD)), *CALIBRATION.range_deg
        )
        if height_m(deg) < 0.0:
            continue
        blocks = world.data.qpos[6:].copy()
        world.position_rad[:] = deg_to_model_rad(deg)
        if not touches(bench):
            poses.append(deg)
        world.data.qpos[6:] = blocks
    return poses


def touches(bench: WorldBench) -> bool:
    """Whether anything of the arm lies deeper than 1 mm in something."""
    world = bench.clock.world
    mujoco.mj_forward(world.physics, world.data)
    return any(contact.dist < -1e-3 for contact in world.data.contact[: world.data.ncon])


# --- pace ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length_deg", "expected_s"),
    # Speeding up and slowing down take 9° each; then 60°/s.
    [(0.0, 0.0), (2.0, 0.2), (18.0, 0.6), (60.0, 1.3), (195.5, 195.5 / 60.0 + 0.3)],
)
def test_a_way_takes_as_long_as_its_length_asks(length_deg: float, expected_s: float) -> None:
    assert walk_s(length_deg) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("walked_s", "expected_deg"),
    [
        (-1.0, 0.0),
        (0.0, 0.0),
        (0.1, 1.0),
        (0.3, 9.0),
        (0.65, 30.0),
        (1.0, 51.0),
        (1.2, 59.0),
        (1.3, 60.0),
        (9.0, 60.0),
    ],
)
def test_travelling_60_degrees(walked_s: float, expected_deg: float) -> None:
    assert travelled_deg(walked_s, 60.0) == pytest.approx(expected_deg)


@given(st.floats(0.0, 400.0))
def test_nothing_is_faster_than_it_may_be(length_deg: float) -> None:
    times_s = np.arange(-0.05, walk_s(length_deg) + 0.05, 0.01)
    places = np.array([travelled_deg(float(now_s), length_deg) for now_s in times_s])
    speeds = np.diff(places) / 0.01

    assert places[0] == 0.0
    assert places[-1] == pytest.approx(length_deg)
    assert speeds.min() >= -EPSILON
    assert speeds.max() <= SPEED_DEG_S + 1e-6
    assert np.abs(np.diff(speeds)).max() <= ACCELERATION_DEG_S2 * 0.01 + 1e-6


# --- path ----------------------------------------------------------------------------------------


def test_the_rest_pose_is_where_the_twins_arm_rests_clear_of_the_table() -> None:
    assert pytest.approx(np.rad2deg(REST_RAD[:GRIPPER])) == REST_DEG
    for gripper in (0.0, 50.0, 100.0):
        assert height_m(np.array([*REST_DEG, gripper])) > CLEARANCE_M


def test_it_freezes_a_moment_at_the_last_goal_not_at_where_the_arm_sags() -> None:
    last = np.array([10.0, 20.0, -20.0, 10.0, 5.0, 40.0])
    rest = RestGoals(CALIBRATION, last)

    for now_s in (0.0, FREEZE_S / 2.0, FREEZE_S):
        assert np.array_equal(rest.goal(sample(last - 5.0), now_s).position_deg, last)
    assert not rest.is_done
    assert not np.array_equal(rest.goal(sample(last), FREEZE_S + 0.1).position_deg, last)


def test_without_a_last_goal_it_starts_where_the_arm_stands() -> None:
    here = np.array([10.0, 20.0, -20.0, 10.0, 5.0, 40.0])

    assert np.array_equal(RestGoals(CALIBRATION, None).goal(sample(here), 3.0).position_deg, here)


def test_the_gripper_keeps_what_it_holds() -> None:
    start = np.array([10.0, 20.0, -20.0, 10.0, 5.0, 37.0])

    goals = walk(RestGoals(CALIBRATION, start), start)

    assert np.all(np.array(goals)[:, GRIPPER] == 37.0)
    assert goals[-1][:GRIPPER] == pytest.approx(REST_DEG)


def test_another_rest_pose_is_clipped_to_the_range() -> None:
    narrow = Calibration(tuple(JointCalibration(i, 0, 0, 1848, 2248) for i in range(1, 7)))
    start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 50.0])

    goals = walk(RestGoals(narrow, start, [5.0, -90.0, 90.0, -3.0, 0.0]), start)

    low_deg, high_deg = narrow.range_deg
    assert goals[-1][:GRIPPER] == pytest.approx([5.0, low_deg[1], high_deg[2], -3.0, 0.0])


def test_an_arm_that_is_there_already_is_done_after_the_moment() -> None:
    at_rest = np.array([*REST_DEG, 20.0])
    rest = RestGoals(CALIBRATION, at_rest)

    goals = walk(rest, at_rest)

    assert len(goals) == round(FREEZE_S * RATE_HZ) + 1
    assert rest.duration_s == pytest.approx(FREEZE_S)


@pytest.mark.parametrize(
    ("away_deg", "arrives"), [(ARRIVED_DEG, True), (ARRIVED_DEG + 1e-6, False)]
)
def test_an_arm_that_does_not_arrive_has_had_its_time(away_deg: float, arrives: bool) -> None:
    start = np.array([0.0, -60.0, 60.0, 38.0, 0.0, 20.0])
    rest = RestGoals(CALIBRATION, start)
    rest.goal(sample(start), 0.0)
    away = np.array([*REST_DEG, 80.0])  # the gripper does not count
    away[2] -= away_deg

    rest.goal(sample(away), rest.duration_s + 1e-9)
    assert rest.is_done is arrives
    rest.goal(sample(away), rest.duration_s + SETTLE_S - 1e-6)
    assert rest.is_done is arrives
    rest.goal(sample(away), rest.duration_s + SETTLE_S + 1e-6)
    assert rest.is_done


def test_it_is_not_done_before_its_end_even_where_it_will_end() -> None:
    start = np.array([0.0, -60.0, 60.0, 38.0, 0.0, 20.0])
    rest = RestGoals(CALIBRATION, start)
    rest.goal(sample(start), 0.0)

    rest.goal(sample(np.array([*REST_DEG, 20.0])), rest.duration_s - 1e-6)

    assert not rest.is_done


def test_a_pose_without_a_way_round_the_table_is_left_straight_and_ends() -> None:
    """The arm folded into itself, fingers at the foot: no arm can be there."""
    start = np.array([79.0, 83.0, 83.0, 17.0, 4.0, 4.0])

    rest = RestGoals(CALIBRATION, start)
    goals = walk(rest, start)

    assert goals[-1][:GRIPPER] == pytest.approx(REST_DEG)
    assert rest.duration_s == pytest.approx(FREEZE_S + walk_s(83.0 + 95.5))
    middle = goals[len(goals) // 2]
    shares = (middle - start)[:GRIPPER] / (goals[-1] - start)[:GRIPPER]
    assert shares == pytest.approx(np.full(5, shares[0]))


@pytest.mark.parametrize("table_height_m", [None, 0.0, 0.02])
def test_from_anywhere_the_path_stays_clear_of_the_table(table_height_m: float | None) -> None:
    clear_m = CLEARANCE_M + (table_height_m or 0.0)
    for start in legal_poses(60, seed=11):
        rest = RestGoals(CALIBRATION, start, table_height_m=table_height_m)

        goals = walk(rest, start)

        assert rest.duration_s < LONGEST_S
        steps = np.abs(np.diff(goals, axis=0))
        assert steps.max() <= SPEED_DEG_S / RATE_HZ + 1e-6
        lowest_m = min(map(height_m, goals))
        assert lowest_m >= min(clear_m, height_m(start), height_m(goals[-1])) - 2e-3


# --- the twin's arm ------------------------------------------------------------------------------


class HoldGoals:
    """Stay where the arm is put."""

    def __init__(self, goal_deg: FloatVector) -> None:
        self._goal_deg = goal_deg

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        return Goal(self._goal_deg, now_s)


class Ticks(list[Tick]):
    def on_tick(self, tick: Tick) -> None:
        self.append(tick)


class TwinWalk:
    """The twin's arm, powered in a pose, and every tick of what it is driven through."""

    def __init__(self, pose_deg: FloatVector) -> None:
        self.pose_deg = pose_deg
        self.bench = WorldBench(arm_deg=pose_deg)
        self.limiter = GoalLimiter(
            self.bench.calibration, rate_hz=RATE_HZ, max_speed_deg_s=270.0, table_height_m=0.0
        )

    def to_rest(self) -> list[Tick]:
        """Hold the pose for a moment, then walk; returns the walk."""
        clock, follower = self.bench.clock, self.bench.follower
        settled_s = clock.now_s() + 0.5
        self.drive(HoldGoals(self.pose_deg), lambda: clock.now_s() > settled_s)
        follower.set_torque_limit_pct(REDUCED_TORQUE_PCT)
        assert self.limiter.last_sent_deg is not None
        rest = RestGoals(follower.calibration, self.limiter.last_sent_deg)
        return self.drive(rest, lambda: rest.is_done)

    def drive(self, source: HoldGoals | RestGoals, should_stop: Callable[[], bool]) -> list[Tick]:
        ticks = Ticks()
        turn_until(
            should_stop,
            arm=self.bench.follower,
            source=source,
            monitor=HealthMonitor(),
            limiter=self.limiter,
            listeners=[ticks],
            rate_hz=RATE_HZ,
            clock=self.bench.clock,
        )
        return ticks


@pytest.mark.parametrize("part", range(5))
def test_from_50_poses_the_twins_arm_walks_to_rest_at_reduced_torque(part: int) -> None:
    for pose in legal_poses(10, seed=part):
        ticks = TwinWalk(pose).to_rest()

        assert len(ticks) / RATE_HZ < LONGEST_S + 0.5
        away_deg = ticks[-1].observed.position_deg[:GRIPPER] - REST_DEG
        assert np.abs(away_deg).max() <= ARRIVED_DEG
        start_m = min(height_m(pose), height_m(ticks[0].observed.position_deg))
        lowest_m = min(height_m(tick.observed.position_deg) for tick in ticks)
        assert lowest_m >= min(start_m, 0.0) - 2e-3
