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


def lowest_of_m(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """The lowest corner of the collision boxes, by MuJoCo's own frames."""
    bodies = {model.body(name).id for name in BODIES}
    return min(
        float(
            data.geom_xpos[geom][2]
            - np.abs(data.geom_xmat[geom].reshape(3, 3)[2]) @ model.geom_size[geom]
        )
        for geom in range(model.ngeom)
        if model.geom_bodyid[geom] in bodies and model.geom_group[geom] == COLLISION_GROUP
    )


@given(SHARES)
def test_the_lowest_corner_is_mujocos(
    heights: ArmHeights, model: mujoco.MjModel, shares: list[float]
) -> None:
    data = mujoco.MjData(model)
    data.qpos[:6] = rad_of(shares)
    mujoco.mj_kinematics(model, data)

    lowest = heights.lowest(model_rad_to_deg(rad_of(shares)).tolist())

    assert lowest.height_m == pytest.approx(lowest_of_m(model, data), abs=1e-9)


def random_poses(count: int) -> list[FloatVector]:
    rng = np.random.default_rng(1)
    return [rad_of(rng.uniform(0.0, 1.0, 6).tolist()) for _ in range(count)]


def test_every_corner_of_random_poses(heights: ArmHeights, model: mujoco.MjModel) -> None:
    """As many poses as make each of the bodies the lowest one."""
    data = mujoco.MjData(model)
    found: set[int] = set()
    for rad in random_poses(300):
        data.qpos[:6] = rad
        mujoco.mj_kinematics(model, data)
        lowest = heights.lowest(model_rad_to_deg(rad).tolist())
        assert lowest.height_m == pytest.approx(lowest_of_m(model, data), abs=1e-9)
        slope = heights.slope_m_rad(model_rad_to_deg(rad).tolist(), lowest)
        assert len(slope) == 6
        for joint in range(1, 6):
            ahead, behind = rad.copy(), rad.copy()
            ahead[joint] += 1e-6
            behind[joint] -= 1e-6
            one, other = (heights.lowest(model_rad_to_deg(p).tolist()) for p in (ahead, behind))
            if one.corner == other.corner == lowest.corner:
                expected = (one.height_m - other.height_m) / 2e-6
                assert slope[joint] == pytest.approx(expected, abs=1e-6)
        found.add(lowest.corner)

    assert len(found) > 20


def test_the_jaw_is_looked_at_where_the_gripper_holds_it(heights: ArmHeights) -> None:
    """An open jaw hangs lower than a closed one when the wrist is turned that way."""
    closed, opened = (heights.lowest([0, 0, 10, 10, 150, pct]).height_m for pct in (0.0, 100.0))

    assert abs(opened - closed) > 0.01


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
