"""Goals near the table: lifted where they can be, kept where not, never lower than asked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_bench import model_calibration

from robot.arm_heights import ArmHeights, Lowest
from robot.health import GOOD, Health
from robot.joint_sample import JointSample
from robot.joints import FloatVector
from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD, ArmKinematics, model_rad_to_deg
from robot.limit_rules import MAX_ACCELERATION_DEG_S2, RAMP_AGREEMENT_DEG, RAMP_SPEED_DEG_S
from robot.limits import GoalLimiter
from robot.loop import Goal
from robot.table import LEANS_S, TABLE_ALLOWANCE_M, Floor, Leaning

HEIGHTS = ArmHeights()
ARM = ArmKinematics()
RATE_HZ = 100.0
SPEED_DEG_S = 270.0
STEP_DEG = SPEED_DEG_S / RATE_HZ
FREE_LOW, FREE_HIGH = (-1e3,) * 6, (1e3,) * 6
ABOVE_DEG = [0.0, -20.0, 30.0, 70.0, 0.0, 20.0]
STRETCHED_DEG = [0.0, 60.0, -60.0, 60.0, 0.0, 20.0]  # the shoulder does most of the lifting,
CURLED_DEG = [23.0, -23.0, 94.0, 90.0, 56.0, 65.0]  # and here all joints the other way round
SHARES = st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6)


def pose_deg(shares: list[float]) -> list[float]:
    rad = RANGE_MIN_RAD + np.array(shares) * (RANGE_MAX_RAD - RANGE_MIN_RAD)
    deg: list[float] = model_rad_to_deg(rad).tolist()
    return deg


def height_m(position_deg: FloatVector | list[float]) -> float:
    return HEIGHTS.lowest(list(position_deg)).height_m


def lowered(position_deg: list[float], to_m: float) -> list[float]:
    """The same pose with the shoulder bent until its lowest part is at a height."""
    low, high = position_deg[1], 100.0
    for _ in range(60):
        middle = (low + high) / 2.0
        bent = [position_deg[0], middle, *position_deg[2:]]
        low, high = (middle, high) if height_m(bent) > to_m else (low, middle)
    return [position_deg[0], low, *position_deg[2:]]


@pytest.mark.parametrize("above_m", [1e-3, 1e-6, 0.0, 0.05])
def test_a_goal_on_or_above_the_floor_is_left_alone(above_m: float) -> None:
    goal = lowered(ABOVE_DEG, 0.03)
    floor = Floor(height_m(goal) - above_m)

    assert floor.lift(goal, ABOVE_DEG, FREE_LOW, FREE_HIGH) is goal


@pytest.mark.parametrize("below_m", [1e-6, 1e-4, 1e-3, 1e-2, 3e-2])
def test_a_goal_below_the_floor_is_lifted_onto_it_by_the_joints_that_lift(below_m: float) -> None:
    floor = Floor(0.02)
    goal = lowered(ABOVE_DEG, 0.02 - below_m)

    lifted = floor.lift(goal, ABOVE_DEG, FREE_LOW, FREE_HIGH)

    assert 0.02 <= height_m(list(lifted)) < 0.02 + 5e-3
    assert [lifted[0], lifted[4], lifted[5]] == [goal[0], goal[4], goal[5]]
    assert np.abs(np.array(lifted) - goal).max() < 400.0 * below_m + 0.1


def test_a_goal_that_cannot_be_lifted_far_enough_is_not_followed() -> None:
    goal = lowered(ABOVE_DEG, -0.03)
    room = np.full(6, 1.0)

    kept = Floor(0.02).lift(
        goal, ABOVE_DEG, (np.array(goal) - room).tolist(), (np.array(goal) + room).tolist()
    )

    assert kept is ABOVE_DEG


def test_a_goal_whose_joints_have_no_room_is_not_followed() -> None:
    goal = lowered(ABOVE_DEG, -0.03)

    assert Floor(0.02).lift(goal, ABOVE_DEG, goal, goal) is ABOVE_DEG


def test_the_joints_that_have_room_do_the_lifting() -> None:
    goal = lowered(ABOVE_DEG, 0.015)
    low, high = list(FREE_LOW), list(FREE_HIGH)
    low[1] = high[1] = goal[1]

    lifted = Floor(0.02).lift(goal, ABOVE_DEG, low, high)

    assert height_m(list(lifted)) >= 0.02
    assert lifted[1] == goal[1]
    assert lifted[2] != goal[2]


@pytest.mark.parametrize("pose", [STRETCHED_DEG, CURLED_DEG])
def test_a_joint_at_its_bound_leaves_the_lifting_to_the_others(pose: list[float]) -> None:
    """Its share is not counted: else most of the way would be left, step after step."""
    lowest = HEIGHTS.lowest(pose)
    slope = HEIGHTS.slope_m_rad(pose, lowest)
    strongest = max(range(6), key=lambda joint: abs(slope[joint]))
    low, high = list(FREE_LOW), list(FREE_HIGH)
    if slope[strongest] > 0.0:
        high[strongest] = pose[strongest]
    else:
        low[strongest] = pose[strongest]
    floor_m = lowest.height_m + 0.004

    lifted = Floor(floor_m).lift(pose, ABOVE_DEG, low, high)

    assert floor_m <= height_m(list(lifted)) < floor_m + 1e-3
    assert lifted[strongest] == pose[strongest]


@pytest.mark.parametrize("pose", [STRETCHED_DEG, CURLED_DEG])
def test_an_arm_is_lifted_by_as_little_as_can_be(pose: list[float]) -> None:
    lowest = HEIGHTS.lowest(pose)
    slope = np.array(HEIGHTS.slope_m_rad(pose, lowest))[1:4]

    lifted = Floor(lowest.height_m + 1e-4).lift(pose, ABOVE_DEG, FREE_LOW, FREE_HIGH)

    moved_rad = np.deg2rad(np.array(lifted) - pose)[1:4]
    assert moved_rad == pytest.approx(slope * 1.1e-4 / (slope @ slope), rel=0.05)


def test_an_arm_that_nothing_lifts_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    floor = Floor(0.02)
    goal = lowered(ABOVE_DEG, 0.01)

    def no_slope(_self: ArmHeights, _position: list[float], _lowest: Lowest) -> list[float]:
        return [0.0, 1e-4, -1e-4, 1e-4, 0.0, 0.0]

    monkeypatch.setattr(ArmHeights, "slope_m_rad", no_slope)

    assert floor.lift(goal, ABOVE_DEG, FREE_LOW, FREE_HIGH) is ABOVE_DEG


def test_an_arm_below_the_floor_may_only_rise() -> None:
    last = lowered(ABOVE_DEG, -0.02)
    floor = Floor(0.02)

    higher = floor.lift(lowered(ABOVE_DEG, -0.01), last, FREE_LOW, FREE_HIGH)
    lower = floor.lift(lowered(ABOVE_DEG, -0.03), last, FREE_LOW, FREE_HIGH)

    assert height_m(list(higher)) == pytest.approx(-0.01, abs=1e-6)
    assert height_m(list(lower)) >= height_m(last)


@given(SHARES, SHARES, st.floats(-0.1, 0.2))
def test_whatever_is_asked_nothing_goes_lower(
    goal: list[float], last: list[float], floor_m: float
) -> None:
    goal_deg, last_deg = pose_deg(goal), pose_deg(last)

    sent = list(Floor(floor_m).lift(goal_deg, last_deg, FREE_LOW, FREE_HIGH))

    assert height_m(sent) >= min(floor_m, height_m(last_deg)) - 1e-12
    assert sent == last_deg or height_m(sent) >= min(height_m(goal_deg), floor_m) - 1e-12


@given(SHARES, SHARES, st.floats(0.1, 5.0))
def test_a_lifted_goal_stays_between_its_bounds(
    goal: list[float], last: list[float], room_deg: float
) -> None:
    goal_deg, last_deg = pose_deg(goal), pose_deg(last)
    low = [value - room_deg for value in goal_deg]
    high = [value + room_deg for value in goal_deg]

    sent = Floor(0.05).lift(goal_deg, last_deg, low, high)

    if sent is not last_deg:
        assert np.all(np.array(sent) >= np.array(low) - 1e-12)
        assert np.all(np.array(sent) <= np.array(high) + 1e-12)


# --- in the limiter ------------------------------------------------------------------------------


class Arm:
    """A limiter with a table at 0, and an arm that goes where it is sent."""

    def __init__(self, start_deg: list[float], table_height_m: float | None = 0.0) -> None:
        self.position_deg: FloatVector = np.array(start_deg)
        self.limiter = GoalLimiter(
            model_calibration(),
            rate_hz=RATE_HZ,
            max_speed_deg_s=SPEED_DEG_S,
            table_height_m=table_height_m,
        )
        self.tick = 0

    def ask(self, goal_deg: FloatVector | list[float], health: Health = GOOD) -> FloatVector:
        now_s = self.tick / RATE_HZ
        zero = np.zeros(6)
        sample = JointSample(zero, self.position_deg, zero, zero, zero, zero, zero, (0,) * 6)
        goal = Goal(np.array(goal_deg, dtype=np.float64), now_s)
        self.position_deg = self.limiter.limit(goal, sample, health, now_s)
        self.tick += 1
        return self.position_deg


def test_an_arm_slides_along_the_table_instead_of_sticking() -> None:
    """Asked to draw a line 3 cm under the table, it draws it on the table's allowance."""
    points = np.linspace([0.22, 0.0], [0.28, 0.05], 200)
    under = [
        ARM.inverse(np.array([*point, -0.03]), np.array(ABOVE_DEG)).position_deg for point in points
    ]
    over = ARM.inverse(np.array([0.22, 0.0, 0.05]), np.array(ABOVE_DEG)).position_deg
    arm = Arm(over.tolist())
    for _ in range(100):
        arm.ask(under[0])
    heights_m: list[float] = []
    places: list[FloatVector] = []
    for goal in under:
        sent = arm.ask(goal)
        heights_m.append(height_m(sent))
        places.append(ARM.forward(sent).position_m[:2])

    assert min(heights_m) >= -TABLE_ALLOWANCE_M - 1e-9
    assert max(heights_m) < -TABLE_ALLOWANCE_M + 2e-3
    went_m = np.linalg.norm(places[-1] - places[0])
    assert went_m == pytest.approx(np.linalg.norm(points[-1] - points[0]), abs=0.02)
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).min() > 1e-5


