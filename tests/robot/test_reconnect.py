"""A USB adapter that goes and comes back, under a follower that keeps its torque meanwhile."""

import contextlib
import dataclasses

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench

from robot.arm import Follower
from robot.bus import ServoBus
from robot.errors import CalibrationMismatch, NotConnected
from robot.joints import SERVO_IDS
from robot.port import ServoPort
from robot.registers import GOAL_POSITION, HOMING_OFFSET, PRESENT_POSITION, TORQUE_ENABLE
from sim.faults import Fault
from sim.memory_serial import MemorySerial


@dataclasses.dataclass
class Plug:
    """The adapter of one bench; what `so101` finds through `Devices`."""

    bench: ArmBench
    opened: int = 0

    def reopen(self) -> ServoBus:
        try:
            line = MemorySerial(self.bench.bank, self.bench.clock, faults=self.bench.line.faults)
        except OSError as error:
            raise NotConnected("no serial device at bench") from error
        self.opened += 1
        return ServoBus(ServoPort(line, f"bench{self.opened}", self.bench.clock), self.bench.clock)

    def pull(self, duration_s: float) -> None:
        self.bench.line.faults.add(Fault("unplug", duration_s=duration_s))
        with contextlib.suppress(OSError):
            _ = self.bench.line.in_waiting  # from now on this line is dead


@pytest.fixture
def plug(bench: ArmBench) -> Plug:
    return Plug(bench)


@pytest.fixture
def follower(bench: ArmBench, plug: Plug) -> Follower:
    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock, plug.reopen)
    follower.torque_on()
    return follower


def wait(bench: ArmBench, seconds: float) -> None:
    bench.clock.sleep_until(bench.clock.now_s() + seconds)


def test_a_pulled_adapter_is_not_there_until_it_is_back(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(1.0)
    with pytest.raises(NotConnected, match="went away"):
        follower.read()

    assert not follower.reconnect()
    wait(bench, 1.1)
    assert follower.reconnect()
    assert follower.bus.port.name == "bench1"
    assert np.all(follower.read().time_s > 1.0)


def test_an_adapter_that_is_there_is_left_alone(follower: Follower, plug: Plug) -> None:
    assert follower.reconnect()
    assert plug.opened == 0


def test_joints_that_kept_torque_get_their_present_position_as_goal(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    follower.send_deg(np.array([10.0, 10.0, 10.0, 10.0, 10.0, 50.0]))
    plug.pull(0.5)
    wait(bench, 0.6)

    assert follower.reconnect()

    for place in SERVO_IDS:
        assert bench.bank.register(place, TORQUE_ENABLE) == 1
        goal = bench.bank.register(place, GOAL_POSITION)
        assert goal == bench.bank.register(place, PRESENT_POSITION)


def test_a_joint_without_torque_stays_without(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    wait(bench, 0.6)
    bench.bank.power_cycle()
    wait(bench, 0.1)

    assert follower.reconnect()
    follower.send_deg(np.zeros(6))

    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
    assert follower.release().is_off


def test_another_arm_on_the_cable_is_refused_and_not_written_to(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    wait(bench, 0.6)
    Plug(bench).reopen().write(3, HOMING_OFFSET, 77)
    before = bench.bank.eeprom()

    with pytest.raises(CalibrationMismatch, match="elbow_flex stores"):
        follower.reconnect()

    assert bench.bank.eeprom() == before
    assert not follower.release().is_reachable


def test_an_adapter_without_its_arm_is_not_there(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    wait(bench, 0.6)
    bench.bank.unplugged = set(SERVO_IDS)

    assert not follower.reconnect()
    bench.bank.unplugged = set()
    assert follower.reconnect()


def test_without_a_way_to_look_again_it_stays_away(bench: ArmBench) -> None:
    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock)
    Plug(bench).pull(0.1)
    wait(bench, 0.2)

    assert not follower.reconnect()
    assert not follower.release().is_reachable


def test_letting_go_reads_back_over_the_new_cable(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    assert not follower.release().is_reachable
    wait(bench, 0.6)

    assert follower.reconnect()
    assert follower.release().is_off
    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
