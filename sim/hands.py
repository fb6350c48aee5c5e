"""Hands: what moves an unpowered arm of the twin, as a person's hand moves a real leader.

A hand says where it wants the arm's joints; the arm's own model pulls them there by a spring of
limited force (`sim/world.py`), so that gears, friction and gravity act as they do on a real
leader. The demonstrators of `sim/demonstrators/` are hands too. Joint vectors are radians in the
model's convention, shape (6,).
"""

from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robot.joints import GRIPPER, FloatVector
from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD

# Where a person holds the arm before the sweep: every joint at the model's zero, the gripper half
# open.
MIDDLE_RAD: FloatVector = np.array(
    [0.0, 0.0, 0.0, 0.0, 0.0, (RANGE_MIN_RAD[GRIPPER] + RANGE_MAX_RAD[GRIPPER]) / 2]
)

TO_MIDDLE_S = 1.5  # time the first move to the middle may take; it is held there for as long again
SWEEP_SPEED_DEG_S = (
    130.0  # mean speed of a careful hand; a faster one would run past a stop by its own momentum
)
LEG_S = 0.4  # shortest time for any leg of the sweep
# How the arm is held while a joint goes to its ends, so that neither table nor base is in the way:
# the forearm up for the shoulder lift, the upper arm back for the elbow (found by a search over
# the model's contacts).
_HELD_DEG = {1: {2: -90.0}, 2: {1: -90.0}}
PRESS_RAD = 0.02  # how far past its end a person pushes a joint, to feel the stop


class Hand(Protocol):
    """Whatever moves an unpowered arm; asked every 10 ms of twin time."""

    done: bool

    def target_rad(
        self, now_s: float, own_rad: FloatVector, follower_rad: FloatVector
    ) -> FloatVector | None:
        """Return where the hand pulls its arm, None when it lets go.

        Args:
            now_s: twin time.
            own_rad: present joints of the arm in the hand, shape (6,).
            follower_rad: present joints of the follower, which a person watches, shape (6,).
        """
        ...


class SweepHand:
    """Moves each joint to both ends of its range and back, as calibration asks a person to.

    From `TO_MIDDLE_S` to 2 * `TO_MIDDLE_S` after the start the arm rests at `MIDDLE_RAD`; it does
    so again once `done`, and stays there: the hand never lets go of a raised arm.
    """

    def __init__(self) -> None:
        self.done = False
        self._start_s: float | None = None
        self._from_rad = MIDDLE_RAD
        course = [MIDDLE_RAD]
        for joint in range(len(MIDDLE_RAD)):
            course += _sweep_course(joint)
        self._legs = [(start, end, _leg_s(start, end)) for start, end in pairwise(course)]

    def target_rad(
        self,
        now_s: float,
        own_rad: FloatVector,
        follower_rad: FloatVector,
    ) -> FloatVector:
        """Follow the schedule from the first call on."""
        if self._start_s is None:
            self._start_s = now_s
            self._from_rad = np.array(own_rad)
        elapsed_s = now_s - self._start_s
        if elapsed_s < TO_MIDDLE_S:
            share = smooth_step(elapsed_s / (0.8 * TO_MIDDLE_S))
            return self._from_rad + share * (MIDDLE_RAD - self._from_rad)
        elapsed_s -= 2 * TO_MIDDLE_S
        for start, end, leg_s in self._legs:
            if elapsed_s < leg_s:
                # The last tenth of a leg rests at its end: a person feels the stop.
                return start + smooth_step(elapsed_s / (0.9 * leg_s)) * (end - start)
            elapsed_s -= leg_s
        self.done = True
        return MIDDLE_RAD


def _leg_s(start: FloatVector, end: FloatVector) -> float:
    return max(LEG_S, float(np.rad2deg(np.max(np.abs(end - start)))) / SWEEP_SPEED_DEG_S)


def _sweep_course(joint: int) -> list[FloatVector]:
    """Return the poses through which one joint is swept after the middle, back to the middle."""
    held = MIDDLE_RAD.copy()
    for other, angle_deg in _HELD_DEG.get(joint, {}).items():
        held[other] = np.deg2rad(angle_deg)
    low, high = held.copy(), held.copy()
    low[joint] = RANGE_MIN_RAD[joint] - PRESS_RAD
    high[joint] = RANGE_MAX_RAD[joint] + PRESS_RAD
    return [held, low, high, held, MIDDLE_RAD]


class RecordedHand:
    """Replays a recorded motion, linear between its rows; holds the last row when it has ended.

    Args:
        times_s: shape (N,), increasing; the first row is where the motion starts.
        target_rad: shape (N, 6).
    """

    def __init__(self, times_s: FloatVector, target_rad: NDArray[np.float64]) -> None:
        self.done = False
        self._times_s = times_s - times_s[0]
        self._target_rad = target_rad
        self._start_s: float | None = None

    def target_rad(
        self, now_s: float, own_rad: FloatVector, follower_rad: FloatVector
    ) -> FloatVector:
        """Return the recorded joints of this moment, counted from the first call."""
        if self._start_s is None:
            self._start_s = now_s
        elapsed_s = now_s - self._start_s
        self.done = elapsed_s >= self._times_s[-1]
        return row_at(self._times_s, self._target_rad, elapsed_s)


def row_at(times_s: FloatVector, rows: NDArray[np.float64], at_s: float) -> FloatVector:
    """Return the row of a moment, linear between rows, the first or last outside; shape (6,).

    Args:
        times_s: of the rows, shape (N,), increasing.
        rows: shape (N, 6).
        at_s: the moment.
    """
    after = int(np.searchsorted(times_s, at_s))
    if after == 0 or after == len(times_s):
        return np.array(rows[min(after, len(rows) - 1)])
    share = (at_s - times_s[after - 1]) / (times_s[after] - times_s[after - 1])
    row: FloatVector = rows[after - 1] + share * (rows[after] - rows[after - 1])
    return row


def smooth_step(share: float) -> float:
    """Return the minimum-jerk course from 0 to 1 for a share of the time, clipped to 0..1."""
    s = min(max(share, 0.0), 1.0)
    return s * s * s * (10.0 + s * (6.0 * s - 15.0))
