"""Turn a wanted motion of the gripper into a step of the joints: straight and bounded.

The arm has five joints, so five motions of the gripper can be asked for independently: three of its
position, tilt about the wrist-flex axis and roll about the gripper's own axis. All five are solved
together by the Jacobian. Where that is impossible, the position goes first: a joint at its end is
left out and tilt or roll give way; where even the position cannot follow (or the arm would come to
a singular pose), nothing moves and `blocked` says why.
"""

from dataclasses import dataclass

import numpy as np

from robot.joints import GRIPPER, JOINTS, FloatVector
from robot.kinematics import ArmKinematics

JOINT_SPEED_DEG_S = 90.0  # near a singular pose the gripper slows down instead of a joint racing
LEVER_M = 0.1  # weighs a radian of tilt or roll against a metre of position in the least squares
YIELDING_LEVER_M = 0.003  # the same once a joint is at its end: tilt and roll give way to position
SINGULAR_M = (
    0.02  # singular value (m/rad) below which a pose counts as near singular and damping sets in
)
DAMPING_M = 0.02  # and its size at a fully singular pose
OFF_COURSE = 0.25  # share of the velocity that may be missed before a motion is impossible
AT_END_DEG = 0.01


@dataclass(frozen=True, slots=True)
class JogStep:
    """Where the joints go next, and what stands in the way."""

    position_deg: FloatVector  # shape (6,)
    blocked: str  # one reason in a few words; empty while the motion goes on


class JogMotion:
    """Steps of one arm within its joint ranges; keeps no state between calls."""

    def __init__(
        self, kinematics: ArmKinematics, low_deg: FloatVector, high_deg: FloatVector
    ) -> None:
        self._kinematics = kinematics
        self._low_deg = low_deg
        self._high_deg = high_deg

    def step(self, position_deg: FloatVector, velocity: FloatVector, step_s: float) -> JogStep:
        """Move from `position_deg` with `velocity` for `step_s`.

        Args:
            position_deg: six joints, within the range.
            velocity: shape (6,) in the order of `key_map.JogAxis`: m/s (three), rad/s (two),
            gripper percent/s.
            step_s: seconds, small: one tick of the loop.
        """
        moved_deg = position_deg.copy()
        moved_deg[GRIPPER] += velocity[GRIPPER] * step_s
        moved_deg = np.clip(moved_deg, self._low_deg, self._high_deg)
        blocked = ""
        if velocity[:GRIPPER].any():
            arm_deg, blocked = self._step_arm(position_deg, velocity[:GRIPPER], step_s)
            moved_deg[:GRIPPER] = arm_deg
        return JogStep(moved_deg, blocked)

    def _step_arm(
        self, position_deg: FloatVector, velocity: FloatVector, step_s: float
    ) -> tuple[FloatVector, str]:
        """Return the five arm joints after the step, and why they stand still if they do."""
        start_deg: FloatVector = position_deg[:GRIPPER]
        rows = self._rows(position_deg)
        speed_rad_s, at_end = self._joint_speeds(start_deg, rows, velocity)
        missed_m_s = float(np.linalg.norm(rows[:3] @ speed_rad_s - velocity[:3]))
        wanted_m_s = float(np.linalg.norm(velocity * [1.0, 1.0, 1.0, LEVER_M, LEVER_M]))
        if at_end and missed_m_s > OFF_COURSE * wanted_m_s:
            return start_deg, f"{at_end} is at its end"
        step_deg: FloatVector = np.rad2deg(speed_rad_s) * step_s
        step_deg *= min(1.0, JOINT_SPEED_DEG_S * step_s / max(float(np.abs(step_deg).max()), 1e-12))
        moved_deg = np.clip(start_deg + step_deg, self._low_deg[:GRIPPER], self._high_deg[:GRIPPER])
        smallest_m = _smallest_singular_value(rows)
        if smallest_m < SINGULAR_M:
            next_rows = self._rows(np.append(moved_deg, position_deg[GRIPPER]))
            if _smallest_singular_value(next_rows) < smallest_m - 1e-9:
                return start_deg, "the arm reaches no farther this way"
        return moved_deg, f"{at_end} is at its end: the gripper turns" if at_end else ""

    def _joint_speeds(
        self, position_deg: FloatVector, rows: FloatVector, velocity: FloatVector
    ) -> tuple[FloatVector, str]:
        """Return joint speeds in rad/s, shape (5,), and the first joint pushed beyond its end."""
        is_free = np.ones(GRIPPER, dtype=bool)
        lever_m = LEVER_M
        first_at_end = ""
        while True:
            weights = np.array([1.0, 1.0, 1.0, lever_m, lever_m])
            speed_rad_s = np.zeros(GRIPPER)
            speed_rad_s[is_free] = damped_solve(
                weights[:, None] * rows[:, is_free], weights * velocity
            )
            room_deg = np.where(
                speed_rad_s > 0,
                self._high_deg[:GRIPPER] - position_deg,
                position_deg - self._low_deg[:GRIPPER],
            )
            pushed = is_free & (room_deg < AT_END_DEG) & (speed_rad_s != 0.0)
            if not pushed.any() or pushed.sum() == is_free.sum():
                return np.where(pushed, 0.0, speed_rad_s), first_at_end
            first_at_end = first_at_end or JOINTS[int(np.argmax(pushed))]
            is_free &= ~pushed
            lever_m = YIELDING_LEVER_M

    def _rows(self, position_deg: FloatVector) -> FloatVector:
        """Return how position (m), tilt and roll (rad) move with five joints (rad): (5, 5)."""
        jacobian = self._kinematics.jacobian(position_deg)
        tilt_axis = -jacobian[3:, 3]  # positive wrist flex lowers the tip
        roll_axis = self._kinematics.forward(position_deg).rotation[:, 2]  # out of the gripper
        return np.vstack([jacobian[:3], tilt_axis @ jacobian[3:], roll_axis @ jacobian[3:]])


def damped_solve(rows: FloatVector, wanted: FloatVector) -> FloatVector:
    """Solve `rows @ x = wanted` in least squares; damped (Nakamura) near singular poses only."""
    left, sizes, right = np.linalg.svd(rows, full_matrices=False)
    nearness = np.clip(1.0 - sizes / SINGULAR_M, 0.0, 1.0)
    return right.T @ (sizes / (sizes**2 + (DAMPING_M * nearness) ** 2) * (left.T @ wanted))


def _smallest_singular_value(rows: FloatVector) -> float:
    weights = np.array([1.0, 1.0, 1.0, LEVER_M, LEVER_M])
    return float(np.linalg.svd(weights[:, None] * rows, compute_uv=False)[-1])
