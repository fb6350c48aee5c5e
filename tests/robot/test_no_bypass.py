"""A new goal source cannot bypass the limits: by construction, and tried by a hostile one.

By construction: a source is given a sample and a time, never an arm or a bus; and the whole program
has one call that sends a goal (in the loop, after the limiter), one place that packs goals for the
wire (in the arm), and a known few that write one servo's goal register.
"""

import ast
import inspect
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.arm import Follower
from robot.errors import LimitRefused
from robot.health import HealthMonitor
from robot.joint_sample import JointSample
from robot.joints import SERVO_IDS, FloatVector, deg_to_ticks, ticks_to_deg
from robot.limits import GoalLimiter
from robot.loop import Goal, GoalSource, Tick, run_control_loop
from robot.registers import GOAL_POSITION

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("robot", "teleop", "record", "deploy", "calibration", "train", "scripts")
RATE_HZ = 100.0
MAX_SPEED_DEG_S = 270.0
# Who may name the goal register, beside the table itself: the bus packs goals for all six, the
# arm's set-up puts goal := present before torque.
GOAL_REGISTER = {"robot/arm_setup.py", "robot/bus.py", "robot/registers.py"}


def calls(name: str) -> list[str]:
    """Return the modules that call a method of this name, once a call."""
    found: list[str] = []
    for path, node in nodes():
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == name
        ):
            found.append(path)
    return found


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Return every node of the program's own modules, with its module."""
    return [
        (path.relative_to(CHECKOUT).as_posix(), node)
        for room in ROOMS
        for path in sorted((CHECKOUT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
    ]


def test_one_call_in_the_program_sends_goals_and_one_packs_them() -> None:
    assert [path for path in calls("send_deg") if path != "robot/arm_pair.py"] == ["robot/loop.py"]
    assert calls("write_goals") == ["robot/arm.py"]


def test_few_modules_know_the_goal_register() -> None:
    named = {
        path
        for path, node in nodes()
        if isinstance(node, ast.Name | ast.alias)
        and (node.id if isinstance(node, ast.Name) else node.name) == "GOAL_POSITION"
    }
    assert named <= GOAL_REGISTER


def test_the_loop_sends_what_the_limiter_returned_and_nothing_else() -> None:
    """`sent_deg` is assigned by the limiter alone between the source's answer and the wire."""
    tree = ast.parse((CHECKOUT / "robot/loop.py").read_text())
    loop = next(n for n in ast.walk(tree) if isinstance(n, ast.While))
    assigned = [
        ast.unparse(node.value)
        for node in ast.walk(loop)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "sent_deg"
    ]
    sent = [
        ast.unparse(n)
        for n in ast.walk(loop)
        if isinstance(n, ast.Call) and "send_deg" in ast.unparse(n.func)
    ]
    assert assigned == ["limiter.limit(goal, observed, health, start_s)"]
    assert sent == ["arm.send_deg(sent_deg)"]


def test_a_source_is_given_nothing_that_could_move_an_arm() -> None:
    names = list(inspect.signature(GoalSource.goal).parameters)
    assert names == ["self", "observed", "now_s"]


class HostileGoals:
    """Asks for whatever it was given, whenever it says it was made; and scribbles on the sample."""

    def __init__(self, asked: list[tuple[list[float], float]]) -> None:
        self._asked = asked
        self._turn = -1

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        self._turn += 1
        numbers, age_s = self._asked[self._turn % len(self._asked)]
        return Goal(np.array(numbers), now_s - age_s)


number = st.one_of(
    st.floats(-1e9, 1e9), st.floats(-200, 200), st.sampled_from([np.inf, -np.inf, np.nan, 0.0])
)
asked = st.lists(
    st.tuples(st.lists(number, min_size=6, max_size=6), st.floats(-10, 10)), min_size=1, max_size=12
)


@settings(max_examples=20, deadline=None)
@given(asked=asked)
def test_whatever_a_source_asks_the_servos_goals_stay_in_range_and_within_the_speed(
    asked: list[tuple[list[float], float]],
) -> None:
    bench = ArmBench()
    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock)
    follower.torque_on()
    low_deg, high_deg = CALIBRATION.range_deg
    goals: list[FloatVector] = []

    def goal_deg() -> FloatVector:
        ticks = np.array([bench.bank.register(i, GOAL_POSITION) for i in SERVO_IDS])
        return ticks_to_deg(ticks, CALIBRATION)

    class Watch:
        def on_tick(self, tick: Tick) -> None:
            bench.clock.sleep_until(bench.clock.now_s() + 0.001)  # the last byte arrives
            goals.append(goal_deg())

    before = goal_deg()
    with suppress(LimitRefused):  # not six finite numbers: nothing was sent
        run_control_loop(
            arm=follower,
            source=HostileGoals(asked),
            monitor=HealthMonitor(),
            limiter=GoalLimiter(CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=MAX_SPEED_DEG_S),
            listeners=[Watch()],
            rate_hz=RATE_HZ,
            clock=bench.clock,
            should_stop=lambda: len(goals) >= 25,
        )
    a_tick = 0.2  # degrees (gripper: percent) that rounding to ticks may add
    for goal in goals:
        assert (goal >= low_deg - a_tick).all()
        assert (goal <= high_deg + a_tick).all()
        assert (np.abs(goal - before) <= MAX_SPEED_DEG_S / RATE_HZ + 2 * a_tick).all()
        before = goal
    assert (deg_to_ticks(before, CALIBRATION) >= CALIBRATION.range_min_ticks).all()


@pytest.mark.parametrize("shape", [5, 7])
def test_a_goal_of_another_shape_is_refused_and_nothing_is_sent(shape: int) -> None:
    bench = ArmBench()
    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock)
    follower.torque_on()
    before = [bench.bank.register(i, GOAL_POSITION) for i in SERVO_IDS]
    with pytest.raises(LimitRefused):
        run_control_loop(
            arm=follower,
            source=HostileGoals([([0.0] * shape, 0.0)]),
            monitor=HealthMonitor(),
            limiter=GoalLimiter(CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=MAX_SPEED_DEG_S),
            listeners=[],
            rate_hz=RATE_HZ,
            clock=bench.clock,
            should_stop=lambda: False,
        )
    assert [bench.bank.register(i, GOAL_POSITION) for i in SERVO_IDS] == before
