"""Forward kinematics, Jacobian and inverse kinematics of the arm, from `model/so101.xml`.

Plain numpy: the control process, which jogs the gripper with it on every tick, needs no physics
engine. The MJCF is read once; nothing here keeps state between calls. Joint vectors are
`_deg` as everywhere above the bus (shape (6,), gripper percent); `_rad` is the model's own
convention. Positions are metres in the base frame (x ahead, z up, table at z = 0 where the base
stands on it).
"""

from dataclasses import dataclass

import numpy as np

from robot.arm_model import Matrix, child_of, frame_of, moving_bodies
from robot.joints import GRIPPER, FloatVector

# Joint ranges of the model, `model/so101.xml` (a test compares them).
RANGE_MIN_RAD: FloatVector = np.array(
    [-1.919862, -1.745329, -1.69, -1.658063, -2.743847, -0.174533]
)
RANGE_MAX_RAD: FloatVector = np.array([1.919862, 1.745329, 1.69, 1.658063, 2.841206, 1.745329])

DOWN: FloatVector = np.array([0.0, 0.0, -1.0])

_GRIPPER_BODY = 4  # its place in the chain of moving bodies
_MOVED = (
    4  # joints the inverse uses: pan, lift, elbow, wrist flex; roll and gripper stay as they are
)
_MIN_RAD, _MAX_RAD = RANGE_MIN_RAD[:_MOVED], RANGE_MAX_RAD[:_MOVED]
_STILL_RAD = 1e-9  # a step below this ends the search
_MAX_STEP_RAD = 0.2  # an iteration moves no joint farther: the linear model holds no longer
_MAX_ERROR_M = 0.05  # nor chases more of the error at a time
# Square of the lever (m) below which a singular direction is given up, so that the
# steps of a stretched arm stay finite.
_DAMPING = 1e-3


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a frame is, in the base frame: shapes (3,) and (3, 3), the axes as columns."""

    position_m: FloatVector
    rotation: Matrix


@dataclass(frozen=True, slots=True)
class InverseSolution:
    """The joints nearest to a wish, and how far from it; the caller decides what is near enough."""

    position_deg: FloatVector
    position_error_m: float
    axis_error_rad: float


def deg_to_model_rad(position_deg: FloatVector) -> FloatVector:
    """Convert degrees to the model's radians; gripper 0..100 % is its joint's whole range."""
    rad = np.deg2rad(position_deg)
    span = RANGE_MAX_RAD[GRIPPER] - RANGE_MIN_RAD[GRIPPER]
    rad[GRIPPER] = RANGE_MIN_RAD[GRIPPER] + position_deg[GRIPPER] / 100.0 * span
    return rad


def model_rad_to_deg(position_rad: FloatVector) -> FloatVector:
    """Convert the model's radians to degrees (gripper percent)."""
    deg = np.rad2deg(position_rad)
    span = RANGE_MAX_RAD[GRIPPER] - RANGE_MIN_RAD[GRIPPER]
    deg[GRIPPER] = (position_rad[GRIPPER] - RANGE_MIN_RAD[GRIPPER]) / span * 100.0
    return deg


