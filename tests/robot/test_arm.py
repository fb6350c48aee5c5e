import dataclasses

import numpy as np
import pytest
from arm_bench import CALIBRATION, ArmBench

from robot.arm import SILENCE_LIMIT_S, Follower, Leader
from robot.errors import CalibrationMismatch, NotConnected, ServoTimeout
from robot.joints import SERVO_IDS, Calibration
from robot.registers import (
    GOAL_POSITION,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    LOCK,
    OVERLOAD_TORQUE,
    P_COEFFICIENT,
    PHASE,
    PRESENT_POSITION,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
)
from robot.torque import TorqueState, TorqueStates


@pytest.fixture
def follower(bench: ArmBench) -> Follower:
    bench.calibrate()
    return Follower.open(bench.bus, CALIBRATION, bench.clock)


def test_opening_configures_what_differs_and_leaves_torque_off(
    bench: ArmBench, follower: Follower
) -> None:
    assert follower.torque_state.is_off
    assert [bench.bus.read(i, P_COEFFICIENT) for i in SERVO_IDS] == [16] * 6
    assert bench.bus.read(6, OVERLOAD_TORQUE) == 25
    assert bench.bus.read(1, OVERLOAD_TORQUE) == 80
    assert [bench.bus.read(i, LOCK) for i in SERVO_IDS] == [1] * 6
    assert bench.bus.read(1, PHASE) & 0x10 == 0


def test_opening_again_writes_no_eeprom(bench: ArmBench, follower: Follower) -> None:
    before = bench.bank.eeprom()
    sent = len(bench.line.sent)

    Follower.open(bench.bus, CALIBRATION, bench.clock)

    assert bench.bank.eeprom() == before
    packets = bytes(bench.line.sent[sent:]).split(b"\xff\xff")
    eeprom_writes = [p for p in packets if len(p) > 3 and p[2] == 0x03 and p[3] < 40]
    assert eeprom_writes == []


def test_residue_of_another_tool_is_reset(bench: ArmBench) -> None:
    bench.calibrate()
    bench.bus.write(2, GOAL_VELOCITY, 50)
    bench.bus.write(2, TORQUE_LIMIT, 100)

    Follower.open(bench.bus, CALIBRATION, bench.clock)

    assert bench.bus.read(2, GOAL_VELOCITY) == 0
    assert bench.bus.read(2, TORQUE_LIMIT) == 1000


def test_goal_is_the_present_position_before_torque_comes_on(
    bench: ArmBench, follower: Follower
) -> None:
    bench.bus.write(1, GOAL_POSITION, 600)
    bench.bus.write(1, TORQUE_ENABLE, 0)
    sent = len(bench.line.sent)

    follower.torque_on()

    assert follower.torque_state == TorqueStates.of_all(TorqueState.ON)
    assert [bench.bus.read(i, TORQUE_ENABLE) for i in SERVO_IDS] == [1] * 6
    assert bench.bus.read(1, GOAL_POSITION) == bench.bus.read(1, PRESENT_POSITION)
    log = bytes(bench.line.sent[sent:])
    assert log.find(bytes((0x03, 42))) < log.find(bytes((0x03, 40)))


