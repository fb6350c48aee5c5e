"""The limits on a goal, each a pure function of one joint, and their figures.

All take and return degrees (gripper: percent), and steps: degrees a control period. What joins them
on six joints, with the state they need, is `limits.GoalLimiter`; the limit of all joints together,
the height over the table, is `table.py`.
"""

import math
from collections.abc import Sequence

from robot.joints import GRIPPER

RANGE_MARGIN_DEG = 1.0  # kept free at both ends of the calibrated range (gripper: percent, none)
RAMP_SPEED_DEG_S = 45.0  # 30 to 60 deg/s is what operators call gentle
RAMP_AGREEMENT_DEG = 3.0
# 30 rad/s²: more than hands and demonstrations ask for, so that following is never late.
MAX_ACCELERATION_DEG_S2 = 1700.0
# Farthest a goal may lie from where the joint is: about twice the saturation error at P=16.
STEP_WINDOW_DEG = 45.0
# A goal that jumps by more in one period is not of the path that was followed. A leader's fastest
# joint turns 7° in a period of 10 ms; where periods are longer it may turn farther.
REJECT_DEG = 20.0
REJECT_SPEED_DEG_S = 600.0
REJECTS_TO_BELIEVE = 5  # in a row: they are a path of their own
STALE_S = 0.3  # a goal older than this is not followed: hold; a longer pause starts anew


def clamp(goal_deg: float, low_deg: float, high_deg: float) -> float:
    """Bring a goal into a range."""
    return min(max(goal_deg, low_deg), high_deg)


def keep_near(goal_deg: float, present_deg: float, window_deg: float) -> float:
    """Keep a goal near the measured position, so that a blocked joint does not wind up."""
    return clamp(goal_deg, present_deg - window_deg, present_deg + window_deg)


def is_jump(asked_deg: Sequence[float], before_deg: Sequence[float], band_deg: float) -> bool:
    """Tell whether an arm joint's goal jumps; a gripper may be told to close in one step."""
    return any(
        abs(asked - before) > band_deg
        for asked, before in zip(asked_deg[:GRIPPER], before_deg[:GRIPPER], strict=True)
    )


def reject_band_deg(rate_hz: float) -> float:
    """Return the largest step of a goal that is believed at this rate."""
    return max(REJECT_DEG, REJECT_SPEED_DEG_S / rate_hz)


def agrees(goal_deg: Sequence[float], last_deg: Sequence[float], tolerance_deg: float) -> bool:
    """Tell whether every joint of the goal is within the tolerance of the last goal sent."""
    return all(
        abs(goal - last) <= tolerance_deg for goal, last in zip(goal_deg, last_deg, strict=True)
    )


def braking_step(way_deg: float, change_deg: float) -> float:
    """Return the longest step from which steps that shrink by `change_deg` end just at the way.

    With `n` shrinking steps after it, a step `s` covers (n + 1)·s - change·n·(n + 1)/2.
    """
    distance = abs(way_deg)
    shrinking = math.floor((math.sqrt(1.0 + 8.0 * distance / change_deg) - 1.0) / 2.0)
    step = distance / (shrinking + 1) + shrinking * change_deg / 2.0
    return math.copysign(step, way_deg)


def limit_acceleration(
    way_deg: float, lead_deg: float, last_step_deg: float, change_deg: float
) -> float:
    """Return the step towards a goal that speeds up by at most `change_deg` a period.

    It slows down in time for a goal that stands still, keeps up with one that moves (no lag of its
    own), and goes neither past the goal nor away from it: one that stops suddenly is met by
    stopping, for a brake is never weaker than asked.

    Args:
        way_deg: from the last goal sent to the goal.
        lead_deg: how far the goal itself moved since the last period.
        last_step_deg: the step sent last, never a measured one: feedback is late and noisy.
        change_deg: largest change of the step.
    """
    step = lead_deg + braking_step(way_deg - lead_deg, change_deg)
    step = clamp(step, last_step_deg - change_deg, last_step_deg + change_deg)
    return clamp(step, min(way_deg, 0.0), max(way_deg, 0.0))


def limit_speed(step_deg: float, max_step_deg: float) -> float:
    """Return a step no longer than may be."""
    return clamp(step_deg, -max_step_deg, max_step_deg)
