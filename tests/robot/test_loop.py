import sys
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench

from robot.arm import Follower, Leader
from robot.bus import ServoBus
from robot.clock import Clock
from robot.errors import LimitRefused, NotConnected
from robot.health import Health, HealthMonitor
from robot.joint_sample import JointSample
from robot.joints import JOINTS, SERVO_IDS, Calibration, FloatVector, deg_to_ticks, ticks_to_deg
from robot.limits import GoalLimiter
from robot.loop import Goal, Tick, run_control_loop
from robot.registers import GOAL_POSITION, TORQUE_ENABLE
from robot.torque import TorqueStates
from sim.faults import Fault
from teleop.leader import LeaderGoals

RATE_HZ = 100.0
CHECKOUT = Path(__file__).resolve().parents[2]


def do_nothing() -> None:
    """Stand for what a part of the loop may do besides its work."""


def fail_with(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


class LoggedFollower(Follower):
    """A follower that notes what the loop asks of it."""

    def __init__(self, bus: ServoBus, calibration: Calibration, clock: Clock) -> None:
        super().__init__(bus, calibration, clock)
        self.log: list[str] = []

    def read(self) -> JointSample:
        self.log.append("read")
        return super().read()

    def send_deg(self, goal_deg: FloatVector) -> None:
        self.log.append("send")
        super().send_deg(goal_deg)

    def release(self) -> TorqueStates:
        self.log.append("release")
        return super().release()


class LoggedLimiter(GoalLimiter):
    """The limiter, noted."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=270.0)
        self.log = log
        self.on_call: Callable[[], None] = do_nothing

    def limit(self, goal: Goal, observed: JointSample, health: Health, now_s: float) -> FloatVector:
        self.log.append("limit")
        self.on_call()
        return super().limit(goal, observed, health, now_s)


class PanGoals:
    """Turn shoulder_pan by a degree a tick, always in the same array; or ask for `fixed_deg`."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.on_call: Callable[[], None] = do_nothing
        self.fixed_deg: FloatVector | None = None
        self._goal_deg: FloatVector | None = None

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        self.log.append("ask")
        self.on_call()
        if self.fixed_deg is not None:
            return Goal(self.fixed_deg, now_s)
        if self._goal_deg is None:
            self._goal_deg = observed.position_deg.copy()
        self._goal_deg[0] += 1.0
        return Goal(self._goal_deg, now_s)


class Ticks(list[Tick]):
    """Listener that keeps every tick."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log
        self.on_call: Callable[[], None] = do_nothing

    def on_tick(self, tick: Tick) -> None:
        self.log.append("tell")
        self.on_call()
        self.append(tick)


class Loop:
    """A control loop on one emulated arm, every part of it noted in `log`."""

    def __init__(self, bench: ArmBench) -> None:
        self.bench = bench
        bench.calibrate()
        follower = LoggedFollower.open(bench.bus, CALIBRATION, bench.clock)
        assert isinstance(follower, LoggedFollower)
        self.follower = follower
        self.log = follower.log
        self.source = PanGoals(self.log)
        self.limiter = LoggedLimiter(self.log)
        self.ticks = Ticks(self.log)
        self.follower.torque_on()
        self.log.clear()

    def run(self, turns: int, clock: Clock | None = None) -> None:
        run_control_loop(
            arm=self.follower,
            source=self.source,
            monitor=HealthMonitor(),
            limiter=self.limiter,
            listeners=[self.ticks],
            rate_hz=RATE_HZ,
            clock=clock or self.bench.clock,
            should_stop=lambda: len(self.ticks) >= turns,
        )

    def torque(self) -> list[int]:
        return [self.bench.bus.read(i, TORQUE_ENABLE) for i in SERVO_IDS]

    def goal_ticks(self) -> list[int]:
        return [self.bench.bus.read(i, GOAL_POSITION) for i in SERVO_IDS]


@pytest.fixture
def loop(bench: ArmBench) -> Loop:
    return Loop(bench)


def test_a_turn_reads_asks_limits_sends_and_tells_in_that_order(loop: Loop) -> None:
    loop.run(2)

    assert loop.log == [*["read", "ask", "limit", "send", "tell"] * 2, "release"]


def test_being_told_to_stop_at_once_sends_nothing_and_releases(loop: Loop) -> None:
    assert loop.torque() == [1] * 6

    loop.run(0)

    assert loop.log == ["release"]
    assert loop.torque() == [0] * 6


@pytest.mark.parametrize("error", [RuntimeError("a defect"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("part", ["source", "limiter", "ticks"])
def test_whatever_fails_passes_through_after_the_release(
    loop: Loop, part: str, error: BaseException
) -> None:
    loop.run(1)
    loop.follower.torque_on()
    getattr(loop, part).on_call = fail_with(error)

    with pytest.raises(type(error)) as raised:
        loop.run(9)

    assert raised.value is error
    assert loop.follower.torque_state.is_off
    assert loop.torque() == [0] * 6
    assert len(loop.ticks) == 1


def test_a_refused_goal_ends_the_loop_and_no_servo_gets_it(loop: Loop) -> None:
    before = loop.goal_ticks()
    loop.source.fixed_deg = np.full(6, np.nan)

    with pytest.raises(LimitRefused):
        loop.run(9)

    assert loop.goal_ticks() == before
    assert loop.torque() == [0] * 6


@pytest.mark.parametrize("part", ["source", "ticks"])
def test_a_pulled_cable_ends_the_loop_and_says_that_torque_is_unknown(
    loop: Loop, part: str
) -> None:
    """Pulled between reading and sending, and before the next reading."""

    def pull() -> None:
        loop.bench.line.is_gone = True

    getattr(loop, part).on_call = pull

    with pytest.raises(NotConnected, match="cut the power"):
        loop.run(9)

    assert loop.log[-2:] == [{"source": "send", "ticks": "read"}[part], "release"]
    assert not loop.follower.torque_state.is_reachable


def test_a_tick_holds_the_goal_asked_the_goal_sent_and_the_sample_before_them(loop: Loop) -> None:
    loop.run(4)

    start_deg = loop.ticks[0].observed.position_deg[0]
    assert [tick.index for tick in loop.ticks] == [0, 1, 2, 3]
    # The source hands out one array that it goes on changing: a tick keeps what was asked then.
    assert [tick.asked_deg[0] - start_deg for tick in loop.ticks] == pytest.approx([1, 2, 3, 4])
    for tick in loop.ticks:
        assert np.all(tick.observed.time_s >= tick.time_s)  # asked at once
        assert np.all(tick.observed.time_s < tick.sent_s)
    assert loop.goal_ticks() == deg_to_ticks(loop.ticks[-1].sent_deg, CALIBRATION).tolist()


def test_what_is_sent_is_the_limits_word_and_not_the_sources(loop: Loop) -> None:
    loop.source.fixed_deg = np.full(6, 500.0)

    loop.run(3)

    for tick in loop.ticks:
        assert np.all(tick.asked_deg == 500.0)
        assert np.all(tick.sent_deg < 200.0)
    sent_deg = ticks_to_deg(loop.goal_ticks(), CALIBRATION)
    assert sent_deg == pytest.approx(loop.ticks[-1].sent_deg, abs=0.1)


class LateClock:
    """A machine that wakes a program 3 ms after it asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now_s(self) -> float:
        return self._clock.now_s()

    def sleep_until(self, deadline_s: float) -> None:
        self._clock.sleep_until(deadline_s + 0.003)


def test_a_late_wake_up_is_told_with_the_tick_that_it_delayed(loop: Loop) -> None:
    loop.run(3, LateClock(loop.bench.clock))

    assert [tick.lateness_s for tick in loop.ticks] == pytest.approx([0.0, 0.003, 0.003])
    assert [tick.missed for tick in loop.ticks] == [0, 0, 0]


def test_slots_that_a_slow_listener_cost_are_told_from_the_next_tick_on(loop: Loop) -> None:
    def take_long() -> None:
        if len(loop.ticks) == 1:
            loop.bench.clock.sleep_until(loop.ticks[0].time_s + 0.010 + 0.025)

    loop.ticks.on_call = take_long
    loop.run(4)

    assert [tick.missed for tick in loop.ticks] == [0, 0, 2, 2]
    starts_s = [tick.time_s for tick in loop.ticks]
    assert np.diff(starts_s) == pytest.approx([0.01, 0.03, 0.01])


@contextmanager
def modules_called() -> Generator[set[str]]:
    """Collect the project's modules in which any function is entered, as paths of the checkout."""
    found: set[str] = set()
    monitor = sys.monitoring

    def on_start(code: CodeType, _offset: int) -> None:
        path = Path(code.co_filename)
        if path.is_relative_to(CHECKOUT):
            found.add(str(path.relative_to(CHECKOUT)))

    tool = next(number for number in range(6) if monitor.get_tool(number) is None)
    monitor.use_tool_id(tool, "modules called")
    monitor.register_callback(tool, monitor.events.PY_START, on_start)
    monitor.set_events(tool, monitor.events.PY_START)
    try:
        yield found
    finally:
        monitor.set_events(tool, monitor.events.NO_EVENTS)
        monitor.free_tool_id(tool)


CONTROL = {
    f"robot/{name}.py"
    for name in (
        "arm",
        "bus",
        "bus_faults",
        "bus_input",
        "clock",
        "health",
        "health_fences",
        "health_rules",
        "health_timers",
        "joint_limiter",
        "joint_reader",
        "joints",
        "limit_rules",
        "limits",
        "loop",
        "packets",
        "port",
        "power",
        "registers",
        "torque",
        "torque_limits",
    )
}


def test_a_turn_enters_the_control_modules_and_the_source_in_use_and_nothing_else(
    bench: ArmBench,
) -> None:
    other = ArmBench(clock=bench.clock)
    for arm in (bench, other):
        arm.calibrate()
    source = LeaderGoals(Leader.open(other.bus, CALIBRATION))
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock)
    follower.torque_on()
    turns = iter(range(4))

    with modules_called() as found:
        run_control_loop(
            arm=follower,
            source=source,
            monitor=HealthMonitor(),
            limiter=GoalLimiter(CALIBRATION, rate_hz=RATE_HZ, max_speed_deg_s=270.0),
            listeners=[Ticks([])],
            rate_hz=RATE_HZ,
            clock=bench.clock,
            should_stop=lambda: next(turns) == 3,
        )

    # sim/ and the bench are the arms themselves, behind the wire; the listener is this file's own.
    control = {path for path in found if not path.startswith(("sim/", "tests/", ".venv/"))}
    assert control == CONTROL | {"teleop/leader.py"}


def test_only_joints_that_were_set_up_again_start_anew(loop: Loop) -> None:
    """The others keep their goals: an arm that sags must not be told to stay where it sags to."""
    asked: list[set[str]] = []

    class Noting(LoggedLimiter):
        def rearm(self, joints: Collection[str] = JOINTS) -> None:
            asked.append(set(joints))
            super().rearm(joints)

    loop.limiter = Noting(loop.log)
    loop.bench.line.faults.add(Fault("brownout", servo=3, duration_s=0.1))

    loop.run(1)
    asked.clear()  # all of them, for the first goal
    loop.follower.torque_on()
    loop.run(60)

    assert asked == [{"elbow_flex"}]
