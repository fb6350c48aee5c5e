import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.errors import ConfigError
from robot.joints import Calibration, JointCalibration, deg_to_ticks, ticks_to_deg

CALIBRATION = Calibration(
    tuple(JointCalibration(i, 0, 10 * i, 800 + i, 3200 + 2 * i) for i in range(1, 7))
)


def test_degrees_are_zero_in_the_middle_of_the_range_and_the_gripper_counts_percent() -> None:
    middle = (CALIBRATION.range_min_ticks + CALIBRATION.range_max_ticks) // 2

    deg = ticks_to_deg(middle, CALIBRATION)

    assert np.all(np.abs(deg[:5]) <= 0.05)
    assert deg[5] == pytest.approx(50.0, abs=0.05)


def test_one_tick_is_360_over_4095_degrees_as_in_lerobot() -> None:
    start = CALIBRATION.range_min_ticks

    step = ticks_to_deg(start + 1, CALIBRATION) - ticks_to_deg(start, CALIBRATION)

    assert step[:5] == pytest.approx([360 / 4095] * 5)


@given(st.lists(st.integers(-4095, 8190), min_size=6, max_size=6))
def test_a_round_trip_never_loses_a_tick(ticks: list[int]) -> None:
    assert deg_to_ticks(ticks_to_deg(ticks, CALIBRATION), CALIBRATION).tolist() == ticks


@pytest.mark.parametrize(
    ("offset", "low", "high"),
    [(2048, 0, 4095), (-2048, 0, 4095), (0, 5, 5), (0, -1, 9), (0, 0, 4096)],
)
def test_refuses_what_no_servo_can_hold(offset: int, low: int, high: int) -> None:
    with pytest.raises(ConfigError, match="calibrate this arm again"):
        JointCalibration(1, 0, offset, low, high)


def test_refuses_joints_out_of_order() -> None:
    with pytest.raises(ConfigError, match=r"servo ids \[1, 2, 3, 4, 5, 6\]"):
        Calibration(CALIBRATION.joints[::-1])


def test_the_hash_tells_calibrations_apart() -> None:
    other = Calibration((JointCalibration(1, 0, 11, 801, 3202), *CALIBRATION.joints[1:]))

    assert CALIBRATION.sha256 == Calibration(CALIBRATION.joints).sha256
    assert CALIBRATION.sha256 != other.sha256