def test_without_a_height_there_is_no_table() -> None:
    arm = Arm(ABOVE_DEG, table_height_m=None)
    goal = lowered(ABOVE_DEG, -0.03)
    for _ in range(400):
        arm.ask(goal)

    assert height_m(arm.position_deg) == pytest.approx(-0.03, abs=1e-6)


@pytest.mark.parametrize("table_height_m", [-0.02, 0.0, 0.04])
def test_the_table_is_where_the_profile_says(table_height_m: float) -> None:
    arm = Arm(ABOVE_DEG, table_height_m)
    goal = lowered(ABOVE_DEG, -0.06)
    for _ in range(400):
        arm.ask(goal)

    lowest_m = height_m(arm.position_deg)
    assert lowest_m == pytest.approx(table_height_m - TABLE_ALLOWANCE_M, abs=1e-3)
    assert lowest_m >= table_height_m - TABLE_ALLOWANCE_M


@given(SHARES, st.lists(SHARES, min_size=2, max_size=12))
def test_any_goals_stay_above_the_table_and_within_the_speed(
    start: list[float], goals: list[list[float]]
) -> None:
    start_deg = np.clip(pose_deg(start), *model_calibration().range_deg).tolist()
    arm = Arm(start_deg)
    floor_m = -TABLE_ALLOWANCE_M
    for goal in goals:
        for _ in range(8):
            last = arm.position_deg
            sent = arm.ask(pose_deg(goal))
            assert np.abs(sent - last).max() <= STEP_DEG + 1e-9
            assert height_m(sent) >= min(floor_m, height_m(last)) - 1e-9


