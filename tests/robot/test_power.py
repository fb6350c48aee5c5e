"""A joint that loses its power for a moment, and an arm that is powered where it stands."""

import dataclasses

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench

from robot.arm import Follower
from robot.arm_setup import torque_limit
from robot.errors import JointLost
from robot.health import Finding, Response
from robot.joints import DEG_PER_TICK, SERVO_IDS, Calibration, ticks_to_deg
from robot.power import POWER_CHECK_TICKS
from robot.registers import (
    ACCELERATION,
    GOAL_POSITION,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    LOCK,
    MAXIMUM_ACCELERATION,
    P_COEFFICIENT,
    PRESENT_POSITION,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
)
from sim.faults import Fault

PERIOD_S = 0.01


@pytest.fixture
def follower(bench: ArmBench) -> Follower:
    bench.calibrate()
    follower = Follower.open(bench.bus, CALIBRATION, bench.clock)
    follower.torque_on()
    return follower


def present_ticks(bench: ArmBench) -> list[int]:
    return [bench.bank.register(place, PRESENT_POSITION) for place in SERVO_IDS]


def turn(bench: ArmBench, follower: Follower, ticks: int) -> list[Finding]:
    """Do what the loop does, with a goal a little off where the arm stands."""
    findings: list[Finding] = []
    goal_deg = ticks_to_deg(np.array(present_ticks(bench)) + 20, CALIBRATION)
    for _ in range(ticks):
        start_s = bench.clock.now_s()
        follower.read()
        follower.send_deg(goal_deg)
        findings += follower.restore_power()
        bench.clock.sleep_until(start_s + PERIOD_S)
    return findings


@pytest.mark.parametrize("duration_s", [0.0, 0.004, 0.02, 0.05, 0.3, 0.45])
@pytest.mark.parametrize("servo_id", [1, 6])
def test_a_joint_that_lost_its_power_is_set_up_again(
    bench: ArmBench, follower: Follower, servo_id: int, duration_s: float
) -> None:
    follower.set_torque_limit_pct(60.0)
    turn(bench, follower, 5)
    bench.line.faults.add(Fault("brownout", servo=servo_id, duration_s=duration_s))

    findings = turn(bench, follower, round(duration_s / PERIOD_S) + POWER_CHECK_TICKS + 12)

    (finding,) = findings
    assert (finding.kind, finding.response) == ("power", Response.WARN)
    assert f"(servo {servo_id}) lost its power for a moment" in finding.sentence
    assert bench.bank.register(servo_id, ACCELERATION) == 254
    assert bench.bank.register(servo_id, MAXIMUM_ACCELERATION) == 254
    assert bench.bank.register(servo_id, GOAL_VELOCITY) == 0
    assert bench.bank.register(servo_id, TORQUE_LIMIT) == torque_limit(servo_id, 60.0)
    assert bench.bank.register(servo_id, TORQUE_ENABLE) == 1
    assert bench.bank.register(servo_id, LOCK) == 1


def test_a_joint_that_comes_back_gets_its_present_position_before_torque(
    bench: ArmBench, follower: Follower
) -> None:
    """A goal alone would turn torque on: none may leave before the joint was looked at."""
    turn(bench, follower, 5)
    bench.line.faults.add(Fault("brownout", servo=2, duration_s=0.1))
    turn(bench, follower, 8)
    bench.clock.position_rad[1] += 0.3  # it sags meanwhile
    sagged = 0
    for _ in range(20):
        follower.read()
        follower.send_deg(np.zeros(6))
        if bench.bank.register(2, TORQUE_ENABLE) == 1:
            sagged = bench.bank.register(2, GOAL_POSITION)
        if follower.restore_power():
            break
        bench.clock.sleep_until(bench.clock.now_s() + PERIOD_S)

    assert sagged in (0, present_ticks(bench)[1])
    assert bench.bank.register(2, GOAL_POSITION) == present_ticks(bench)[1]
    assert bench.bank.register(2, TORQUE_ENABLE) == 1


def test_no_eeprom_is_written_when_a_joint_is_set_up_again(
    bench: ArmBench, follower: Follower
) -> None:
    before = bench.bank.eeprom()
    turn(bench, follower, 5)
    sent = len(bench.line.sent)
    bench.line.faults.add(Fault("brownout", servo=2, duration_s=0.1))
    assert turn(bench, follower, 40)

    assert bench.bank.eeprom() == before
    assert eeprom_writes(bench, sent) == []


def eeprom_writes(bench: ArmBench, since: int) -> list[bytes]:
    packets = bytes(bench.line.sent[since:]).split(b"\xff\xff")
    return [p for p in packets if len(p) > 3 and p[2] == 0x03 and p[3] < 40]


