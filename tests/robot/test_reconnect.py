"""A USB adapter that goes and comes back, under a follower that keeps its torque meanwhile."""

import contextlib
import dataclasses

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench

from robot.arm import Follower
from robot.bus import ServoBus
from robot.errors import (
    CalibrationMismatch,
    ConfigError,
    JointLost,
    NoPermission,
    NotConnected,
    So101Error,
)
from robot.joints import SERVO_IDS
from robot.port import ServoPort
from robot.registers import (
    GOAL_POSITION,
    HOMING_OFFSET,
    PRESENT_POSITION,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
)
from robot.torque import TorqueState
from sim.faults import Fault
from sim.memory_serial import MemorySerial


@dataclasses.dataclass
class Plug:
    """The adapter of one bench; what `so101` finds through `Devices`."""

    bench: ArmBench
    opened: int = 0
    lines: list[MemorySerial] = dataclasses.field(default_factory=list[MemorySerial])

    def reopen(self) -> ServoBus:
        try:
            line = MemorySerial(self.bench.bank, self.bench.clock, faults=self.bench.line.faults)
        except OSError as error:
            raise NotConnected("no serial device at bench") from error
        self.opened += 1
        self.lines.append(line)
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

    assert not follower.release().is_reachable  # looks once more
    assert bench.bank.eeprom() == before
    assert len(plug.lines) == 2
    for line in plug.lines:
        instructions = {packet[2] for packet in bytes(line.sent).split(b"\xff\xff") if packet}
        assert instructions <= {0x02, 0x82}  # READ and SYNC_READ


def test_an_adapter_without_its_arm_is_not_there(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    wait(bench, 0.6)
    bench.bank.unplugged = set(SERVO_IDS)

    assert not follower.reconnect()
    bench.bank.unplugged = set()
    assert follower.reconnect()


def test_a_servo_that_stays_mute_is_lost_and_the_others_can_still_be_let_go(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    wait(bench, 0.6)
    bench.line.faults.add(Fault("mute", servo=3))

    with pytest.raises(JointLost, match=r"elbow_flex \(servo 3\) on bench1 is mute"):
        follower.reconnect()

    follower.sink(bench.clock)
    assert [bench.bank.register(i, TORQUE_LIMIT) for i in SERVO_IDS] == [0] * 6
    states = follower.release()
    assert states.joints[2] is TorqueState.UNREACHABLE
    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6


@pytest.mark.parametrize("request_hex", ["", "0228", "022a", "032a"])  # torque, goal, goal written
def test_replies_that_are_lost_on_the_way_back_do_not_end_the_search(
    bench: ArmBench, follower: Follower, plug: Plug, request_hex: str
) -> None:
    plug.pull(0.5)
    wait(bench, 0.6)
    lost = Fault("drop", servo=3, count=5, request_hex=request_hex)
    bench.line.faults.add(lost)

    assert follower.reconnect()
    follower.send_deg(np.array([10.0] * 6))

    assert bench.bank.register(3, GOAL_POSITION) != bench.bank.register(3, PRESENT_POSITION)
    assert follower.release().is_off


def test_a_joint_that_lost_its_torque_meanwhile_is_lost_when_others_kept_theirs(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    wait(bench, 0.6)
    bench.bank.power_off([3])
    bench.bank.power_on([3])
    wait(bench, 0.1)

    with pytest.raises(JointLost, match=r"elbow_flex \(servo 3\) on bench1 came back without"):
        follower.reconnect()
    assert bench.bank.register(3, TORQUE_ENABLE) == 0
    assert follower.release().is_off


def test_an_arm_that_is_not_wanted_on_is_let_go_when_it_is_back(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    assert not follower.release().is_reachable
    wait(bench, 0.6)
    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [1] * 6

    assert follower.reconnect()

    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
    assert follower.torque_state.is_off


def test_letting_go_looks_for_an_adapter_that_is_back_already(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    plug.pull(0.5)
    wait(bench, 0.6)

    assert follower.release().is_off
    assert plug.opened == 1
    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6


def test_a_torque_limit_outlasts_the_cable(bench: ArmBench, follower: Follower, plug: Plug) -> None:
    follower.set_torque_limit_pct(40.0)
    plug.pull(0.5)
    wait(bench, 0.6)
    assert follower.reconnect()
    limits: list[int] = []
    bench.clock.after_step = lambda: limits.append(bench.bank.register(1, TORQUE_LIMIT))

    follower.sink(bench.clock)

    assert max(limits) <= 400


def test_what_was_heard_before_the_cable_is_never_taken_for_new(
    bench: ArmBench, follower: Follower, plug: Plug
) -> None:
    before = follower.read()
    plug.pull(0.5)
    wait(bench, 0.6)
    assert follower.reconnect()
    bench.bank.unplugged = {2}

    after = follower.read()

    assert after.time_s[1] == before.time_s[1]
    assert after.position_deg[1] == before.position_deg[1]


@pytest.mark.parametrize("error", [ConfigError("half there"), NoPermission("no rights yet")])
def test_a_device_that_cannot_be_opened_yet_is_looked_for_again(
    bench: ArmBench, plug: Plug, error: So101Error
) -> None:
    failures: list[So101Error] = [error]

    def reopen() -> ServoBus:
        if failures:
            raise failures.pop()
        return plug.reopen()

    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock, reopen)
    follower.torque_on()
    plug.pull(0.1)
    wait(bench, 0.2)

    assert not follower.reconnect()
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
