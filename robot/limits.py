"""What stands between a goal asked and a goal sent: the rules of `limit_rules`, joined.

Order: is it a goal, is it fresh, does it jump; then for each joint fences of its health, step
window, range, start ramp, acceleration, speed; then the table, for all of them together. The ramp
holds until follower and goal agree, so that no path into motion (first tick, resume after a pause
or a hold, replay, policy) can jump. A joint that yielded, was held back, or stands outside its
range moves at the ramp's speed until it agrees again. Vectors have shape (6,), degrees and gripper
percent; inside they are lists, which on six numbers take a fraction of numpy's time.
"""

import math
from collections.abc import Sequence

import numpy as np

from robot import limit_rules as rules
from robot.errors import LimitRefused
from robot.health import Health
from robot.joint_limiter import JointLimiter
from robot.joint_sample import JointSample
from robot.joints import JOINTS, Calibration, FloatVector
from robot.loop import Goal
from robot.table import TABLE_ALLOWANCE_M, Floor

_COUNT = len(JOINTS)
_MARGIN_DEG = (rules.RANGE_MARGIN_DEG,) * 5 + (0.0,)


class GoalLimiter:
    """All limits for one follower.

    Advances one nominal period a call, however late the tick; after a pause it starts over from
    where the follower then stands.
    """

    def __init__(
        self,
        calibration: Calibration,
        *,
        rate_hz: float,
        max_speed_deg_s: float,
        table_height_m: float | None = None,
    ) -> None:
        low_deg, high_deg = calibration.range_deg
        self._joints = [
            JointLimiter(low, high, rate_hz=rate_hz, max_speed_deg_s=max_speed_deg_s)
            for low, high in zip(
                (low_deg + _MARGIN_DEG).tolist(), (high_deg - _MARGIN_DEG).tolist(), strict=True
            )
        ]
        self._reject_deg = rules.reject_band_deg(rate_hz)
        self._table = None if table_height_m is None else Floor(table_height_m - TABLE_ALLOWANCE_M)
        self._last_s = -math.inf  # of the last call
        self.rearm()

    def rearm(self) -> None:
        """Start over from where the follower stands: ramp again until goal and follower agree."""
        self.is_ramping = True
        self._has_started = False
        self._believed_deg: list[float] | None = None  # the goal that is followed
        self._rejected = 0  # goals in a row

    @property
    def last_sent_deg(self) -> FloatVector | None:
        """What was sent last; None before the first goal and after `rearm`."""
        if not self._has_started:
            return None
        return np.array([joint.last_deg for joint in self._joints])

    def limit(self, goal: Goal, observed: JointSample, health: Health, now_s: float) -> FloatVector:
        """Return the goal to send.

        Raises:
            LimitRefused: the goal is not six finite numbers.
        """
        asked_deg: list[float] = goal.position_deg.tolist()
        if goal.position_deg.shape != (_COUNT,) or not all(map(math.isfinite, asked_deg)):
            raise LimitRefused(
                f"a goal of six finite numbers is needed, got {goal.position_deg}: nothing was sent"
            )
        if now_s - self._last_s > rules.STALE_S:
            self.rearm()
        self._last_s = now_s
        present_deg: list[float] = observed.position_deg.tolist()
        if not self._has_started:
            self._has_started = True
            for joint, present in zip(self._joints, present_deg, strict=True):
                joint.start(present)
        is_held = health.is_holding or now_s - goal.made_s > rules.STALE_S
        sent_deg = self._move(self._wanted(asked_deg, is_held), present_deg, health)
        for joint, sent in zip(self._joints, sent_deg, strict=True):
            joint.sent(sent)
        return np.array(sent_deg)

    def _wanted(self, asked_deg: list[float], is_held: bool) -> list[float] | None:
        """Return the goal to follow: the one asked, or the one before a jump; None: stay."""
        if is_held:
            self.is_ramping = True
            self._believed_deg = None
            return None
        before_deg = self._believed_deg
        if before_deg is not None and rules.is_jump(asked_deg, before_deg, self._reject_deg):
            self._rejected += 1
            if self._rejected < rules.REJECTS_TO_BELIEVE:
                return before_deg
            self.is_ramping = True
        self._rejected = 0
        self._believed_deg = asked_deg
        return asked_deg

    def _move(
        self, wanted_deg: list[float] | None, present_deg: list[float], health: Health
    ) -> Sequence[float]:
        """Take each joint one step towards what is wanted, and all of them above the table."""
        yielding: list[bool] = health.yielding.tolist()
        for joint, present, is_yielding in zip(self._joints, present_deg, yielding, strict=True):
            if is_yielding:
                joint.yield_to(present)
        last_deg = [joint.last_deg for joint in self._joints]
        below_deg, above_deg = health.not_below_deg, health.not_above_deg
        goal_deg = [
            joint.fence(wanted, below, above)
            for joint, wanted, below, above in zip(
                self._joints, wanted_deg or last_deg, below_deg, above_deg, strict=True
            )
        ]
        if self.is_ramping and wanted_deg is not None:
            self.is_ramping = not rules.agrees(goal_deg, last_deg, rules.RAMP_AGREEMENT_DEG)
        reach_deg = [
            0.0
            if is_yielding or (wanted_deg is None and below <= joint.last_deg <= above)
            else joint.reach_deg(self.is_ramping, health.speed_factor)
            for joint, is_yielding, below, above in zip(
                self._joints, yielding, below_deg, above_deg, strict=True
            )
        ]
        sent_deg = [
            joint.next_deg(goal, present, reach)
            for joint, goal, present, reach in zip(
                self._joints, goal_deg, present_deg, reach_deg, strict=True
            )
        ]
        if self._table is None:
            return sent_deg
        rooms = map(JointLimiter.room_deg, self._joints, reach_deg)
        low_deg, high_deg = zip(*rooms, strict=True)
        return self._table.lift(sent_deg, last_deg, low_deg, high_deg)
