"""Letting go: the three states of each joint, whatever is wrong with servos, wire and bytes."""

import pytest
from arm_bench import ArmBench

from robot.joints import SERVO_IDS
from robot.registers import TORQUE_ENABLE
from robot.torque import TorqueState, TorqueStates, release_torque
from sim.faults import Fault

OFF, ON, UNREACHABLE = TorqueState.OFF, TorqueState.ON, TorqueState.UNREACHABLE
# A stop has to be over within a second of the end of the walk; the rest of it is the caller's.
LONGEST_S = 0.7


@pytest.fixture
def powered(bench: ArmBench) -> ArmBench:
    for servo_id in SERVO_IDS:
        bench.bus.write(servo_id, TORQUE_ENABLE, 1)
    return bench


def registers(bench: ArmBench) -> list[int]:
    """What the emulated servos hold, whatever their wire says."""
    return [bench.bank.register(place, TORQUE_ENABLE) for place in SERVO_IDS]


def release(bench: ArmBench) -> TorqueStates:
    began_s = bench.clock.now_s()
    states = release_torque(bench.bus)
    assert bench.clock.now_s() - began_s < LONGEST_S
    return states


def test_an_arm_lets_go_within_milliseconds(powered: ArmBench) -> None:
    began_s = powered.clock.now_s()

    assert release(powered).joints == (OFF,) * 6
    assert powered.clock.now_s() - began_s < 0.005
    assert registers(powered) == [0] * 6


@pytest.mark.parametrize("silent", [{1}, {6}, {2, 4}, set(SERVO_IDS)])
def test_a_mute_servo_obeys_but_nobody_can_know(powered: ArmBench, silent: set[int]) -> None:
    for servo_id in silent:
        powered.line.faults.add(Fault("mute", servo=servo_id))

    states = release(powered)

    assert states.joints == tuple(UNREACHABLE if i in silent else OFF for i in SERVO_IDS)
    assert registers(powered) == [0] * 6


@pytest.mark.parametrize("kind", ["flip", "insert", "lose", "truncate", "drop", "stale", "delay"])
def test_disturbed_replies_are_asked_again(powered: ArmBench, kind: str) -> None:
    powered.line.faults.add(Fault(kind, probability=0.15, seed=5))  # type: ignore[arg-type]  # one of the kinds

    states = release(powered)

    assert ON not in states.joints
    assert states.joints.count(OFF) >= 4
    assert registers(powered) == [0] * 6


def test_an_error_byte_ends_nothing(powered: ArmBench) -> None:
    powered.line.faults.add(Fault("error", servo=2, error_bits=0x20))

    assert release(powered).is_off


def test_a_broadcast_that_is_not_heard_is_made_up_for_servo_by_servo(powered: ArmBench) -> None:
    powered.line.deaf_to = bytes.fromhex("fffffe04032800d2")

    assert release(powered).is_off
    assert registers(powered) == [0] * 6


def test_a_servo_that_does_not_obey_is_said_to_be_on(powered: ArmBench) -> None:
    powered.line.faults.add(Fault("deaf", servo=5, request_hex="0328"))  # WRITE to Torque_Enable
    powered.line.faults.add(Fault("deaf", servo=5, request_hex="032800"))

    states = release(powered)

    assert states.joints == (OFF, OFF, OFF, OFF, ON, OFF)
    assert str(states) == (
        "wrist_roll on (read back); "
        "shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, gripper off (read back)"
    )


def test_an_unplugged_adapter_leaves_all_unreachable(powered: ArmBench) -> None:
    powered.line.faults.add(Fault("unplug"))

    states = release(powered)

    assert states == TorqueStates.of_all(UNREACHABLE)
    assert str(states) == "not reachable: cut the power"
    assert not states.is_reachable


def test_an_adapter_unplugged_half_way_keeps_what_was_read_back(powered: ArmBench) -> None:
    powered.line.faults.add(Fault("mute", servo=3))
    powered.line.faults.add(Fault("unplug", after_s=0.02))

    states = release(powered)

    assert states.joints == (OFF, OFF, UNREACHABLE, OFF, OFF, OFF)


def test_it_lets_go_in_the_middle_of_a_read(powered: ArmBench) -> None:
    """A second stop may come between a request and its replies."""

    def interrupt(_: bytes) -> bytes:
        raise KeyboardInterrupt

    powered.line.mangle = interrupt
    with pytest.raises(KeyboardInterrupt):
        powered.bus.read(3, TORQUE_ENABLE)
    powered.line.mangle = bytes

    assert release(powered).is_off


def test_a_second_release_changes_nothing(powered: ArmBench) -> None:
    assert [release(powered), release(powered)] == [TorqueStates.of_all(OFF)] * 2


def test_the_worst_state_is_said_first() -> None:
    assert str(TorqueStates.of_all(OFF)) == "off (read back)"
    assert str(TorqueStates.of_all(ON)) == "on (read back)"
    assert str(TorqueStates((OFF, OFF, UNREACHABLE, UNREACHABLE, OFF, ON))) == (
        "elbow_flex, wrist_flex not reachable: cut the power; gripper on (read back); "
        "shoulder_pan, shoulder_lift, wrist_roll off (read back)"
    )


def test_margins_for_set_up_come_back(powered: ArmBench) -> None:
    before_s = powered.bus.port.margin_s
    release(powered)

    assert powered.bus.port.margin_s == before_s
