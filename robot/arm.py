"""Follower and leader: degrees in and out, and a torque state that is always known.

An arm here is opened on a bus, checked against its calibration, configured by difference, and
released on every way out. `release` never raises: it broadcasts torque-off twice and reads every
servo back, so that it can say one of two things: off (read back), or not reachable: cut the power.
"""

import numpy as np

from robot.bus import ServoBus, joint_name
from robot.clock import Clock
from robot.errors import CalibrationMismatch, NotConnected, ServoTimeout, So101Error
from robot.joint_reader import JointReader
from robot.joints import (
    GRIPPER,
    JOINTS,
    SERVO_IDS,
    Calibration,
    FloatVector,
    deg_to_ticks,
)
from robot.loop import JointSample
from robot.registers import (
    ACCELERATION,
    D_COEFFICIENT,
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
    TORQUE_ENABLE,
    TORQUE_LIMIT,
    Register,
)

TORQUE_OFF = "off (read back)"
TORQUE_ON = "on (read back)"
TORQUE_UNKNOWN = "not reachable: cut the power"

PHASE_MULTI_TURN = 0x10  # angle feedback beyond one turn: positions would leave 0..4095
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


class Leader:
    """An arm that a person moves: torque off, positions only read."""

    def __init__(self, bus: ServoBus, calibration: Calibration) -> None:
        self.bus = bus
        self.calibration = calibration
        self._reader = JointReader(bus, calibration, "leader")

    @classmethod
    def open(cls, bus: ServoBus, calibration: Calibration) -> "Leader":
        """Take torque off, then check the servos and the calibration."""
        state = release_torque(bus)
        check_servos(bus, "leader")
        check_calibration(bus, calibration, "leader")
        leader = cls(bus, calibration)
        leader._reader.prime()
        if state != TORQUE_OFF:
            raise ServoTimeout(f"the leader on {bus.port.name} did not let go: torque {state}")
        return leader

    def read(self) -> JointSample:
        """Return the newest sample of all six joints."""
        self._reader.request()
        return self._reader.collect()

    def release(self) -> str:
        """Take torque off and say the state; never raises."""
        return release_torque(self.bus)


class Follower:
    """An arm that this program moves.

    Use as a context: leaving it takes torque off, whatever happened.
    """

    def __init__(self, bus: ServoBus, calibration: Calibration, clock: Clock) -> None:
        self.bus = bus
        self.calibration = calibration
        self.clock = clock
        self.torque_state = TORQUE_UNKNOWN
        self._reader = JointReader(bus, calibration, "follower")
        self._low = calibration.range_min_ticks
        self._high = calibration.range_max_ticks

    @classmethod
    def open(cls, bus: ServoBus, calibration: Calibration, clock: Clock) -> "Follower":
        """Take torque off, check the servos and the calibration, and configure what differs.

        Torque goes first: a killed program may have left it on, and an arm that is refused is
        not left powered.
        """
        release_torque(bus)
        check_servos(bus, "follower")
        check_calibration(bus, calibration, "follower")
        follower = cls(bus, calibration, clock)
        follower.release()
        follower._configure()
        follower._reader.prime()
        return follower

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def torque_on(self) -> None:
        """Power the joints where they stand.

        The stale goal register is overwritten before torque comes on.

        Raises:
            ServoTimeout: a servo did not take its goal or torque; torque is off again everywhere
            (see `torque_state`).
        """
        try:
            for servo_id in SERVO_IDS:
                present = self.bus.read(servo_id, PRESENT_POSITION)
                joint = self.calibration.joints[servo_id - 1]
                goal = min(max(present, joint.range_min), joint.range_max)
                self.bus.write_verified(servo_id, GOAL_POSITION, goal)
                self.bus.write_verified(servo_id, TORQUE_ENABLE, 1)
                self.bus.write(servo_id, LOCK, 1)
        except So101Error:
            self.release()
            raise
        self.torque_state = TORQUE_ON

    def read(self) -> JointSample:
        """Return the newest sample of all six joints.

        Raises:
            ServoTimeout: a servo stays silent.
        """
        self._reader.request()
        return self._reader.collect()

    def send_deg(self, goal_deg: FloatVector) -> None:
        """Write six goals, rounded to ticks and clipped to the calibrated range."""
        ticks = np.clip(deg_to_ticks(goal_deg, self.calibration), self._low, self._high)
        self.bus.write_goals(ticks.tolist())

    def release(self) -> str:
        """Take torque off, read it back, and say the state; never raises."""
        self.torque_state = release_torque(self.bus)
        return self.torque_state

    def _configure(self) -> None:
        """Write only registers that differ (flash wears), read back, and lock the EEPROM again."""
        for servo_id in SERVO_IDS:
            wanted = list(FOLLOWER_REGISTERS)
            phase = self.bus.read(servo_id, PHASE)
            wanted.append((PHASE, phase & ~PHASE_MULTI_TURN))
            if servo_id == SERVO_IDS[GRIPPER]:
                wanted.extend(GRIPPER_REGISTERS)
            different = [
                (register, value)
                for register, value in wanted
                if self.bus.read(servo_id, register) != value
            ]
            if different:
                self.bus.write(servo_id, LOCK, 0)
                for register, value in different:
                    self.bus.write_verified(servo_id, register, value)
            self.bus.write(servo_id, LOCK, 1)
            for register, value in MOTION_REGISTERS:
                is_gripper_torque = register is TORQUE_LIMIT and servo_id == SERVO_IDS[GRIPPER]
                self.bus.write_verified(
                    servo_id, register, GRIPPER_TORQUE_LIMIT if is_gripper_torque else value
                )


def release_torque(bus: ServoBus) -> str:
    """Broadcast torque-off twice, read every servo back, and return the state; never raises."""
    is_off = True
    try:
        bus.broadcast_torque_off()
    except So101Error:
        return TORQUE_UNKNOWN
    for servo_id in bus.ids:
        try:
            if bus.read(servo_id, TORQUE_ENABLE) != 0:
                bus.write(servo_id, TORQUE_ENABLE, 0)
                is_off &= bus.read(servo_id, TORQUE_ENABLE) == 0
        except So101Error:
            is_off = False
    return TORQUE_OFF if is_off else TORQUE_UNKNOWN
