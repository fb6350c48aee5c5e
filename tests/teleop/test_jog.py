import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.joint_sample import JointSample
from robot.joints import GRIPPER, FloatVector
from robot.kinematics import ArmKinematics
from robot.loop import Tick
from teleop.jog import FALL_S, LONGEST_STEP_S, RISE_S, WIND_UP_DEG, JogGoals, JogSpeeds, ramp
from teleop.jog_motion import JOINT_SPEED_DEG_S
from teleop.key_map import JOG_ACTIONS, JogAction, JogAxis

KINEMATICS = ArmKinematics()
LOW_DEG = np.array([-110.0, -100.0, -96.8, -95.0, -157.0, 0.0])
HIGH_DEG = np.array([110.0, 100.0, 96.8, 95.0, 157.0, 100.0])
ELBOW_UP_DEG = np.array([5.0, -40.0, 40.0, 40.0, 10.0, 50.0])
TICK_S = 0.01
SPEEDS = JogSpeeds()


class Fingers:
    """Keys held down without fail: no dead-man, no display."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.confirmed_s = 0.0

    def held(self, now_s: float) -> set[str]:
        self.confirmed_s = now_s
        return self.down


class Jog:
    """A jog on an arm that goes where it is told at once."""

    def __init__(self, start_deg: FloatVector) -> None:
        self.fingers = Fingers()
        self.source = JogGoals(self.fingers, KINEMATICS, (LOW_DEG, HIGH_DEG), SPEEDS)
        self.position_deg = start_deg.copy()
        self.now_s = 100.0

    def tick(self, *keys: str, step_s: float = TICK_S) -> FloatVector:
        self.now_s += step_s
        self.fingers.down = set(keys)
        self.position_deg = self.source.goal(at(self.position_deg), self.now_s).position_deg
        return self.position_deg

    def run(self, duration_s: float, *keys: str) -> list[FloatVector]:
        return [self.tick(*keys) for _ in range(round(duration_s / TICK_S))]


def at(position_deg: FloatVector) -> JointSample:
    zero = np.zeros(6)
    return JointSample(zero, position_deg.copy(), zero, zero, zero, zero, zero, (0,) * 6)


def motion_between(start_deg: FloatVector, end_deg: FloatVector) -> FloatVector:
    """Measure forward, left, up (m), tilt up (rad), roll right (rad) and opening (percent)."""
    start, end = KINEMATICS.forward(start_deg), KINEMATICS.forward(end_deg)
    out = end.rotation[:, 2]  # the way the fingers point
    tilt = np.arcsin(out[2]) - np.arcsin(start.rotation[2, 2])
    # Roll against the horizontal: how far the frame's x axis has turned about the fingers' axis.
    roll = roll_angle(end.rotation) - roll_angle(start.rotation)
    moved = end.position_m - start.position_m
    return np.array([*moved, tilt, roll, end_deg[GRIPPER] - start_deg[GRIPPER]])


def roll_angle(rotation: FloatVector) -> float:
    sideways = np.cross(rotation[:, 2], [0.0, 0.0, 1.0])
    sideways /= np.linalg.norm(sideways)
    upright = np.cross(sideways, rotation[:, 2])
    return float(np.arctan2(-rotation[:, 0] @ sideways, -rotation[:, 0] @ upright))


@pytest.mark.parametrize("action", JOG_ACTIONS, ids=lambda action: action.label)
def test_a_held_key_moves_its_axis_and_no_other(action: JogAction) -> None:
    jog = Jog(ELBOW_UP_DEG)
    duration_s = 0.5
    jog.run(duration_s, action.keys[0])
    moved = motion_between(ELBOW_UP_DEG, jog.position_deg)

    full = SPEEDS.velocity(np.ones(6))
    expected = np.zeros(6)
    expected[action.axis] = action.sign * full[action.axis] * (duration_s - RISE_S / 2)
    assert moved[action.axis] == pytest.approx(expected[action.axis], rel=0.05)
    tolerance = np.array([1e-3, 1e-3, 1e-3, np.deg2rad(1.0), np.deg2rad(1.0), 1e-9])
    if action.axis in (JogAxis.LEFT, JogAxis.ROLL_RIGHT):
        # With five joints the fingers' heading follows the pan: roll against the horizon changes.
        tolerance[[JogAxis.TILT_UP, JogAxis.ROLL_RIGHT]] = np.deg2rad(10.0)
    others = np.arange(6) != action.axis
    assert np.all(np.abs(moved[others]) < tolerance[others])


def test_two_keys_move_along_the_diagonal() -> None:
    jog = Jog(ELBOW_UP_DEG)
    jog.run(0.5, "i", "y")
    moved = motion_between(ELBOW_UP_DEG, jog.position_deg)

    assert moved[JogAxis.FORWARD] == pytest.approx(moved[JogAxis.UP], rel=0.02)
    assert moved[JogAxis.FORWARD] > 0.02


def test_no_key_no_motion() -> None:
    jog = Jog(ELBOW_UP_DEG)

    assert all(np.array_equal(goal, ELBOW_UP_DEG) for goal in jog.run(0.5))


def test_the_first_goal_is_where_the_follower_stands_within_its_range() -> None:
    outside_deg = np.array([0.0, -103.0, 99.0, 0.0, 0.0, 101.0])
    first = Jog(outside_deg).tick("i", step_s=0.0)

    np.testing.assert_allclose(first, [0.0, -99.0, 95.8, 0.0, 0.0, 100.0])


def test_a_sagging_arm_does_not_make_the_goal_creep() -> None:
    jog = Jog(ELBOW_UP_DEG)
    first = jog.tick()
    for _ in range(200):
        jog.position_deg = first - 4.0  # gravity holds every joint 4 degrees below its goal
        jog.tick()

    np.testing.assert_array_equal(jog.position_deg, first)


def test_speed_rises_and_falls_without_a_jolt() -> None:
    jog = Jog(ELBOW_UP_DEG)
    goals = [jog.tick()]
    goals += jog.run(0.6, "i")
    goals += jog.run(0.2)
    points = np.array([KINEMATICS.forward(goal).position_m for goal in goals])
    speeds = np.linalg.norm(np.diff(points, axis=0), axis=1) / TICK_S

    assert speeds.max() == pytest.approx(SPEEDS.linear_m_s, rel=0.02)
    assert speeds[0] <= 1.05 * SPEEDS.linear_m_s * TICK_S / RISE_S
    assert np.diff(speeds).min() >= -1.05 * SPEEDS.linear_m_s * TICK_S / FALL_S
    stopped = 60 + round(FALL_S / TICK_S)
    assert np.all(speeds[stopped:] == 0.0)


def test_a_stalled_loop_does_not_lurch() -> None:
    jog = Jog(ELBOW_UP_DEG)
    jog.run(0.5, "i")
    before = KINEMATICS.forward(jog.position_deg).position_m
    jog.tick("i", step_s=3.0)
    after = KINEMATICS.forward(jog.position_deg).position_m

    assert np.linalg.norm(after - before) <= 1.01 * SPEEDS.linear_m_s * LONGEST_STEP_S


def test_a_goal_is_as_old_as_the_last_sign_of_life_of_the_display() -> None:
    jog = Jog(ELBOW_UP_DEG)
    jog.tick("i")
    jog.source._keys = Frozen(confirmed_s=99.5)
    goal = jog.source.goal(at(jog.position_deg), 101.0)

    assert goal.made_s == 99.5


class Frozen:
    """Keys whose display last answered a while ago."""

    def __init__(self, confirmed_s: float) -> None:
        self.confirmed_s = confirmed_s

    def held(self, now_s: float) -> set[str]:
        return set()


def test_a_goal_held_back_by_the_limits_does_not_wind_up() -> None:
    jog = Jog(ELBOW_UP_DEG)
    stuck_deg = jog.tick()
    for index in range(300):
        asked = jog.tick("u")
        jog.source.on_tick(
            Tick(index, jog.now_s, 0.0, 0, at(stuck_deg), asked, stuck_deg, jog.now_s)
        )
    step_deg = SPEEDS.roll_deg_s * TICK_S

    assert np.abs(jog.tick("u") - stuck_deg).max() <= WIND_UP_DEG + 1.01 * step_deg


@pytest.mark.parametrize("action", JOG_ACTIONS, ids=lambda action: action.label)
def test_held_to_the_end_a_key_stops_in_place_and_says_why(action: JogAction) -> None:
    jog = Jog(ELBOW_UP_DEG)
    goals = jog.run(10.0, action.keys[0])

    np.testing.assert_allclose(goals[-1], goals[-50], atol=0.05)
    assert np.all(goals[-1] >= LOW_DEG)
    assert np.all(goals[-1] <= HIGH_DEG)
    if action.axis is not JogAxis.OPEN:
        assert jog.source.blocked
    sideways = KINEMATICS.forward(goals[-1]).position_m - KINEMATICS.forward(goals[0]).position_m
    if action.axis in (JogAxis.FORWARD, JogAxis.LEFT, JogAxis.UP):
        sideways[action.axis] = 0.0
    assert np.linalg.norm(sideways) < 3e-3


def test_position_goes_on_where_a_joint_is_at_its_end_and_tilt_gives_way() -> None:
    wrist_at_end_deg = np.array([0.0, -10.0, -5.0, 94.0, 0.0, 50.0])
    jog = Jog(wrist_at_end_deg)
    jog.run(0.5, "j")
    moved = motion_between(wrist_at_end_deg, jog.position_deg)

    assert moved[JogAxis.LEFT] > 0.02
    assert np.abs(moved[[JogAxis.FORWARD, JogAxis.UP]]).max() < 1e-3
    assert jog.source.blocked == "wrist_flex is at its end: the gripper turns"


def test_a_stretched_arm_comes_back() -> None:
    jog = Jog(ELBOW_UP_DEG)
    jog.run(4.0, "i")
    far = KINEMATICS.forward(jog.position_deg).position_m
    jog.run(1.0, "k")
    near = KINEMATICS.forward(jog.position_deg).position_m

    assert far[0] - near[0] > 0.05


keys = st.sets(st.sampled_from([action.keys[0] for action in JOG_ACTIONS]), max_size=4)
starts = st.tuples(
    *(st.floats(low, high) for low, high in zip(LOW_DEG - 3, HIGH_DEG + 3, strict=True))
)


@settings(max_examples=60, deadline=None)
@given(start=starts, held=st.lists(st.tuples(keys, st.integers(1, 15)), max_size=5))
def test_whatever_is_pressed_goals_stay_in_range_and_never_jump(
    start: tuple[float, ...], held: list[tuple[set[str], int]]
) -> None:
    jog = Jog(np.array(start))
    last = jog.tick(step_s=0.0)
    for pressed, ticks in held:
        for _ in range(ticks):
            goal = jog.tick(*pressed)
            assert np.all((goal >= LOW_DEG) & (goal <= HIGH_DEG))
            assert np.abs(goal - last)[:GRIPPER].max() <= 1.0001 * JOINT_SPEED_DEG_S * TICK_S
            assert abs(goal[GRIPPER] - last[GRIPPER]) <= 1.0001 * SPEEDS.gripper_pct_s * TICK_S
            last = goal


def test_ramp_never_overshoots_and_reverses_through_rest_quickly() -> None:
    fractions = np.array([1.0, -1.0, 0.5, 0.0, 0.0, 0.0])
    wanted = np.array([-1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    after = ramp(fractions, wanted, FALL_S / 2)

    np.testing.assert_allclose(after, [0.5, -0.5, 0.5 + 0.1, 0.1, 0.0, 0.0])
    np.testing.assert_array_equal(ramp(fractions, wanted, 10.0), wanted)
