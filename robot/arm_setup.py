"""What happens to an arm before it may move: is it there, is it the right one, is it configured.

Single transactions, none of them in the control loop.
"""

from robot.bus import ServoBus, joint_name
from robot.errors import CalibrationMismatch, JointLost, NotConnected, ServoTimeout
from robot.joints import GRIPPER, JOINTS, SERVO_IDS, Calibration, JointCalibration
from robot.registers import (
    ACCELERATION,
    D_COEFFICIENT,
    EEPROM_END,
    GOAL_POSITION,
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
    PRESENT_POSITION,
    PROTECTION_CURRENT,
    RETURN_DELAY_TIME,
    TORQUE_LIMIT,
    Register,
    decode_sign_magnitude,
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
# RAM that another tool may have left changed; position mode obeys it, and Torque_Limit.
MOTION_REGISTERS: tuple[tuple[Register, int], ...] = (
    (ACCELERATION, 254),
    (GOAL_VELOCITY, 0),
)
CALIBRATED = (HOMING_OFFSET, MIN_POSITION_LIMIT, MAX_POSITION_LIMIT)
FULL_TORQUE_LIMIT = 1000
GRIPPER_TORQUE_LIMIT = 500
RETURN_DELAY_UNIT_S = 2e-6


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
    for joint in calibration.joints:
        stored = tuple(bus.read(joint.id, register) for register in CALIBRATED)
        check_stored(bus, joint, stored, arm_name)


def check_stored(
    bus: ServoBus, joint: JointCalibration, stored: tuple[int, ...], arm_name: str
) -> None:
    """Compare what one servo stores, in the order of `CALIBRATED`, with the file.

    Raises:
        CalibrationMismatch: it differs.
    """
    expected = (joint.homing_offset, joint.range_min, joint.range_max)
    if stored != expected:
        raise CalibrationMismatch(
            f"the {arm_name} on {bus.port.name} is not the arm of its calibration: "
            f"{JOINTS[SERVO_IDS.index(joint.id)]} stores offset and range {stored}, "
            f"the file says {expected}. Plug the right arm in, or run 'so101 calibrate'"
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
        for register, value in motion_registers(servo_id):
            bus.write_verified(servo_id, register, value)


def motion_registers(servo_id: int) -> tuple[tuple[Register, int], ...]:
    """Return what a follower's servo needs outside its EEPROM."""
    others = tuple(each for each in FOLLOWER_REGISTERS if not each[0].is_eeprom)
    return (*others, *MOTION_REGISTERS, (TORQUE_LIMIT, torque_limit(servo_id)))


def torque_limit(servo_id: int, limit_pct: float = 100.0) -> int:
    """Return the count of Torque_Limit for a limit in percent of stall torque, if allowed."""
    allowed = GRIPPER_TORQUE_LIMIT if servo_id == SERVO_IDS[GRIPPER] else FULL_TORQUE_LIMIT
    return min(round(limit_pct * 10), allowed)


def check_same_servo(bus: ServoBus, joint: JointCalibration) -> None:
    """Compare a servo's EEPROM with what `configure` and the calibration left; writes nothing.

    Raises:
        JointLost: it is another servo, or it lost what it stored.
        ServoTimeout: it does not answer.
    """
    data = bus.read_bytes(joint.id, 0, EEPROM_END, tries=1)
    wanted = [each for each in FOLLOWER_REGISTERS if each[0].is_eeprom]
    wanted += [
        (HOMING_OFFSET, joint.homing_offset),
        (MIN_POSITION_LIMIT, joint.range_min),
        (MAX_POSITION_LIMIT, joint.range_max),
    ]
    if joint.id == SERVO_IDS[GRIPPER]:
        wanted += GRIPPER_REGISTERS
    wrong = [register for register, value in wanted if value_in(data, register) != value]
    if wrong or value_in(data, PHASE) & PHASE_MULTI_TURN:
        addresses = ", ".join(str(register.address) for register in wrong) or str(PHASE.address)
        raise JointLost(
            f"{joint_name(joint.id)} on {bus.port.name} lost its power and came back with other "
            f"settings (address {addresses}): it was not powered again; check its plug, "
            "then start again"
        )


def value_in(data: bytes, register: Register) -> int:
    """Return a register's value from a servo's table, read from address 0 on."""
    raw = int.from_bytes(data[register.address : register.address + register.size], "little")
    return raw if register.sign_bit is None else decode_sign_magnitude(raw, register.sign_bit)


def seed_goal(bus: ServoBus, joint: JointCalibration, *, tries: int = 3) -> int:
    """Make a joint's present position its goal, read back, and return it, ticks.

    A servo may keep the end of its range instead, which is as far as it will go.

    Raises:
        ServoTimeout: the servo does not answer, or kept another goal.
    """
    present = bus.read(joint.id, PRESENT_POSITION, tries=tries)
    nearest = min(max(present, joint.range_min), joint.range_max)
    for _ in range(2):
        bus.write(joint.id, GOAL_POSITION, present, tries=tries)
        if bus.read(joint.id, GOAL_POSITION, tries=tries) in (present, nearest):
            return present
    raise ServoTimeout(
        f"{joint_name(joint.id)} on {bus.port.name} did not take its goal: "
        "power the arm off and on, then try again"
    )


def read_return_delays_s(bus: ServoBus) -> float:
    """Return how long the six servos wait before they answer, together."""
    return sum(bus.read(servo_id, RETURN_DELAY_TIME) for servo_id in bus.ids) * RETURN_DELAY_UNIT_S
