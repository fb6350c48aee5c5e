"""The six joints of an SO-101 in their one order, and the conversion between ticks and degrees.

Everywhere above the bus a joint vector has shape (6,), float64, in the order of `JOINTS`: five
joints in degrees, then the gripper in percent (0 closed, 100 open). `_deg` in a name means that
vector. The conversion is LeRobot's degrees mode (lerobot 0.6 `motors_bus.py`: 360/4095 degrees a
tick, zero at the middle of the calibrated range), but rounds where LeRobot truncates, so that a
round trip never loses a tick.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from robot.errors import ConfigError

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
SERVO_IDS = (1, 2, 3, 4, 5, 6)
GRIPPER = 5  # index into a joint vector

TICKS_PER_TURN = 4096  # 12-bit encoder
MAX_TICK = TICKS_PER_TURN - 1
DEG_PER_TICK = 360.0 / MAX_TICK  # LeRobot's convention: 4095, not 4096

FloatVector = NDArray[np.float64]
TickVector = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class JointCalibration:
    """One joint as LeRobot stores it: ticks, `homing_offset` -2047..2047, range 0..4095."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int

    def __post_init__(self) -> None:
        """Refuse values no servo can hold."""
        if not -2047 <= self.homing_offset <= 2047:
            raise ConfigError(
                f"servo {self.id}: homing offset {self.homing_offset} is outside -2047..2047; "
                "calibrate this arm again"
            )
        if not 0 <= self.range_min < self.range_max <= MAX_TICK:
            raise ConfigError(
                f"servo {self.id}: range {self.range_min}..{self.range_max} is not an increasing "
                f"range within 0..{MAX_TICK}; calibrate this arm again"
            )


@dataclass(frozen=True)
class Calibration:
    """Six joint calibrations in the order of `JOINTS`, with the conversions they define."""

    joints: tuple[JointCalibration, ...]

    def __post_init__(self) -> None:
        """Refuse anything but one entry a joint."""
        if tuple(joint.id for joint in self.joints) != SERVO_IDS:
            found = [joint.id for joint in self.joints]
            raise ConfigError(
                f"a calibration needs servo ids {list(SERVO_IDS)} in order, got {found}"
            )

    @cached_property
    def range_min_ticks(self) -> TickVector:
        """Lower end of each joint, shape (6,); not to be written to."""
        return _constant([joint.range_min for joint in self.joints])

    @cached_property
    def range_max_ticks(self) -> TickVector:
        """Upper end of each joint, shape (6,); not to be written to."""
        return _constant([joint.range_max for joint in self.joints])

    @property
    def range_deg(self) -> tuple[FloatVector, FloatVector]:
        """Lower and upper end of each joint, degrees (gripper 0 and 100 percent), both (6,)."""
        return ticks_to_deg(self.range_min_ticks, self), ticks_to_deg(self.range_max_ticks, self)

    @property
    def sha256(self) -> str:
        """Identify this calibration: hash of its LeRobot JSON, key order fixed."""
        rows = [
            [j.id, j.drive_mode, j.homing_offset, j.range_min, j.range_max] for j in self.joints
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _constant(ticks: list[int]) -> TickVector:
    constant: TickVector = np.array(ticks, dtype=np.int64)
    constant.setflags(write=False)
    return constant


def ticks_to_deg(ticks: Sequence[int] | TickVector, calibration: Calibration) -> FloatVector:
    """Convert six present positions in ticks to degrees (gripper percent), shape (6,)."""
    raw = np.asarray(ticks, dtype=np.float64)
    low = calibration.range_min_ticks
    high = calibration.range_max_ticks
    deg: FloatVector = (raw - (low + high) / 2) * DEG_PER_TICK
    deg[GRIPPER] = (raw[GRIPPER] - low[GRIPPER]) / (high[GRIPPER] - low[GRIPPER]) * 100.0
    return deg


def deg_to_ticks(position_deg: FloatVector, calibration: Calibration) -> TickVector:
    """Convert six degrees (gripper percent) to the nearest ticks, shape (6,).

    Not clipped to the range.
    """
    low = calibration.range_min_ticks
    high = calibration.range_max_ticks
    ticks = position_deg / DEG_PER_TICK + (low + high) / 2
    ticks[GRIPPER] = position_deg[GRIPPER] / 100.0 * (high[GRIPPER] - low[GRIPPER]) + low[GRIPPER]
    return np.rint(ticks).astype(np.int64)
