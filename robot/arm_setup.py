"""What happens to an arm before it may move: is it there, is it the right one, is it configured.

Single transactions, none of them in the control loop.
"""

from robot.bus import ServoBus, joint_name
from robot.errors import CalibrationMismatch, NotConnected
from robot.joints import GRIPPER, JOINTS, SERVO_IDS, Calibration
from robot.registers import (
    ACCELERATION,
    D_COEFFICIENT,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    I_COEFFICIENT,
    LOCK,
    MAX_POSITION_LIMIT,
    MAX_TORQUE_LIMIT,
    MAXIMUM_ACCELERATION,
    MIN_POSITION_LIMIT,
    MODEL_NUMBER_STS3215,
    OPERATING_MODE,
    OVERLOAD_TORQUE,
    P_COEFFICIENT,
    PHASE,
    PROTECTION_CURRENT,
    RETURN_DELAY_TIME,
    TORQUE_LIMIT,
    Register,
)

# Angle feedback beyond one turn: positions would leave 0..4095.
PHASE_MULTI_TURN = 0x10

# What LeRobot 0.6 configures on a follower (so_follower.py, feetech.py), so that both leave the
# same arm behind.
FOLLOWER_REGISTERS: tuple[tuple[Register, int], ...] = (
    (RETURN_DELAY_TIME, 0),
    (MAXIMUM_ACCELERATION, 254),
    (OPERATING_MODE, 0),
    (P_COEFFICIENT, 16),
    (I_COEFFICIENT, 0),
    (D_COEFFICIENT, 32),
)
GRIPPER_REGISTERS: tuple[tuple[Register, int], ...] = (
    (MAX_TORQUE_LIMIT, 500),
    (PROTECTION_CURRENT, 250),
    (OVERLOAD_TORQUE, 25),
)
# RAM that another tool may have left changed; position mode obeys all three.
MOTION_REGISTERS: tuple[tuple[Register, int], ...] = (
    (ACCELERATION, 254),
    (GOAL_VELOCITY, 0),
    (TORQUE_LIMIT, 1000),
)
GRIPPER_TORQUE_LIMIT = 500


def check_servos(bus: ServoBus, arm_name: str) -> None:
    """Ping the six servos.

    Raises:
        NotConnected: names the servos that are missing and the cable to look at.
    """
    models = {servo_id: bus.ping(servo_id) for servo_id in bus.ids}
    missing = [servo_id for servo_id, model in models.items() if model is None]
    if len(missing) == len(bus.ids):
        raise NotConnected(
            f"no servo answers on {bus.port.name} ({arm_name}): "
            "check that the arm has power and that this is its port"
        )
    if missing:
        first = missing[0]
        before = f"servo {first - 1}" if first > 1 else "the adapter"
        names = ", ".join(joint_name(servo_id) for servo_id in missing)
        raise NotConnected(
            f"{names} of the {arm_name} on {bus.port.name} gave no answer: "
            f"check the plug between {before} and servo {first}"
        )
    wrong = {servo_id: model for servo_id, model in models.items() if model != MODEL_NUMBER_STS3215}
    if wrong:
        raise NotConnected(
            f"{arm_name} on {bus.port.name}: "
            f"expected STS3215 servos (model {MODEL_NUMBER_STS3215}), found {wrong}; "
            "check that this is an SO-101"
        )


def check_calibration(bus: ServoBus, calibration: Calibration, arm_name: str) -> None:
    """Compare the servos' stored values with the file.

    Raises:
        CalibrationMismatch: names the first joint that differs.
    """
    for name, joint in zip(JOINTS, calibration.joints, strict=True):
        stored = tuple(
            bus.read(joint.id, register)
            for register in (HOMING_OFFSET, MIN_POSITION_LIMIT, MAX_POSITION_LIMIT)
        )
        expected = (joint.homing_offset, joint.range_min, joint.range_max)
        if stored != expected:
            raise CalibrationMismatch(
                f"the {arm_name} on {bus.port.name} is not the arm of its calibration: "
                f"{name} stores offset and range {stored}, the file says {expected}. "
                "Plug the right arm in, or run 'so101 calibrate'"
            )


def configure(bus: ServoBus) -> None:
    """Write only registers that differ (flash wears), read back, and lock the EEPROM again."""
    for servo_id in SERVO_IDS:
        wanted = list(FOLLOWER_REGISTERS)
        phase = bus.read(servo_id, PHASE)
        wanted.append((PHASE, phase & ~PHASE_MULTI_TURN))
        if servo_id == SERVO_IDS[GRIPPER]:
            wanted.extend(GRIPPER_REGISTERS)
        different = [
            (register, value) for register, value in wanted if bus.read(servo_id, register) != value
        ]
        if different:
            bus.write(servo_id, LOCK, 0)
            for register, value in different:
                bus.write_verified(servo_id, register, value)
        bus.write(servo_id, LOCK, 1)
        for register, value in MOTION_REGISTERS:
            is_gripper_torque = register is TORQUE_LIMIT and servo_id == SERVO_IDS[GRIPPER]
            bus.write_verified(
                servo_id, register, GRIPPER_TORQUE_LIMIT if is_gripper_torque else value
            )
