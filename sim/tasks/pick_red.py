"""The task of the first policy: pick up the red block from among three.

The distribution is that of the acceptance test of `so101 demo`: red block at x 0.262..0.295 m, y
within 0.06 m, turned by up to 15 degrees, two other blocks at random places that touch neither the
red one nor the gripper's way down to it.
"""

import math
from typing import Protocol

import msgspec
import numpy as np

from robot.joints import FloatVector

RED_X_M = (0.262, 0.295)
RED_Y_M = (-0.06, 0.06)
YAW_RAD = (-math.radians(15.0), math.radians(15.0))
SUCCESS_HEIGHT_M = 0.06
HELD_S = 0.3  # up for so long: a block knocked into the air or slipping away is not picked up

OTHER_COLOURS = ("blue", "green")
COLOURS = ("red", *OTHER_COLOURS)
OTHER_X_M = (0.17, 0.33)
OTHER_Y_M = (-0.16, 0.16)
# Centre distances. Two 25 mm cubes touch at 25 to 35 mm; the open jaws reach 60 mm to the side of
# the red block.
RED_CLEARANCE_M = 0.085
OTHER_CLEARANCE_M = 0.05

_ROUNDING_S = 1e-6  # of differences of times

# Folded: the forearm leans on the shoulder and the fingers hover over the table, so that the arm
# stays put with and without torque.
REST_RAD = np.deg2rad([0.0, -95.5, 94.5, 38.0, 0.0, 2.0])
REST_SPREAD_RAD = np.deg2rad([5.0, 1.0, 1.0, 4.0, 4.0, 4.0])
# Where the folded arm hangs over the table: nothing stands there.
REST_REACH_M = (0.235, 0.055)  # x below, |y| below


class BlockPose(msgspec.Struct, frozen=True):
    """A block flat on the table: centre in the base frame, turn about the vertical."""

    colour: str
    x_m: float
    y_m: float
    yaw_rad: float


class TaskStart(msgspec.Struct, frozen=True):
    """Everything that differs between two episodes."""

    seed: int  # of the episode's own generator: jitter of the demonstrator, noise
    red: BlockPose
    others: tuple[BlockPose, ...]
    arm_rad: tuple[float, ...]  # six joints of both arms, model convention


class _HasBlocks(Protocol):
    def block_position_m(self, colour: str) -> FloatVector:
        """Return the centre of a block."""
        ...


def sample_start(rng: np.random.Generator) -> TaskStart:
    """Draw one start from the task's distribution."""
    red = BlockPose("red", rng.uniform(*RED_X_M), rng.uniform(*RED_Y_M), rng.uniform(*YAW_RAD))
    others: list[BlockPose] = []
    while len(others) < len(OTHER_COLOURS):
        pose = BlockPose(
            OTHER_COLOURS[len(others)],
            rng.uniform(*OTHER_X_M),
            rng.uniform(*OTHER_Y_M),
            rng.uniform(-math.pi / 4, math.pi / 4),
        )
        if _distance_m(pose, red) < RED_CLEARANCE_M:
            continue
        if pose.x_m < REST_REACH_M[0] and abs(pose.y_m) < REST_REACH_M[1]:
            continue
        if any(_distance_m(pose, other) < OTHER_CLEARANCE_M for other in others):
            continue
        others.append(pose)
    arm_rad = REST_RAD + REST_SPREAD_RAD * rng.uniform(-1.0, 1.0, 6)
    seed = int(rng.integers(2**31))
    return TaskStart(seed, red, tuple(others), tuple(float(angle) for angle in arm_rad))


def is_up(world: _HasBlocks) -> bool:
    """Say whether the red block is up at this moment."""
    return bool(world.block_position_m("red")[2] > SUCCESS_HEIGHT_M)


class HeldUp:
    """Whether the red block has been up for a time without a break."""

    def __init__(self, world: _HasBlocks, held_s: float = HELD_S) -> None:
        self.is_reached = False  # for good: what happens to the block afterwards is not judged
        self._world = world
        self._held_s = held_s
        self._up_since_s: float | None = None

    def look(self, now_s: float) -> None:
        """Look at the block; to be called every hundredth of a second or oftener."""
        if not is_up(self._world):
            self._up_since_s = None
        elif self._up_since_s is None:
            self._up_since_s = now_s
        elif now_s - self._up_since_s >= self._held_s - _ROUNDING_S:
            self.is_reached = True


def _distance_m(a: BlockPose, b: BlockPose) -> float:
    return float(np.hypot(a.x_m - b.x_m, a.y_m - b.y_m))
