"""The walk to rest: its path, its pace, and the twin's arm on it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_bench import WorldBench, model_calibration

from robot.arm_heights import ArmHeights
from robot.drive import Drive, Ending
from robot.health import GOOD, Finding, Health, HealthMonitor, Response
from robot.joint_sample import JointSample
from robot.joints import GRIPPER, Calibration, FloatVector, JointCalibration
from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD, deg_to_model_rad, model_rad_to_deg
from robot.limits import GoalLimiter
from robot.loop import Goal, Tick, turn_until
from robot.registers import TORQUE_LIMIT
from robot.rest import (
    ACCELERATION_DEG_S2,
    ARRIVED_DEG,
    CLEARANCE_M,
    FREEZE_S,
    LAG_DEG,
    LONGEST_S,
    LONGEST_TICK_S,
    REST_DEG,
    SETTLE_S,
    SPEED_DEG_S,
    STUCK_S,
    RestGoals,
    travelled_deg,
    walk_s,
)
from sim.tasks.pick_red import REST_RAD

HEIGHTS = ArmHeights()
CALIBRATION = model_calibration()
RATE_HZ = 100.0
EPSILON = 1e-9
LONGEST_WALK_S = 4.0
REDUCED_TORQUE_PCT = 60.0  # as on the way to rest: robot/drive.py


def height_m(position_deg: FloatVector) -> float:
    return HEIGHTS.lowest(position_deg.tolist()).height_m


def sample(position_deg: FloatVector) -> JointSample:
    zero = np.zeros(6)
    return JointSample(zero, position_deg, zero, zero, zero, zero, zero, (0,) * 6)


class Walker:
    """A walk to rest, tick by tick, of goals that are sent as they are, `is_held` apart.

    The arm is where it was sent, or `away_deg` from there.
    """

    def __init__(
        self,
        start_deg: FloatVector,
        rest_deg: Sequence[float] | None = None,
        *,
        calibration: Calibration = CALIBRATION,
        table_height_m: float | None = None,
    ) -> None:
        self.sent_deg: FloatVector | None = start_deg
        self.rest = RestGoals(calibration, lambda: self.sent_deg, rest_deg, table_height_m)
        self.now_s = 0.0
        self.away_deg = 0.0
        self.is_held = False
        self.goals: list[FloatVector] = []

    def tick(self, passed_s: float = 1.0 / RATE_HZ) -> FloatVector:
        assert self.sent_deg is not None
        goal = self.rest.goal(sample(self.sent_deg + self.away_deg), self.now_s)
        assert goal.made_s == self.now_s
        self.goals.append(goal.position_deg)
        self.sent_deg = self.sent_deg if self.is_held else goal.position_deg
        self.now_s += passed_s
        return goal.position_deg

    def until_done(self, until_s: float = 30.0) -> list[FloatVector]:
        while not self.rest.is_done:
            self.tick()
            assert self.now_s < until_s, "it never ends"
        return self.goals

    def until_the_end_of_the_path(self) -> None:
        self.tick()
        while self.now_s <= self.rest.duration_s + EPSILON:
            self.tick()


def walk(start_deg: FloatVector, rest_deg: Sequence[float] | None = None) -> list[FloatVector]:
    """The goals of a walk that nothing holds up."""
    return Walker(start_deg, rest_deg).until_done()


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
    walker = Walker(last)
    walker.away_deg = -5.0

    while walker.now_s <= FREEZE_S:
        assert np.array_equal(walker.tick(), last)
    assert not walker.rest.is_done
    walker.tick()
    assert not np.array_equal(walker.tick(), last)


def test_without_a_last_goal_it_starts_where_the_arm_stands() -> None:
    here = np.array([10.0, 20.0, -20.0, 10.0, 5.0, 40.0])

    rest = RestGoals(CALIBRATION, lambda: None)

    assert np.array_equal(rest.goal(sample(here), 3.0).position_deg, here)


def test_the_gripper_keeps_what_it_holds() -> None:
    start = np.array([10.0, 20.0, -20.0, 10.0, 5.0, 37.0])

    goals = walk(start)

    assert np.all(np.array(goals)[:, GRIPPER] == 37.0)
    assert goals[-1][:GRIPPER] == pytest.approx(REST_DEG)


def test_another_rest_pose_is_clipped_to_the_range() -> None:
    narrow = Calibration(tuple(JointCalibration(i, 0, 0, 1848, 2248) for i in range(1, 7)))
    start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 50.0])

    goals = Walker(start, [5.0, -90.0, 90.0, -3.0, 0.0], calibration=narrow).until_done()

    low_deg, high_deg = narrow.range_deg
    assert goals[-1][:GRIPPER] == pytest.approx([5.0, low_deg[1], high_deg[2], -3.0, 0.0])


def test_an_arm_that_is_there_already_is_done_after_the_moment() -> None:
    at_rest = np.array([*REST_DEG, 20.0])
    walker = Walker(at_rest)

    goals = walker.until_done()

    assert len(goals) == round(FREEZE_S * RATE_HZ) + 1
    assert walker.rest.duration_s == pytest.approx(FREEZE_S)
    assert walker.rest.has_arrived


@pytest.mark.parametrize(
    ("away_deg", "arrives"), [(ARRIVED_DEG, True), (ARRIVED_DEG + 1e-6, False)]
)
def test_an_arm_that_does_not_arrive_has_had_its_time(away_deg: float, arrives: bool) -> None:
    walker = Walker(np.array([0.0, -60.0, 60.0, 38.0, 0.0, 20.0]))
    walker.until_the_end_of_the_path()
    rest, end = walker.rest, np.array([*REST_DEG, 80.0])  # the gripper does not count
    end[2] -= away_deg
    walked_s = rest.duration_s

    now_s = walker.now_s
    rest.goal(sample(end), now_s)
    assert (rest.is_done, rest.has_arrived) == (arrives, arrives)
    while not rest.is_done:
        now_s += 0.01
        rest.goal(sample(end), now_s)
    assert rest.has_arrived is arrives
    assert now_s == pytest.approx(walked_s + (0.0 if arrives else SETTLE_S), abs=0.03)


def test_it_is_not_done_before_its_end_even_where_it_will_end() -> None:
    walker = Walker(np.array([0.0, -60.0, 60.0, 38.0, 0.0, 20.0]))
    walker.tick()
    while walker.now_s < walker.rest.duration_s - 1.0 / RATE_HZ:
        walker.tick()

    walker.rest.goal(sample(np.array([*REST_DEG, 20.0])), walker.rest.duration_s - 1e-6)

    assert not walker.rest.is_done


def test_a_pose_without_a_way_round_the_table_is_left_straight_and_ends() -> None:
    """The arm folded into itself, fingers at the foot: no arm can be there."""
    start = np.array([79.0, 83.0, 83.0, 17.0, 4.0, 4.0])

    walker = Walker(start)
    goals = walker.until_done()

    assert goals[-1][:GRIPPER] == pytest.approx(REST_DEG)
    assert walker.rest.duration_s == pytest.approx(FREEZE_S + walk_s(83.0 + 95.5))
    middle = goals[len(goals) // 2]
    shares = (middle - start)[:GRIPPER] / (goals[-1] - start)[:GRIPPER]
    assert shares == pytest.approx(np.full(5, shares[0]))


# Fingers 24 to 42 mm over the table, from where a straight path dips below 23 mm.
DIPPING_DEG = [
    [-42.0, -22.0, 45.0, 92.0, -110.0, 11.0],
    [-8.0, -2.0, 39.0, 93.0, 78.0, 78.0],
    [71.0, -38.0, 56.0, 86.0, -12.0, 84.0],
    [67.0, -22.0, 47.0, 91.0, -119.0, 61.0],
    [-19.0, -28.0, 42.0, 94.0, -99.0, 25.0],
]


@pytest.mark.parametrize("pose", DIPPING_DEG)
def test_a_path_that_would_dip_leads_round(pose: list[float]) -> None:
    start = np.array(pose)
    end = np.array([*REST_DEG, start[GRIPPER]])
    shares = np.linspace(0.0, 1.0, 50)
    straight_m = min(height_m(start + share * (end - start)) for share in shares)
    clear_m = min(CLEARANCE_M, height_m(start))
    assert straight_m < 0.023 < clear_m

    walker = Walker(start)
    goals = walker.until_done()

    assert min(map(height_m, goals)) >= clear_m - 1e-3
    bends_deg = np.diff(walker.rest._rows_deg, n=2, axis=0)
    assert np.abs(bends_deg).max() < 2.0  # smooth: no joint jerks out of the way
    straight_s = FREEZE_S + walk_s(float(np.abs(end - start).max()))
    assert len(goals) / RATE_HZ < straight_s + 0.3


@pytest.mark.parametrize("pose", DIPPING_DEG)
def test_an_arm_of_which_nobody_knows_the_table_stands_on_it(pose: list[float]) -> None:
    unknown, standing = (
        np.array(Walker(np.array(pose), table_height_m=height).until_done())
        for height in (None, 1e-9)
    )

    assert unknown == pytest.approx(standing, abs=1e-3)


def test_a_table_that_is_lower_is_not_gone_round() -> None:
    start = np.array(DIPPING_DEG[0])
    rest = RestGoals(CALIBRATION, lambda: start, table_height_m=-0.05)
    rest.goal(sample(start), 0.0)

    assert rest.duration_s == pytest.approx(FREEZE_S + walk_s(94.5 + 55.0), abs=1.0)
    straight = RestGoals(CALIBRATION, lambda: start, table_height_m=-0.5)
    straight.goal(sample(start), 0.0)
    assert rest.duration_s == straight.duration_s


def test_a_walk_that_has_not_begun_is_not_over_whatever_the_clock_says() -> None:
    start = np.array([0.0, -60.0, 60.0, 38.0, 0.0, 20.0])
    rest = RestGoals(CALIBRATION, lambda: start)
    assert (rest.is_done, rest.has_arrived) == (False, False)

    rest.goal(sample(start), 1000.0)
    rest.goal(sample(start), 1000.01)

    assert (rest.is_done, rest.has_arrived) == (False, False)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_last_goal_outside_the_range_is_not_waited_for(sign: float) -> None:
    """What is sent ends a degree inside the range: that is as near as it can come."""
    low_deg, high_deg = CALIBRATION.range_deg
    start = np.array([0.0, -60.0, 60.0, 38.0, 0.0, 20.0])
    start[0] = (high_deg[0] if sign > 0 else low_deg[0]) + sign * 3.5
    walker = Walker(start)
    while not walker.rest.is_done:
        sent_deg = walker.tick()
        walker.sent_deg = np.clip(sent_deg, low_deg + 1.0, high_deg - 1.0)

    assert walker.rest.has_arrived
    assert walker.now_s == pytest.approx(walker.rest.duration_s, abs=0.05)


@pytest.mark.parametrize("table_height_m", [None, 0.0, 0.02])
def test_from_anywhere_the_path_stays_clear_of_the_table(table_height_m: float | None) -> None:
    clear_m = CLEARANCE_M + (table_height_m or 0.0)
    for start in legal_poses(60, seed=11):
        walker = Walker(start, table_height_m=table_height_m)

        goals = walker.until_done()

        assert walker.now_s < LONGEST_WALK_S
        steps = np.abs(np.diff(goals, axis=0))
        assert steps.max() <= SPEED_DEG_S / RATE_HZ + 1e-6
        lowest_m = min(map(height_m, goals))
        assert lowest_m >= min(clear_m, height_m(start), height_m(goals[-1])) - 2e-3


# --- held up -------------------------------------------------------------------------------------

HIGH_DEG = np.array([0.0, 40.0, -60.0, 20.0, 0.0, 20.0])
HELD = replace(
    GOOD, response=Response.HOLD, findings=(Finding("elbow_flex", "silence", Response.HOLD, ""),)
)


def test_the_path_waits_for_a_goal_that_is_not_sent_and_goes_on_from_there() -> None:
    walker = Walker(HIGH_DEG)
    while walker.now_s < 1.0:
        walker.tick()
    last = walker.goals[-1]
    walker.is_held = True
    while walker.now_s < 1.5:
        walker.tick()
    ahead_deg = np.abs(walker.goals[-1] - last).max()
    walker.is_held = False

    goals = walker.until_done()

    assert LAG_DEG < ahead_deg < LAG_DEG + 2.0 * SPEED_DEG_S / RATE_HZ
    assert np.abs(np.diff(goals, axis=0)).max() <= SPEED_DEG_S / RATE_HZ + 1e-6
    assert walker.rest.has_arrived


def test_a_goal_that_is_never_sent_ends_the_walk_where_the_arm_is() -> None:
    walker = Walker(HIGH_DEG)
    walker.is_held = True
    walker.until_done()

    assert not walker.rest.has_arrived
    assert walker.now_s == pytest.approx(STUCK_S + FREEZE_S, abs=0.35)


def test_a_walk_that_creeps_ends_too() -> None:
    walker = Walker(HIGH_DEG)
    tick = 0
    while not walker.rest.is_done:
        tick += 1
        walker.is_held = tick % 50 > 0
        walker.tick()
        assert walker.now_s < 2.0 * LONGEST_S

    assert not walker.rest.has_arrived
    assert walker.now_s == pytest.approx(LONGEST_S, abs=0.1)


def test_a_loop_that_was_held_up_does_not_make_up_for_it() -> None:
    walker = Walker(HIGH_DEG)
    while walker.now_s < 1.0:
        walker.tick()
    walker.tick(passed_s=0.8)
    before = walker.goals[-1]

    after = walker.tick()

    assert np.abs(after - before).max() <= SPEED_DEG_S * LONGEST_TICK_S + EPSILON


def test_a_start_outside_the_range_is_waited_for_and_left() -> None:
    low_deg, _ = CALIBRATION.range_deg
    start = np.array([0.0, float(low_deg[1]) - 5.0, 60.0, 20.0, 0.0, 20.0])
    limiter = GoalLimiter(CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=270.0)

    has_arrived, away_deg = limited_walk(limiter, start)

    assert has_arrived
    assert away_deg <= ARRIVED_DEG


def limited_walk(
    limiter: GoalLimiter, start_deg: FloatVector, health: Callable[[float], Health] = lambda _: GOOD
) -> tuple[bool, float]:
    """Walk an arm that is where it is sent; whether it arrived, and how far off it ends."""
    here_deg = limiter.limit(Goal(start_deg, 0.0), sample(start_deg), GOOD, 0.0)
    rest = RestGoals(CALIBRATION, lambda: limiter.last_sent_deg)
    now_s = 0.0
    while not rest.is_done:
        now_s += 1.0 / RATE_HZ
        goal = rest.goal(sample(here_deg), now_s)
        here_deg = limiter.limit(goal, sample(here_deg), health(now_s), now_s)
    return rest.has_arrived, float(np.abs(here_deg[:GRIPPER] - REST_DEG).max())


@pytest.mark.parametrize(
    ("max_speed_deg_s", "speed_factor", "held_s"),
    [(20.0, 1.0, 0.0), (30.0, 1.0, 0.0), (90.0, 0.5, 0.0), (270.0, 1.0, 0.3), (270.0, 0.5, 0.2)],
)
def test_slow_and_held_arms_arrive_later_not_higher(
    max_speed_deg_s: float, speed_factor: float, held_s: float
) -> None:
    limiter = GoalLimiter(
        CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=max_speed_deg_s, table_height_m=0.0
    )

    def health(now_s: float) -> Health:
        is_held = 0.5 <= now_s < 0.5 + held_s
        return replace(HELD if is_held else GOOD, speed_factor=speed_factor)

    has_arrived, away_deg = limited_walk(limiter, HIGH_DEG, health)

    assert has_arrived
    assert away_deg <= LAG_DEG


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
        rest = RestGoals(follower.calibration, lambda: self.limiter.last_sent_deg)
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

        assert len(ticks) / RATE_HZ < LONGEST_WALK_S + 0.5
        away_deg = ticks[-1].observed.position_deg[:GRIPPER] - REST_DEG
        assert np.abs(away_deg).max() <= ARRIVED_DEG
        start_m = min(height_m(pose), height_m(ticks[0].observed.position_deg))
        lowest_m = min(height_m(tick.observed.position_deg) for tick in ticks)
        assert lowest_m >= min(start_m, 0.0) - 2e-3


@pytest.mark.parametrize(("max_speed_deg_s", "sinks"), [(30.0, False), (5.0, True)])
def test_an_arm_that_does_not_get_to_its_rest_pose_sinks(
    max_speed_deg_s: float, sinks: bool
) -> None:
    bench = WorldBench(arm_deg=HIGH_DEG)
    limiter = GoalLimiter(bench.calibration, rate_hz=RATE_HZ, max_speed_deg_s=max_speed_deg_s)
    follower = bench.follower
    said: list[str] = []
    begin_s = bench.clock.now_s()
    ending = Ending(
        should_stop=lambda: bench.clock.now_s() > begin_s + 0.3,
        is_off_wanted=lambda: False,
        new_rest=lambda: RestGoals(follower.calibration, lambda: limiter.last_sent_deg),
        look_for_s=lambda: 0.0,
        say=said.append,
    )
    Drive(follower, HealthMonitor(), limiter, [], RATE_HZ, bench.clock).to_rest(
        HoldGoals(HIGH_DEG), ending
    )

    assert follower.torque_state.is_off
    assert any("sinks" in sentence for sentence in said) is sinks
    limit = follower.bus.read(2, TORQUE_LIMIT)
    assert (limit == 0) is sinks
