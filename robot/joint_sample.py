"""What the six servos of one arm said in one transaction."""

from dataclasses import dataclass

from robot.joints import FloatVector


@dataclass(frozen=True, slots=True)
class JointSample:
    """What six servos said in one transaction; arrays of shape (6,), ordered as `joints.JOINTS`.

    A servo that gave no valid reply keeps its last values, and its `time_s` stays behind: a sample
    never looks fresher than it is.
    """

    time_s: FloatVector  # per joint, when the servo was asked, seconds
    position_deg: FloatVector  # degrees, gripper percent
    velocity_deg_s: FloatVector  # degrees (gripper percent) per second
    load_pct: FloatVector  # PWM duty of the motor, -100..100
    voltage_v: FloatVector
    temperature_celsius: FloatVector
    current_ma: FloatVector
    status: tuple[int, ...]  # error byte of each reply, see registers.STATUS_BITS
