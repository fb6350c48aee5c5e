"""Heights against MuJoCo's own, for the same boxes."""

from importlib import resources

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.arm_heights import ArmHeights
from robot.joints import FloatVector
from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD, model_rad_to_deg

BODIES = ("lower_arm", "wrist", "gripper", "moving_jaw_so101_v1")
COLLISION_GROUP = 3
SHARES = st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6)


@pytest.fixture(scope="module")
def heights() -> ArmHeights:
    return ArmHeights()


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    text = (resources.files("robot") / "model" / "so101.xml").read_text()
    return mujoco.MjSpec.from_string(text).compile()


def rad_of(shares: list[float]) -> FloatVector:
    return RANGE_MIN_RAD + np.array(shares) * (RANGE_MAX_RAD - RANGE_MIN_RAD)


@given(SHARES)
def test_the_lowest_corner_is_mujocos(
    heights: ArmHeights, model: mujoco.MjModel, shares: list[float]
) -> None:
    data = mujoco.MjData(model)
    data.qpos[:6] = rad_of(shares)
    mujoco.mj_kinematics(model, data)
    bodies = {model.body(name).id for name in BODIES}
    expected_m = min(
        data.geom_xpos[geom][2]
        - np.abs(data.geom_xmat[geom].reshape(3, 3)[2]) @ model.geom_size[geom]
        for geom in range(model.ngeom)
        if model.geom_bodyid[geom] in bodies and model.geom_group[geom] == COLLISION_GROUP
    )

    lowest = heights.lowest(model_rad_to_deg(rad_of(shares)).tolist())

    assert lowest.height_m == pytest.approx(expected_m, abs=1e-9)


@given(SHARES)
def test_slopes_are_those_of_the_corner(heights: ArmHeights, shares: list[float]) -> None:
    rad = rad_of(shares)
    lowest = heights.lowest(model_rad_to_deg(rad).tolist())

    slope = heights.slope_m_rad(model_rad_to_deg(rad).tolist(), lowest)

    for joint in range(6):
        ahead, behind = rad.copy(), rad.copy()
        ahead[joint] += 1e-6
        behind[joint] -= 1e-6
        one, other = (heights.lowest(model_rad_to_deg(each).tolist()) for each in (ahead, behind))
        if one.corner == other.corner == lowest.corner:  # else it has a kink just here
            expected = (one.height_m - other.height_m) / 2e-6
            assert slope[joint] == pytest.approx(expected, abs=1e-6)
    assert slope[0] == 0.0