def test_a_joint_that_comes_back_as_another_is_not_powered(
    bench: ArmBench, follower: Follower
) -> None:
    bench.bus.write(2, HOMING_OFFSET, 99)  # locked: not saved, so that power takes it away
    bench.calibrate(CALIBRATION)
    follower.torque_on()
    turn(bench, follower, 5)
    bench.bus.write(2, LOCK, 0)
    bench.bus.write(2, P_COEFFICIENT, 32)
    bench.line.faults.add(Fault("brownout", servo=2, duration_s=0.1))

    with pytest.raises(JointLost, match=r"shoulder_lift.*came back with other settings.*21"):
        turn(bench, follower, 40)
    assert bench.bank.register(2, TORQUE_ENABLE) == 0
    assert follower.release().is_off


def test_all_joints_may_lose_their_power_at_once(bench: ArmBench, follower: Follower) -> None:
    turn(bench, follower, 5)
    bench.line.faults.add(Fault("brownout", duration_s=0.2))

    findings = turn(bench, follower, 60)

    assert sorted(finding.joint for finding in findings) == sorted(
        ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
    )
    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [1] * 6


@pytest.mark.parametrize("kind", ["mute", "drop"])
def test_a_joint_that_was_only_silent_is_driven_again(
    bench: ArmBench, follower: Follower, kind: str
) -> None:
    turn(bench, follower, 5)
    goal_before = bench.bank.register(4, GOAL_POSITION)
    bench.line.faults.add(Fault(kind, servo=4, duration_s=0.2))  # type: ignore[arg-type]  # one of the kinds
    assert turn(bench, follower, 60) == []

    sent = len(bench.line.sent)
    turn(bench, follower, 1)
    assert bytes((0x83, 42, 2, 1)) in bytes(bench.line.sent[sent:])
    assert bench.bank.register(4, GOAL_POSITION) == goal_before


def test_a_silent_joint_gets_no_goals_and_the_others_do(
    bench: ArmBench, follower: Follower
) -> None:
    turn(bench, follower, 2)
    bench.line.faults.add(Fault("mute", servo=4))
    turn(bench, follower, 6)
    kept = bench.bank.register(4, GOAL_POSITION)
    follower.read()

    follower.send_deg(ticks_to_deg(np.array(present_ticks(bench)) + 60, CALIBRATION))

    assert bench.bank.register(4, GOAL_POSITION) == kept
    assert bench.bank.register(3, GOAL_POSITION) == present_ticks(bench)[2] + 60


def test_power_is_looked_at_every_few_ticks_by_one_short_read(
    bench: ArmBench, follower: Follower
) -> None:
    sent = len(bench.line.sent)
    turn(bench, follower, 5 * POWER_CHECK_TICKS)

    assert bytes(bench.line.sent[sent:]).count(bytes((0x82, 40, 2))) == 5


def test_an_arm_that_is_not_driven_is_not_watched_and_gets_no_goals(
    bench: ArmBench, follower: Follower
) -> None:
    follower.release()
    sent = len(bench.line.sent)
    follower.send_deg(np.zeros(6))

    assert follower.restore_power() == ()
    assert bytes(bench.line.sent[sent:]) == b""
    assert [bench.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6


# Power-on -----------------------------------------------------------------------------------------


def with_range(index: int, *, low: int | None = None, high: int | None = None) -> Calibration:
    joints = list(CALIBRATION.joints)
    joint = joints[index]
    joints[index] = dataclasses.replace(
        joint,
        range_min=joint.range_min if low is None else low,
        range_max=joint.range_max if high is None else high,
    )
    return Calibration(tuple(joints))


@pytest.mark.parametrize("out_ticks", [-22, -1, 1, 12, 22])
def test_a_joint_a_little_outside_its_range_does_not_step_when_powered(
    bench: ArmBench, out_ticks: int
) -> None:
    """The servo drives into its range by itself: its own set-point must creep there."""
    present = 2048 - CALIBRATION.joints[1].homing_offset
    calibration = (
        with_range(1, low=present + out_ticks)
        if out_ticks > 0
        else with_range(1, high=present + out_ticks)
    )
    bench.calibrate(calibration)
    follower = Follower.open(bench.bus, calibration, bench.clock)
    motor = bench.bank.motors[1]
    setpoints: list[float] = []

    def watch() -> None:
        if bench.bank.register(2, TORQUE_ENABLE):
            setpoints.append(motor.setpoint)

    bench.clock.after_step = watch
    follower.torque_on()

    assert setpoints[0] == pytest.approx(present, abs=1.0)
    assert setpoints[-1] == present + out_ticks
    assert max(abs(np.diff(setpoints))) <= 46.0 / DEG_PER_TICK * 0.001 + 1e-6
    assert bench.bank.register(2, GOAL_VELOCITY) == 0


@pytest.mark.parametrize("rate_hz", [100, 200])
@pytest.mark.parametrize("mute", [1, 6])
def test_a_whole_tick_stays_within_its_period_with_a_mute_joint(
    bench: ArmBench, follower: Follower, rate_hz: int, mute: int
) -> None:
    start_s = bench.clock.now_s() + 0.1
    for tick in range(2 * rate_hz):
        bench.clock.sleep_until(start_s + tick / rate_hz)
        if tick == 20:
            bench.bank.unplugged = {mute}
        follower.send_deg(follower.read().position_deg)
        follower.restore_power()

        assert bench.clock.now_s() < start_s + (tick + 1) / rate_hz
