"""How high the lowest part of forearm, wrist, gripper and jaw is, and how each joint changes that.

Heights alone, in plain numbers: a third of the time of whole frames, which counts on every tick.
The pan turns about the vertical and changes nothing. What is looked at are the corners of the
collision boxes in `model/so101.xml`. Metres above the plane that the foot stands on.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from robot.arm_model import frame_of, moving_bodies, vector_of
from robot.joints import GRIPPER, FloatVector
from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD

_FIRST = 2  # place of the forearm among the moving bodies: what is before it stays above the table
_COLLISION = ("collision", "fingertip")  # classes of the boxes in the model
_GRIPPER_MIN_RAD = float(RANGE_MIN_RAD[GRIPPER])
_GRIPPER_RAD_PER_PCT = float(RANGE_MAX_RAD[GRIPPER] - RANGE_MIN_RAD[GRIPPER]) / 100.0


class _Link(NamedTuple):
    """A body as its parent sees it at zero: rotation by rows, and position."""

    xx: float
    xy: float
    xz: float
    yx: float
    yy: float
    yz: float
    zx: float
    zy: float
    zz: float
    x: float
    y: float
    z: float


class _Level(NamedTuple):
    """A body's height above the plane: of its origin, and along each of its axes."""

    x: float
    y: float
    z: float
    origin_m: float


class Lowest(NamedTuple):
    """The lowest corner in one pose."""

    height_m: float
    corner: int  # its number
    levels: tuple[_Level, ...]  # of the moving bodies from the upper arm on


class ArmHeights:
    """Heights of the arm's corners; pure, may be called from any thread."""

    def __init__(self) -> None:
        bodies = moving_bodies()
        shoulder = frame_of(bodies[0])
        self._shoulder = _Level(*(float(value) for value in shoulder[2]))
        self._links = [
            _Link(*(float(v) for v in frame[:3, :3].flat), *(float(v) for v in frame[:3, 3]))
            for frame in map(frame_of, bodies[1:])
        ]
        points: list[FloatVector] = []
        self._body_of: list[int] = []
        for index, body in enumerate(bodies[_FIRST:], start=_FIRST):
            boxes = [box for box in body.iterfind("geom") if box.get("class") in _COLLISION]
            for box in boxes:
                frame, half_m = frame_of(box), vector_of(box, "size")
                for signs in product((-1.0, 1.0), repeat=3):
                    points.append(frame[:3, :3] @ (signs * half_m) + frame[:3, 3])
                    self._body_of.append(index)
        self._points_m = np.array(points)
        # Each row times the levels of all bodies, one after the other, is a corner's height.
        self._rows = np.zeros((len(points), 4 * (len(bodies) - _FIRST)))
        for row, index, point in zip(self._rows, self._body_of, points, strict=True):
            place = 4 * (index - _FIRST)
            row[place : place + 4] = (*point, 1.0)

    def lowest(self, position_deg: Sequence[float]) -> Lowest:
        """Return the lowest corner of six joints, degrees and gripper percent."""
        levels: list[_Level] = []
        level = self._shoulder
        for link, angle_rad in zip(self._links, _turned_rad(position_deg), strict=True):
            level = _next_level(level, link, angle_rad)
            levels.append(level)
        flat = [value for level in levels[_FIRST - 1 :] for value in level]
        heights_m = self._rows @ np.array(flat)
        corner = int(heights_m.argmin())
        return Lowest(float(heights_m[corner]), corner, tuple(levels))

    def slope_m_rad(self, position_deg: Sequence[float], lowest: Lowest) -> list[float]:
        """Return how the lowest corner rises with each of the six joints, metres a radian."""
        x, y, z = self._points_m[lowest.corner].tolist()
        slope = [0.0] * 6
        angles_rad = _turned_rad(position_deg)
        for index in range(self._body_of[lowest.corner], 0, -1):
            level, link = lowest.levels[index - 1], self._links[index - 1]
            slope[index] = level.y * x - level.x * y
            cosine, sine = math.cos(angles_rad[index - 1]), math.sin(angles_rad[index - 1])
            x, y = cosine * x - sine * y, sine * x + cosine * y
            x, y, z = (
                link.xx * x + link.xy * y + link.xz * z + link.x,
                link.yx * x + link.yy * y + link.yz * z + link.y,
                link.zx * x + link.zy * y + link.zz * z + link.z,
            )
        return slope


def _turned_rad(position_deg: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Return the angles of the joints after the pan, in the model's radians."""
    _, lift, elbow, flex, roll, gripper = position_deg
    return (
        math.radians(lift),
        math.radians(elbow),
        math.radians(flex),
        math.radians(roll),
        _GRIPPER_MIN_RAD + gripper * _GRIPPER_RAD_PER_PCT,
    )


def _next_level(parent: _Level, link: _Link, angle_rad: float) -> _Level:
    px, py, pz, origin_m = parent
    xx, xy, xz, yx, yy, yz, zx, zy, zz, x, y, z = link
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    across = px * xx + py * yx + pz * zx
    along = px * xy + py * yy + pz * zy
    return _Level(
        cosine * across + sine * along,
        cosine * along - sine * across,
        px * xz + py * yz + pz * zz,
        origin_m + px * x + py * y + pz * z,
    )
