"""The arm's geometry against the published check points, and inverse against forward."""

import xml.etree.ElementTree as ET
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.joints import GRIPPER
from robot.kinematics import (
    DOWN,
    RANGE_MAX_RAD,
    RANGE_MIN_RAD,
    ArmKinematics,
    deg_to_model_rad,
    model_rad_to_deg,
)

# Joint angles (rad) and the position of `gripperframe` (m), by MuJoCo from TheRobotStudio's
# TheRobotStudio's SO-101 "new calibration" model, with its meshes and its own file (Apache-2.0).
CHECK_POINTS = [
    ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.391362, -1.1e-05, 0.226469]),
    (
        [0.525895, -0.803596, -1.551509, -1.603255, 1.798311, 1.577832],
        [-0.170967, 0.112623, 0.189537],
    ),
    (
        [0.409452, 0.801094, 0.147452, 1.442755, 1.812739, -0.169275],
        [0.125855, -0.046364, -0.041588],
    ),
    (
        [1.372334, -1.628093, 0.776235, -1.075567, 2.077053, 0.864998],
        [0.020431, 0.055156, 0.390967],
    ),
    (
        [-0.769051, -0.269873, -1.59428, -1.245924, 1.001626, 1.067982],
        [-0.082672, -0.126983, 0.369608],
    ),
    ([0.443047, -0.406042, 1.68057, 1.59451, 1.084941, 1.074259], [-0.05307, 0.035766, 0.064404]),
    (
        [0.723584, -0.387737, -1.233374, 0.734483, 0.190285, 0.421089],
        [0.119116, -0.072935, 0.484337],
    ),
    (
        [-0.054388, 1.359569, 1.467067, -0.471569, 0.448177, 0.443412],
        [-0.058704, -0.008767, -0.041546],
    ),
    ([0.362086, -0.565797, -0.366328, 1.294199, -1.47516, 1.0219], [0.246015, -0.070239, 0.281096]),
    (
        [-1.597266, 1.161147, 0.970392, -0.864284, 2.151364, -0.06209],
        [0.042293, 0.129202, -0.131949],
    ),
    (
        [-0.629265, -1.220755, -0.167853, 0.982648, -1.455698, -0.074659],
        [0.115288, 0.065169, 0.377313],
    ),
    (
        [-0.366495, -1.052388, -1.383255, 0.266392, -1.075613, 1.115605],
        [-0.193527, -0.081848, 0.413847],
    ),
]
READY_DEG = np.array([0.0, -45.0, 40.0, 70.0, 0.0, 20.0])
GRASP_POINT_M = np.array([0.011, 0.0, -0.095])


@pytest.fixture(scope="module")
def arm() -> ArmKinematics:
    return ArmKinematics()


@pytest.mark.parametrize(("angles_rad", "position_m"), CHECK_POINTS)
def test_forward_equals_the_check_points_to_a_tenth_of_a_millimetre(
    arm: ArmKinematics, angles_rad: list[float], position_m: list[float]
) -> None:
    pose = arm.forward(model_rad_to_deg(np.array(angles_rad)))

    assert np.abs(pose.position_m - position_m).max() < 1e-4
    assert np.allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-5)


def test_ranges_are_those_of_the_model() -> None:
    text = (resources.files("robot") / "model" / "so101.xml").read_text()
    ranges = [
        joint.attrib["range"].split()
        for joint in ET.fromstring(text).iter("joint")
        if "range" in joint.attrib
    ]

    assert np.array(ranges, dtype=float).T.tolist() == [
        RANGE_MIN_RAD.tolist(),
        RANGE_MAX_RAD.tolist(),
    ]


def test_gripper_percent_is_its_joint_range() -> None:
    closed, opened = np.zeros(6), np.zeros(6)
    opened[GRIPPER] = 100.0

    assert deg_to_model_rad(closed)[GRIPPER] == RANGE_MIN_RAD[GRIPPER]
    assert deg_to_model_rad(opened)[GRIPPER] == pytest.approx(RANGE_MAX_RAD[GRIPPER])


@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6))
def test_units_come_back(shares: list[float]) -> None:
    rad = RANGE_MIN_RAD + np.array(shares) * (RANGE_MAX_RAD - RANGE_MIN_RAD)

    assert deg_to_model_rad(model_rad_to_deg(rad)) == pytest.approx(rad, abs=1e-12)


@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6))
def test_jacobian_is_the_slope_of_forward(shares: list[float]) -> None:
    arm = ArmKinematics()
    rad = RANGE_MIN_RAD + np.array(shares) * (RANGE_MAX_RAD - RANGE_MIN_RAD)
    jacobian = arm.jacobian(model_rad_to_deg(rad))

    for joint in range(5):
        ahead, behind = rad.copy(), rad.copy()
        ahead[joint] += 1e-6
        behind[joint] -= 1e-6
        one, other = arm.forward(model_rad_to_deg(ahead)), arm.forward(model_rad_to_deg(behind))
        slope = (one.position_m - other.position_m) / 2e-6
        spin = (
            (one.rotation - other.rotation) / 2e-6 @ arm.forward(model_rad_to_deg(rad)).rotation.T
        )
        assert jacobian[:3, joint] == pytest.approx(slope, abs=1e-7)
        assert jacobian[3:, joint] == pytest.approx([spin[2, 1], spin[0, 2], spin[1, 0]], abs=1e-7)


@given(st.floats(0.18, 0.30), st.floats(-0.12, 0.12), st.floats(0.0, 0.10), st.floats(-60, 60))
def test_inverse_reaches_the_workspace_and_keeps_roll(
    x: float, y: float, z: float, roll: float
) -> None:
    arm = ArmKinematics()
    start = READY_DEG.copy()
    start[4] = roll
    target = np.array([x, y, z])

    solution = arm.inverse(target, start, point_m=GRASP_POINT_M)

    body = arm.gripper_body(solution.position_deg)
    assert np.linalg.norm(body.position_m + body.rotation @ GRASP_POINT_M - target) < 1e-4
    assert solution.position_error_m < 1e-4
    assert solution.position_deg[4] == pytest.approx(roll)
    assert solution.position_deg[5] == pytest.approx(READY_DEG[5])
    rad = deg_to_model_rad(solution.position_deg)
    assert np.all(rad >= RANGE_MIN_RAD - 1e-12)
    assert np.all(rad <= RANGE_MAX_RAD + 1e-12)


def test_fingers_point_down_where_the_wrist_allows(arm: ArmKinematics) -> None:
    low = arm.inverse(np.array([0.26, 0.05, 0.016]), READY_DEG, point_m=GRASP_POINT_M)
    high = arm.inverse(np.array([0.26, 0.05, 0.13]), READY_DEG, point_m=GRASP_POINT_M)

    assert low.axis_error_rad < 1e-5
    assert -arm.gripper_body(low.position_deg).rotation[:, 2] == pytest.approx(DOWN, abs=1e-5)
    # The wrist is at its end (95 degrees): the tilt goes, the place stays.
    assert high.axis_error_rad > 0.1
    assert high.position_error_m < 1e-4
    assert high.position_deg[3] == pytest.approx(95.0, abs=0.01)


def test_inverse_says_how_far_it_stayed_away(arm: ArmKinematics) -> None:
    solution = arm.inverse(np.array([0.9, 0.0, 0.2]), READY_DEG)

    reached = arm.forward(solution.position_deg).position_m
    assert solution.position_error_m == pytest.approx(np.linalg.norm(reached - [0.9, 0.0, 0.2]))
    assert 0.4 < solution.position_error_m < 0.6