def test_torque_that_does_not_come_on_everywhere_goes_off_everywhere(
    bench: ArmBench, follower: Follower
) -> None:
    bench.bank.unplugged = {4}

    with pytest.raises(ServoTimeout, match=r"Torque: wrist_flex not reachable.*off \(read back\)"):
        follower.torque_on()

    assert follower.torque_state.joints[3] is TorqueState.UNREACHABLE
    bench.bank.unplugged = set()
    assert [bench.bus.read(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6


def test_release_reads_back_and_a_second_one_changes_nothing(follower: Follower) -> None:
    follower.torque_on()

    assert [follower.release().is_off, follower.release().is_off] == [True, True]


def test_release_never_raises_and_says_when_a_servo_cannot_be_reached(
    bench: ArmBench, follower: Follower
) -> None:
    follower.torque_on()
    bench.bank.unplugged = {2}
    cut_off = follower.release()
    bench.line.is_gone = True

    assert cut_off.joints[1] is TorqueState.UNREACHABLE
    assert follower.release() == TorqueStates.of_all(TorqueState.UNREACHABLE)


def test_leaving_the_context_by_an_error_takes_torque_off(
    bench: ArmBench, follower: Follower
) -> None:
    def fail_under_torque() -> None:
        with follower:
            follower.torque_on()
            raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        fail_under_torque()

    assert [bench.bus.read(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6


def test_a_sample_is_in_degrees_and_carries_the_time_of_its_transaction(
    bench: ArmBench, follower: Follower
) -> None:
    before_s = bench.clock.now_s()
    sample = follower.read()

    assert np.allclose(sample.position_deg[0], (2048 - 10 - 2000) * 360 / 4095, atol=0.05)
    assert np.all((sample.time_s >= before_s) & (sample.time_s < bench.clock.now_s()))
    assert np.all(sample.voltage_v > 5.0)
    assert sample.status == (0,) * 6


def test_a_servo_that_missed_a_reply_keeps_its_old_time(
    bench: ArmBench, follower: Follower
) -> None:
    first = follower.read()
    bench.bank.unplugged = {5}
    second = follower.read()

    assert second.time_s[4] == first.time_s[4]
    assert np.all(np.delete(second.time_s, 4) > np.delete(first.time_s, 4))


def test_a_leaders_servo_that_stays_silent_ends_the_reading(bench: ArmBench) -> None:
    bench.calibrate()
    leader = Leader.open(bench.bus, CALIBRATION)
    bench.bank.unplugged = {5}
    began_s = bench.clock.now_s()

    def read_on() -> None:
        while bench.clock.now_s() < began_s + 2 * SILENCE_LIMIT_S:
            leader.read()
            bench.clock.sleep_until(bench.clock.now_s() + 0.01)

    with pytest.raises(ServoTimeout, match=r"wrist_roll \(servo 5\).*stays silent"):
        read_on()

    assert bench.clock.now_s() - began_s == pytest.approx(SILENCE_LIMIT_S, abs=0.06)


def test_one_missed_reply_after_a_long_pause_is_no_silence(
    bench: ArmBench, follower: Follower
) -> None:
    before = follower.read()
    bench.clock.sleep_until(bench.clock.now_s() + 10 * SILENCE_LIMIT_S)
    bench.bank.unplugged = {5}

    assert follower.read().time_s[4] == before.time_s[4]


def test_what_the_loop_sees_first_is_of_after_the_power_came_on(
    bench: ArmBench, follower: Follower
) -> None:
    bench.clock.sleep_until(bench.clock.now_s() + 5.0)
    asked_s = bench.clock.now_s()
    follower.torque_on()
    bench.bank.unplugged = set(SERVO_IDS)

    assert np.all(follower.read().time_s > asked_s)


@pytest.mark.parametrize(("out_ticks", "is_refused"), [(20, False), (26, True), (137, True)])
def test_a_joint_that_stands_outside_its_range_is_not_powered(
    bench: ArmBench, out_ticks: int, is_refused: bool
) -> None:
    present = 2048 - CALIBRATION.joints[1].homing_offset
    joints = list(CALIBRATION.joints)
    joints[1] = dataclasses.replace(joints[1], range_min=present + out_ticks)
    calibration = Calibration(tuple(joints))
    bench.calibrate(calibration)
    follower = Follower.open(bench.bus, calibration, bench.clock)
    sent = len(bench.line.sent)

    if is_refused:
        with pytest.raises(
            CalibrationMismatch,
            match=rf"shoulder_lift stands {out_ticks * 360 / 4096:.0f}° outside its calibrated "
            "range: move it inside by hand, then start again",
        ):
            follower.torque_on()
        assert bytes((0x03, TORQUE_ENABLE.address, 1)) not in bytes(bench.line.sent[sent:])
        assert bytes((0x03, GOAL_POSITION.address)) not in bytes(bench.line.sent[sent:])
    else:
        follower.torque_on()
    assert bench.bus.read(1, TORQUE_ENABLE) == (not is_refused)


def test_an_arm_that_does_not_let_go_is_refused_with_its_torque_state(bench: ArmBench) -> None:
    bench.calibrate()
    for servo_id in SERVO_IDS:
        bench.bus.write(servo_id, TORQUE_ENABLE, 1)
    bench.line.deaf_to = bytes((0x03, TORQUE_ENABLE.address, 0))

    with pytest.raises(ServoTimeout, match=r"did not let go \(torque on \(read back\)\)"):
        Follower.open(bench.bus, CALIBRATION, bench.clock)


@pytest.mark.parametrize("arm", [Leader, Follower])
def test_a_refused_arm_that_kept_torque_says_so(
    bench: ArmBench, arm: type[Leader] | type[Follower]
) -> None:
    bench.calibrate()
    for servo_id in SERVO_IDS:
        bench.bus.write(servo_id, TORQUE_ENABLE, 1)
    bench.bank.unplugged = {5}
    words = "check the plug between servo 4 and servo 5. Torque: wrist_roll not reachable"

    with pytest.raises(NotConnected, match=words):
        open_arm(arm, bench)

    bench.bank.unplugged = set()
    bench.line.deaf_to = bytes((0x03, TORQUE_ENABLE.address, 0))
    with pytest.raises(ServoTimeout, match=r"did not let go"):
        open_arm(arm, bench)
    bench.bus.write(3, HOMING_OFFSET, 77)
    with pytest.raises(CalibrationMismatch, match=r"calibrate'. Torque: .*on \(read back\)"):
        open_arm(arm, bench)


def open_arm(arm: type[Leader] | type[Follower], bench: ArmBench) -> None:
    if issubclass(arm, Leader):
        arm.open(bench.bus, CALIBRATION)
    else:
        arm.open(bench.bus, CALIBRATION, bench.clock)


def test_a_refused_arm_that_let_go_says_nothing_of_torque(bench: ArmBench) -> None:
    bench.calibrate()
    bench.bus.write(3, HOMING_OFFSET, 77)
    with pytest.raises(CalibrationMismatch, match=r"'so101 calibrate'$"):
        Follower.open(bench.bus, CALIBRATION, bench.clock)


def test_goals_are_clipped_to_the_calibrated_range(bench: ArmBench, follower: Follower) -> None:
    follower.torque_on()
    follower.send_deg(np.array([500.0, -500.0, 0.0, 0.0, 0.0, 50.0]))

    assert bench.bus.read(1, GOAL_POSITION) == CALIBRATION.joints[0].range_max
    assert bench.bus.read(2, GOAL_POSITION) == CALIBRATION.joints[1].range_min


def test_the_arm_of_another_calibration_is_refused(bench: ArmBench) -> None:
    bench.calibrate()
    bench.bus.write(3, HOMING_OFFSET, 77)

    with pytest.raises(
        CalibrationMismatch, match=r"not the arm.*elbow_flex stores.*77.*so101 calibrate"
    ):
        Leader.open(bench.bus, CALIBRATION)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({4, 5, 6}, "check the plug between servo 3 and servo 4"),
        ({1}, "between the adapter and servo 1"),
        (set(SERVO_IDS), "check that the arm has power"),
    ],
)
def test_missing_servos_point_at_the_cable(bench: ArmBench, missing: set[int], words: str) -> None:
    bench.bank.unplugged = missing

    with pytest.raises(NotConnected, match=words):
        Leader.open(bench.bus, CALIBRATION)


def test_a_leader_is_left_without_torque(bench: ArmBench) -> None:
    bench.calibrate()
    bench.bus.write(1, GOAL_POSITION, 2000)  # which alone turns torque on
    leader = Leader.open(bench.bus, CALIBRATION)

    assert [bench.bus.read(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
    assert leader.read().position_deg.shape == (6,)


def test_an_arm_that_is_refused_is_not_left_powered(bench: ArmBench) -> None:
    bench.calibrate()
    bench.bus.write(3, HOMING_OFFSET, 77)
    for servo_id in SERVO_IDS:
        bench.bus.write(servo_id, TORQUE_ENABLE, 1)

    with pytest.raises(CalibrationMismatch):
        Follower.open(bench.bus, CALIBRATION, bench.clock)

    assert [bench.bus.read(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
