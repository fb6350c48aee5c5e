"""An arm whose adapter came back: is it this arm, does it have torque, and is all of it there.

Its servos were powered all the while and kept their last goal. So they are only read until it is
sure whose they are, and a read that is lost is tried again: giving up leaves them powered.
"""

from collections.abc import Callable

from robot.arm_setup import CALIBRATED, check_stored, seed_goal, value_in
from robot.bus import ServoBus, joint_name
from robot.errors import (
    CalibrationMismatch,
    JointLost,
    NotConnected,
    ServoTimeout,
    So101Error,
)
from robot.joints import GRIPPER, SERVO_IDS, Calibration, JointCalibration
from robot.packets import BlockRead
from robot.registers import HOMING_OFFSET, MIN_POSITION_LIMIT, TORQUE_ENABLE, Register

# For so long is a servo asked that does not answer: as long as a silence ends a drive.
ANSWER_S = 0.5
REPLY_MARGIN_S = 0.010  # for one reply, beyond wire time

# From the first to the last of the values that a calibration is told by.
_STORED = Register(
    MIN_POSITION_LIMIT.address,
    HOMING_OFFSET.address + HOMING_OFFSET.size - MIN_POSITION_LIMIT.address,
)


type Reopen = Callable[[], ServoBus]


def find_arm(reopen: Reopen, calibration: Calibration) -> ServoBus | None:
    """Open the adapter if it is there and this arm answers on it, if only in part.

    Raises:
        CalibrationMismatch: another arm is there; nothing was written to it.
    """
    try:
        bus = reopen()
    except So101Error:  # a device that is just coming back fails in more ways than one
        return None
    try:
        check_same_arm(bus, calibration)
    except CalibrationMismatch:
        bus.close()
        raise
    except So101Error:
        bus.close()
        return None
    return bus


def check_same_arm(bus: ServoBus, calibration: Calibration) -> None:
    """Compare what the servos store with the calibration, as far as they answer; writes nothing.

    Raises:
        CalibrationMismatch: a servo that answers is another arm's.
        NotConnected: none answers, or the adapter went again.
    """
    block = BlockRead(_STORED, SERVO_IDS)
    give_up_s = bus.clock.now_s() + ANSWER_S
    heard: dict[int, bytes] = {}
    while len(heard) < len(SERVO_IDS) and bus.clock.now_s() < give_up_s:
        heard |= bus.read_block(block).data
    if not heard:
        raise NotConnected(
            f"no servo answers on {bus.port.name} (follower): check that the arm has power"
        )
    for joint in calibration.joints:
        data = heard.get(joint.id)
        if data is not None:
            table = bytes(_STORED.address) + data
            stored = tuple(value_in(table, register) for register in CALIBRATED)
            check_stored(bus, joint, stored, "follower")


def take_over(bus: ServoBus, calibration: Calibration, driven: frozenset[int]) -> frozenset[int]:
    """Make the present position the goal of each driven joint that has torque; return those.

    Raises:
        JointLost: a joint does not answer, or it lost its torque while others kept theirs.
        NotConnected: the adapter went again.
    """
    powered: set[int] = set()
    margin_s, bus.port.margin_s = bus.port.margin_s, REPLY_MARGIN_S
    try:
        for joint in calibration.joints:
            if joint.id in driven and _take_over_one(bus, joint):
                powered.add(joint.id)
    finally:
        bus.port.margin_s = margin_s
    lost = driven - powered - {SERVO_IDS[GRIPPER]}
    if lost and powered:
        names = ", ".join(joint_name(servo_id) for servo_id in sorted(lost))
        raise JointLost(
            f"{names} on {bus.port.name} came back without torque: check the plugs, "
            "then start again"
        )
    return frozenset(powered)


def _take_over_one(bus: ServoBus, joint: JointCalibration) -> bool:
    """Seed the goal of one joint; False when it has no torque."""
    give_up_s = bus.clock.now_s() + ANSWER_S
    while True:
        try:
            if bus.read(joint.id, TORQUE_ENABLE, tries=1) == 0:
                return False
            seed_goal(bus, joint, tries=1)
        except ServoTimeout as error:
            if bus.clock.now_s() >= give_up_s:
                raise JointLost(
                    f"{joint_name(joint.id)} on {bus.port.name} is mute since the adapter is back: "
                    "check its plug, then start again"
                ) from error
        else:
            return True
