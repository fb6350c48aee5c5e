"""What stands between a goal asked and a goal sent: pure functions, and the state that joins them.

Order: range, then start ramp, then speed, then step. The ramp holds until follower and goal agree,
so that no path into motion (first tick, resume after a pause, replay, policy) can jump. A joint
that stands outside its range is led back at the ramp's speed. All vectors have shape (6,), degrees
and gripper percent.
"""

import numpy as np

from robot.errors import LimitRefused
from robot.health import Health
from robot.joint_sample import JointSample
from robot.joints import Calibration, FloatVector
from robot.loop import Goal

RANGE_MARGIN_DEG = 1.0  # kept free at both ends of the calibrated range (gripper: percent, none)
RAMP_SPEED_DEG_S = 45.0  # 30 to 60 deg/s is what operators call gentle
RAMP_AGREEMENT_DEG = 3.0
# Farthest a goal may lie from where the joint is: about twice the saturation error at P=16.
STEP_WINDOW_DEG = 45.0
STALE_S = 0.3  # a goal older than this is not followed: hold; a longer pause starts anew


def clamp_range(goal_deg: FloatVector, low_deg: FloatVector, high_deg: FloatVector) -> FloatVector:
    """Clip each joint to its range."""
    return np.clip(goal_deg, low_deg, high_deg)


def limit_speed(
    goal_deg: FloatVector, last_deg: FloatVector, max_step_deg: FloatVector
) -> FloatVector:
    """Move from the last goal towards this one by at most `max_step_deg` a joint."""
    return last_deg + np.clip(goal_deg - last_deg, -max_step_deg, max_step_deg)


def limit_step(goal_deg: FloatVector, present_deg: FloatVector, window_deg: float) -> FloatVector:
    """Keep the goal near the measured position, so that a blocked joint does not wind up."""
    return np.clip(goal_deg, present_deg - window_deg, present_deg + window_deg)


def agrees(goal_deg: FloatVector, last_deg: FloatVector, tolerance_deg: float) -> bool:
    """Tell whether every joint of the goal is within the tolerance of the last goal sent."""
    return bool(np.all(np.abs(goal_deg - last_deg) <= tolerance_deg))


class GoalLimiter:
    """Range, start ramp, speed and step for one follower.

    Advances one nominal period a call, however late the tick; after a pause it starts over from
    where the follower then stands.
    """

    def __init__(self, calibration: Calibration, *, rate_hz: float, max_speed_deg_s: float) -> None:
        low_deg, high_deg = calibration.range_deg
        margin_deg = np.array([RANGE_MARGIN_DEG] * 5 + [0.0])
        self._low_deg = low_deg + margin_deg
        self._high_deg = high_deg - margin_deg
        self._step_deg: FloatVector = np.full(6, max_speed_deg_s / rate_hz)
        self._ramp_step_deg: FloatVector = np.full(6, RAMP_SPEED_DEG_S / rate_hz)
        self._last_deg: FloatVector | None = None
        self._last_s = np.inf  # of the last call
        self.is_ramping = True

    def rearm(self) -> None:
        """Start over from where the follower stands: ramp again until goal and follower agree."""
        self._last_deg = None
        self.is_ramping = True

    def limit(self, goal: Goal, observed: JointSample, health: Health, now_s: float) -> FloatVector:
        """Return the goal to send.

        Raises:
            LimitRefused: the goal is not six finite numbers.
        """
        asked_deg = goal.position_deg
        if asked_deg.shape != (6,) or not np.all(np.isfinite(asked_deg)):
            raise LimitRefused(
                f"a goal of six finite numbers is needed, got {asked_deg}: nothing was sent"
            )
        if now_s - self._last_s > STALE_S:
            self.rearm()
        self._last_s = now_s
        if self._last_deg is None:
            self._last_deg = np.array(observed.position_deg, dtype=np.float64)
        last_deg = self._last_deg
        target_deg = clamp_range(asked_deg, self._low_deg, self._high_deg)
        if now_s - goal.made_s > STALE_S:
            target_deg = last_deg
            self.is_ramping = True
        elif self.is_ramping and agrees(target_deg, last_deg, RAMP_AGREEMENT_DEG):
            self.is_ramping = False
        is_outside = (last_deg < self._low_deg) | (last_deg > self._high_deg)
        step_deg = np.where(self.is_ramping | is_outside, self._ramp_step_deg, self._step_deg)
        sent_deg = limit_speed(target_deg, last_deg, step_deg)
        sent_deg = limit_step(sent_deg, observed.position_deg, STEP_WINDOW_DEG)
        sent_deg = clamp_range(
            sent_deg, np.minimum(self._low_deg, last_deg), np.maximum(self._high_deg, last_deg)
        )
        self._last_deg = sent_deg
        return sent_deg
