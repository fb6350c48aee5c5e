"""What must agree between a checkpoint and a rig before torque goes on.

Refused: cameras missing or of another size, other joints, another calibration, a start far from all
training data. Said, not refused: what the checkpoint does not know, and cameras slower than the
policy.
"""

from collections.abc import Iterable

import msgspec
import numpy as np

from deploy.checkpoint import JOINT_NAMES, Checkpoint
from robot.errors import CalibrationMismatch, ConfigError, LimitRefused
from robot.joints import JOINTS, Calibration, FloatVector
from robot.rig import RigProfile

REFUSED_DISTANCE_DEG = (
    57.0  # one radian outside the training data: the start ramp would be a long blind walk
)
SAID_DISTANCE_DEG = 5.0


class StartPose(msgspec.Struct, frozen=True):
    """How far each joint stands outside what the policy has seen; 0 inside."""

    distance_deg: FloatVector  # shape (6,), gripper percent

    @property
    def sentence(self) -> str:
        """Say which joints stand outside, for a person."""
        outside = [
            f"{joint} {distance:.0f}{'%' if joint == 'gripper' else '°'}"
            for joint, distance in zip(JOINTS, self.distance_deg, strict=True)
            if distance > SAID_DISTANCE_DEG
        ]
        if not outside:
            return "the arm stands where the policy was trained"
        return f"the arm stands outside the training data: {', '.join(outside)}"


def check_rig(
    checkpoint: Checkpoint,
    profile: RigProfile,
    calibration: Calibration,
    *,
    is_other_calibration_accepted: bool = False,
) -> list[str]:
    """Compare what the checkpoint expects with the rig; returns what a person should know.

    Raises:
        ConfigError: cameras or joints do not fit.
        CalibrationMismatch: the follower was calibrated anew since the data was recorded.
    """
    notes = check_cameras(checkpoint, profile)
    if not checkpoint.joint_names:
        notes.append(
            "the dataset does not name its joints; they are taken to be in this project's order"
        )
    elif checkpoint.joint_names != JOINT_NAMES:
        raise ConfigError(
            f"the policy was trained on the joints {', '.join(checkpoint.joint_names)}; this arm "
            "has "
            f"{', '.join(JOINT_NAMES)}, in this order: use a policy of this arm"
        )
    if not checkpoint.calibration_sha256:
        notes.append("the checkpoint does not say with which calibration its data was recorded")
    elif checkpoint.calibration_sha256 != calibration.sha256:
        sentence = (
            f"the policy's data was recorded with calibration {checkpoint.calibration_sha256[:8]} "
            "of the follower, "
            f"the rig now has {calibration.sha256[:8]}: angles mean another pose"
        )
        if not is_other_calibration_accepted:
            raise CalibrationMismatch(
                f"{sentence}; put the old calibration file back, train on new data, or pass "
                "--accept-calibration"
            )
        notes.append(sentence)
    if checkpoint.state_min_deg is None:
        notes.append(
            "the checkpoint does not say which poses it has seen; the start pose is not checked"
        )
    return notes


def check_start(checkpoint: Checkpoint, observed_deg: FloatVector) -> StartPose:
    """Measure how far the arm stands from what the policy has seen.

    Raises:
        LimitRefused: more than one radian outside; names the joint.
    """
    if checkpoint.state_min_deg is None or checkpoint.state_max_deg is None:
        return StartPose(np.zeros(6))
    below_deg = checkpoint.state_min_deg - observed_deg
    above_deg = observed_deg - checkpoint.state_max_deg
    distance_deg: FloatVector = np.maximum(0.0, np.maximum(below_deg, above_deg))
    worst = int(np.argmax(distance_deg))
    if distance_deg[worst] > REFUSED_DISTANCE_DEG:
        unit = "%" if JOINTS[worst] == "gripper" else "°"
        raise LimitRefused(
            f"{JOINTS[worst]} stands at {observed_deg[worst]:.0f}{unit}, "
            f"{distance_deg[worst]:.0f}{unit} outside what the "
            "policy was trained on; move the arm near to where the demonstrations began, then "
            "start again"
        )
    return StartPose(distance_deg)


def check_cameras(checkpoint: Checkpoint, profile: RigProfile) -> list[str]:
    """Compare the cameras alone, before any device is opened; raises and returns as `check_rig`."""
    notes: list[str] = []
    missing = sorted(set(checkpoint.cameras) - set(profile.cameras))
    if missing:
        raise ConfigError(
            f"the policy needs the cameras {_names(checkpoint.cameras)}, the rig '{profile.name}' "
            "has "
            f"{_names(profile.cameras)}: {_names(missing)} missing; name them so in the rig profile"
        )
    unused = sorted(set(profile.cameras) - set(checkpoint.cameras))
    if unused:
        notes.append(f"the policy does not look at the camera {_names(unused)}")
    for name, size in sorted(checkpoint.cameras.items()):
        camera = profile.cameras[name]
        if (camera.width, camera.height) != (size.width, size.height):
            raise ConfigError(
                f"camera '{name}' is set to {camera.width}x{camera.height} pixels, the policy was "
                "trained on "
                f"{size.width}x{size.height}; set that size in the rig profile"
            )
        if camera.fps < checkpoint.fps:
            notes.append(
                f"camera '{name}' delivers {camera.fps} pictures a second, the policy was trained "
                f"at {checkpoint.fps:g}"
            )
    return notes


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