class ArmKinematics:
    """The arm's geometry, read from the packaged MJCF; pure, may be called from any thread."""

    def __init__(self) -> None:
        moving = moving_bodies()
        # Each link as its parent sees it is still + cos(q) with_cosine + sin(q) with_sine: every
        # joint turns about its body's z.
        links = np.array([frame_of(body) for body in moving])
        self._still = links.copy()
        self._still[:, :, :2] = 0.0
        self._with_cosine = links - self._still
        self._with_sine = np.zeros_like(links)
        self._with_sine[:, :, 0] = links[:, :, 1]
        self._with_sine[:, :, 1] = -links[:, :, 0]
        self._frame = frame_of(child_of(moving[_GRIPPER_BODY], "site"))

    def forward(self, position_deg: FloatVector) -> Pose:
        """Return the pose of the `gripperframe`, the point between the fingertips."""
        frame = self._chain(deg_to_model_rad(position_deg))[_GRIPPER_BODY] @ self._frame
        return Pose(frame[:3, 3], frame[:3, :3])

    def gripper_body(self, position_deg: FloatVector) -> Pose:
        """Return the pose of the gripper body; the fingers point along its -z axis."""
        body = self._chain(deg_to_model_rad(position_deg))[_GRIPPER_BODY]
        return Pose(body[:3, 3], body[:3, :3])

    def jacobian(self, position_deg: FloatVector) -> Matrix:
        """Return how the `gripperframe` moves with the five arm joints.

        Shape (6, 5): three rows of m/rad, then three of rad/rad (rotation vector in the base
        frame).
        """
        chain = self._chain(deg_to_model_rad(position_deg))
        return _jacobian(chain[:5], (chain[_GRIPPER_BODY] @ self._frame)[:3, 3])

    def inverse(
        self,
        target_m: FloatVector,
        start_deg: FloatVector,
        *,
        point_m: FloatVector | None = None,
        axis: FloatVector = DOWN,
        iterations: int = 60,
    ) -> InverseSolution:
        """Find joints that bring a point of the gripper to `target_m`, fingers along `axis`.

        Damped least squares on pan, lift, elbow and wrist flex within the model's ranges: position
        first, the direction of the fingers in what freedom is left. Roll and gripper keep their
        values of `start_deg`.

        Args:
            target_m: where the point shall be, base frame, shape (3,).
            start_deg: where to search from; the solution nearest to it is found.
            point_m: the point in the gripper body, shape (3,); the `gripperframe` if not given.
            axis: wanted direction of the fingers, unit vector in the base frame.
            iterations: at most; the search ends earlier once it stands still.
        """
        point = np.append(self._frame[:3, 3] if point_m is None else point_m, 1.0)
        rad = np.clip(deg_to_model_rad(start_deg), RANGE_MIN_RAD, RANGE_MAX_RAD)
        for _ in range(iterations):
            moved = np.clip(
                rad[:_MOVED] + self._inverse_step(rad, target_m, point, axis), _MIN_RAD, _MAX_RAD
            )
            change = np.abs(moved - rad[:_MOVED]).max()
            rad[:_MOVED] = moved
            if change < _STILL_RAD:
                break
        gripper = self._chain(rad)[_GRIPPER_BODY]
        error_m = float(np.linalg.norm(target_m - (gripper @ point)[:3]))
        cosine = float(np.clip(-gripper[:3, 2] @ axis, -1.0, 1.0))
        return InverseSolution(model_rad_to_deg(rad), error_m, float(np.arccos(cosine)))

    def _inverse_step(
        self, rad: FloatVector, target_m: FloatVector, point_m: FloatVector, axis: FloatVector
    ) -> FloatVector:
        """Return one step of four joints; one at its end that would go beyond takes no part."""
        chain = self._chain(rad)
        gripper = chain[_GRIPPER_BODY]
        point = (gripper @ point_m)[:3]
        error = target_m - point
        distance = float(np.linalg.norm(error))
        error = error * min(1.0, _MAX_ERROR_M / max(distance, _MAX_ERROR_M))
        turn = _cross(-gripper[:3, 2], axis)
        full = _jacobian(chain[:_MOVED], point)
        free = np.ones(_MOVED)
        while True:
            # Damped pseudo-inverse by singular values; the damping fades with the error, so that
            # the last steps are exact.
            left, size, right = np.linalg.svd(full[:3] * free)
            damped = size / (size**2 + _DAMPING * min(1.0, distance / _MAX_ERROR_M) + 1e-9)
            step = right[:3].T @ (damped * (left.T @ error))
            if free.all():  # one direction is left that does not move the point
                idle = right[3]
                rate = full[3:] @ idle
                step = step + idle * ((rate @ (turn - full[3:] @ step)) / (rate @ rate + 1e-2))
            at_end = ((rad[:_MOVED] <= _MIN_RAD) & (step < -_STILL_RAD)) | (
                (rad[:_MOVED] >= _MAX_RAD) & (step > _STILL_RAD)
            )
            if not (at_end & (free > 0)).any():
                longest = max(float(np.abs(step).max()), _MAX_STEP_RAD)
                shortened: FloatVector = step * (_MAX_STEP_RAD / longest)
                return shortened
            free = free * ~at_end

    def _chain(self, rad: FloatVector) -> Matrix:
        """Return the frame of each moving body in the base frame, pan to jaw, shape (6, 4, 4)."""
        cosine, sine = np.cos(rad)[:, None, None], np.sin(rad)[:, None, None]
        frames: Matrix = self._still + cosine * self._with_cosine + sine * self._with_sine
        for index in range(1, len(frames)):
            frames[index] = frames[index - 1] @ frames[index]
        return frames


def _jacobian(frames: Matrix, point_m: FloatVector) -> Matrix:
    """Return a point's six rows of velocity for joints that turn about the z axes of `frames`."""
    axes = frames[:, :3, 2].T
    return np.concatenate([_cross(axes, point_m[:, None] - frames[:, :3, 3].T), axes])


def _cross(a: Matrix, b: Matrix) -> Matrix:
    """Cross product along the first axis; `np.cross` takes ten times as long for so little."""
    return np.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )
