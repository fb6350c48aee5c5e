from pathlib import Path

import msgspec
import numpy as np
import pytest

from deploy.checkpoint import JOINT_NAMES, Checkpoint, ImageSize
from deploy.preflight import check_rig, check_start
from robot.errors import CalibrationMismatch, ConfigError, LimitRefused
from robot.joints import Calibration, JointCalibration
from robot.rig import ArmProfile, CameraProfile, RigProfile

CALIBRATION = Calibration(tuple(JointCalibration(i, 0, 0, 1000, 3000) for i in range(1, 7)))
CHECKPOINT = Checkpoint(
    path=Path("pretrained_model"),
    policy_type="so101_flow",
    weights_sha256="0" * 64,
    chunk_steps=24,
    execute_steps=12,
    fps=30.0,
    joint_names=JOINT_NAMES,
    cameras={"wrist": ImageSize(320, 240), "front": ImageSize(320, 240)},
    dataset="",
    calibration_sha256=CALIBRATION.sha256,
    state_min_deg=np.full(6, -20.0),
    state_max_deg=np.full(6, 30.0),
)


def rig(**cameras: CameraProfile) -> RigProfile:
    arm = ArmProfile(port="/dev/ttyACM0", id="arm")
    return RigProfile(schema=1, name="bench", leader=arm, follower=arm, cameras=cameras)


def camera(width: int = 320, height: int = 240, fps: int = 30) -> CameraProfile:
    return CameraProfile(address="/dev/v4l/by-path/x", width=width, height=height, fps=fps)


def changed(**values: object) -> Checkpoint:
    return msgspec.structs.replace(CHECKPOINT, **values)


def test_a_rig_that_fits_raises_nothing_and_needs_no_note() -> None:
    assert check_rig(CHECKPOINT, rig(wrist=camera(), front=camera()), CALIBRATION) == []


def test_a_missing_camera_is_named_with_what_there_is() -> None:
    with pytest.raises(
        ConfigError,
        match="needs the cameras front, wrist, the rig 'bench' has side, wrist: front missing",
    ):
        check_rig(CHECKPOINT, rig(wrist=camera(), side=camera()), CALIBRATION)


def test_another_picture_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(ConfigError, match=r"'front' is set to 640x480 .* 320x240"):
        check_rig(CHECKPOINT, rig(wrist=camera(), front=camera(640, 480)), CALIBRATION)


def test_permuted_joints_are_refused() -> None:
    names = (JOINT_NAMES[1], JOINT_NAMES[0], *JOINT_NAMES[2:])

    with pytest.raises(ConfigError, match="trained on the joints shoulder_lift"):
        check_rig(changed(joint_names=names), rig(wrist=camera(), front=camera()), CALIBRATION)


def test_another_calibration_is_refused_unless_accepted() -> None:
    checkpoint = changed(calibration_sha256="f" * 64)
    profile = rig(wrist=camera(), front=camera())

    with pytest.raises(CalibrationMismatch, match="--accept-calibration"):
        check_rig(checkpoint, profile, CALIBRATION)
    notes = check_rig(checkpoint, profile, CALIBRATION, is_other_calibration_accepted=True)

    assert "ffffffff" in notes[0]


def test_what_is_not_known_and_what_is_not_used_is_said() -> None:
    checkpoint = changed(calibration_sha256="", joint_names=(), state_min_deg=None)
    profile = rig(wrist=camera(fps=15), front=camera(), side=camera())

    notes = check_rig(checkpoint, profile, CALIBRATION)

    assert len(notes) == 5
    assert "does not look at the camera side" in notes[0]
    assert "'wrist' delivers 15 pictures" in notes[1]


def test_inside_the_training_data_the_start_is_fine() -> None:
    pose = check_start(CHECKPOINT, np.zeros(6))

    assert pose.distance_deg.tolist() == [0.0] * 6
    assert pose.sentence == "the arm stands where the policy was trained"


def test_a_little_outside_is_said_per_joint() -> None:
    pose = check_start(CHECKPOINT, np.array([0.0, -32.0, 0.0, 0.0, 0.0, 50.0]))

    assert pose.distance_deg.tolist() == [0.0, 12.0, 0.0, 0.0, 0.0, 20.0]
    assert "shoulder_lift 12°, gripper 20%" in pose.sentence


@pytest.mark.parametrize(("distance_deg", "is_refused"), [(56.9, False), (57.1, True)])
def test_a_radian_outside_is_refused(distance_deg: float, is_refused: bool) -> None:
    observed = np.array([0.0, 0.0, 30.0 + distance_deg, 0.0, 0.0, 0.0])

    if is_refused:
        with pytest.raises(LimitRefused, match="elbow_flex stands at 87°"):
            check_start(CHECKPOINT, observed)
    else:
        assert check_start(CHECKPOINT, observed).distance_deg[2] == pytest.approx(distance_deg)
