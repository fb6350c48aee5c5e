"""How strong the joints are: less on the way to rest, nothing when they sink, all at power-on."""

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench

from robot.arm import Follower
from robot.joints import SERVO_IDS
from robot.registers import TORQUE_LIMIT
from robot.torque_limits import SINK_S
from sim.faults import Fault


@pytest.fixture
def follower(bench: ArmBench) -> Follower:
    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock)
    follower.torque_on()
    return follower


def limits(bench: ArmBench) -> list[int]:
    return [bench.bank.register(place, TORQUE_LIMIT) for place in SERVO_IDS]


def test_at_power_on_all_is_allowed(bench: ArmBench, follower: Follower) -> None:
    follower.set_torque_limit_pct(10.0)
    follower.release()

    follower.torque_on()

    assert limits(bench) == [1000] * 5 + [500]


@pytest.mark.parametrize(
    ("limit_pct", "expected"),
    [(60.0, [600] * 5 + [500]), (20.0, [200] * 6), (0.0, [0] * 6), (150.0, [1000] * 5 + [500])],
)
def test_a_limit_holds_for_all_joints_and_never_raises_the_grippers(
    bench: ArmBench, follower: Follower, limit_pct: float, expected: list[int]
) -> None:
    follower.set_torque_limit_pct(limit_pct)

    assert limits(bench) == expected


def test_an_arm_sinks_step_by_step_to_nothing(bench: ArmBench, follower: Follower) -> None:
    follower.set_torque_limit_pct(60.0)
    seen: list[int] = []
    bench.clock.after_step = lambda: seen.append(bench.bank.register(2, TORQUE_LIMIT))
    began_s = bench.clock.now_s()

    follower.sink(bench.clock)

    assert bench.clock.now_s() - began_s == pytest.approx(SINK_S, abs=0.05)
    assert limits(bench) == [0] * 6
    assert max(abs(np.diff(seen))) <= 600 / 40 + 1
    assert all(np.diff(seen) <= 0)


def test_an_arm_that_sinks_is_let_go_at_once_when_told(bench: ArmBench, follower: Follower) -> None:
    end_s = bench.clock.now_s() + 0.5

    follower.sink(bench.clock, lambda: bench.clock.now_s() >= end_s)

    assert bench.clock.now_s() < end_s + 0.1


def test_an_unplugged_arm_cannot_be_let_sink(bench: ArmBench, follower: Follower) -> None:
    bench.line.faults.add(Fault("unplug"))
    began_s = bench.clock.now_s()

    follower.sink(bench.clock)

    assert bench.clock.now_s() - began_s < 0.1