def test_the_ramp_holds_on_the_table_too() -> None:
    arm = Arm(ABOVE_DEG)
    goal = lowered(ABOVE_DEG, -0.06)
    for _ in range(300):
        last = arm.position_deg
        sent = arm.ask(goal)
        assert np.abs(sent - last).max() <= RAMP_SPEED_DEG_S / RATE_HZ + 1e-9


@given(st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6), st.integers(0, 30))
def test_lifting_speeds_no_joint_up_faster_than_it_may(steps: list[float], stop: int) -> None:
    arm = Arm(ABOVE_DEG)
    goal: FloatVector = np.array(ABOVE_DEG)
    last_step: FloatVector = np.zeros(6)
    for tick in range(90):
        last = arm.position_deg
        goal = goal + (np.array(steps) if tick < 50 + stop else 0.0)
        step = arm.ask(np.clip(goal, -60.0, 80.0)) - last
        change_deg = MAX_ACCELERATION_DEG_S2 / RATE_HZ**2 + 1e-9
        assert np.all(step <= np.maximum(last_step, 0.0) + change_deg)
        assert np.all(step >= np.minimum(last_step, 0.0) - change_deg)
        last_step = step


@pytest.mark.parametrize("joint", [1, 2, 3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_table_does_not_push_a_joint_through_its_fence(joint: int, sign: float) -> None:
    """The joint is held where it is; the others are told to go below the table."""
    start = lowered(ABOVE_DEG, 0.0)
    edge_deg = start[joint]
    below, above = [-np.inf] * 6, [np.inf] * 6
    (above if sign > 0 else below)[joint] = edge_deg
    fenced = replace(GOOD, not_below_deg=tuple(below), not_above_deg=tuple(above))
    for other in (1, 2, 3):
        for way in (40.0, -40.0):
            arm = Arm(start)
            goal = list(start)
            goal[other] += way
            for _ in range(150):
                sent = arm.ask(goal, fenced)
                assert sign * (sent[joint] - edge_deg) <= 1e-9


def test_the_ramp_ends_on_the_table_below_which_the_goal_is() -> None:
    arm = Arm(ABOVE_DEG)
    goal = lowered(ABOVE_DEG, -0.06)
    for _ in range(300):
        arm.ask(goal)

    assert abs(arm.position_deg[1] - goal[1]) > 2.0 * RAMP_AGREEMENT_DEG
    assert not arm.limiter.is_ramping


@pytest.mark.parametrize("joint", [0, 4, 5])
def test_the_ramp_goes_on_until_what_the_table_does_not_hold_agrees(joint: int) -> None:
    """Nor does it end while the arm still slides along the table."""
    arm = Arm(ABOVE_DEG)
    goal = lowered(ABOVE_DEG, -0.06)
    goal[joint] += 70.0
    while arm.limiter.is_ramping:
        last = arm.position_deg
        sent = arm.ask(goal)
        if arm.limiter.is_ramping:
            assert np.abs(sent - last).max() <= RAMP_SPEED_DEG_S / RATE_HZ + 1e-9
        assert arm.tick < 500

    assert abs(arm.position_deg[joint] - goal[joint]) <= RAMP_AGREEMENT_DEG


def test_an_arm_leans_that_was_lifted_in_one_place_for_a_while() -> None:
    leaning = Leaning(RATE_HZ)
    needed = round(LEANS_S * RATE_HZ)

    def told(is_lifted: bool, lift_deg: float, ticks: int) -> bool:
        for _ in range(ticks):
            leaning.update(is_lifted, [99.0, lift_deg, 0.0, 0.0, 0.0, 0.0])
        return leaning.is_so

    assert not told(True, 10.0, needed - 1)
    assert told(True, 11.0, 1)
    assert not told(True, 11.1, 1)
    assert not told(True, 12.0, needed - 2)
    assert told(True, 12.0, 1)
    assert not told(False, 12.0, 1)
    assert not told(True, 12.0, needed - 1)
    assert told(True, 12.0, 1)
