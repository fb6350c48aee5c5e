"""What stands between a goal asked and a goal sent: the rules of `limit_rules`, joined.

Order: is it a goal, is it fresh, does it jump; then for each joint fences of its health, step
window, range, start ramp, acceleration, speed; then the table, for all of them together. The ramp
holds until follower and goal agree (a goal below the table: as far as that allows), so that no path
into motion (first tick, resume after a pause or a hold, replay, policy) can jump. A joint that
yielded, was held back, or stands outside its range moves at the ramp's speed until it agrees again.
Vectors have shape (6,), degrees and gripper percent; inside they are lists, which on six numbers
take a fraction of numpy's time.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np

from robot import limit_rules as rules
from robot.errors import LimitRefused
from robot.health import Health
from robot.joint_limiter import JointLimiter
from robot.joint_sample import JointSample
from robot.joints import JOINTS, Calibration, FloatVector
from robot.loop import Goal
from robot.table import LIFTING, TABLE_ALLOWANCE_M, Floor, Leaning

_COUNT = len(JOINTS)
_MARGIN_DEG = (rules.RANGE_MARGIN_DEG,) * 5 + (0.0,)


class GoalLimiter:
    """All limits for one follower.

    Advances one nominal period a call, however late the tick; after a pause it ramps again, from
    the last goal, or from where a joint then stands if that is far from it.
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
        self._low_deg: list[float] = (low_deg + _MARGIN_DEG).tolist()
        self._high_deg: list[float] = (high_deg - _MARGIN_DEG).tolist()
        self._rate_hz = rate_hz
        self._max_speed_deg_s = max_speed_deg_s
        self._reject_deg = rules.reject_band_deg(rate_hz)
        self._floor = None if table_height_m is None else Floor(table_height_m - TABLE_ALLOWANCE_M)
        self._leaning = None if self._floor is None else Leaning(rate_hz)
        self._last_s = -math.inf  # of the last call
        self._joints: list[JointLimiter] = []  # none before the first goal
        self._restarting: set[int] = set()  # joints that start from where they stand
        self.rearm()

    def rearm(self, joints: Collection[str] = JOINTS) -> None:
        """Start over from where the follower stands: ramp again until goal and follower agree.

        Args:
            joints: names of those that lost their goal; the others, which may sag, keep theirs.
        """
        self.is_ramping = True
        if len(joints) == _COUNT:
            self._joints = []
        self._restarting = {JOINTS.index(joint) for joint in joints}
        self._believed_deg: list[float] | None = None  # the goal that is followed
        self._rejected = 0  # goals in a row

    @property
    def last_sent_deg(self) -> FloatVector | None:
        """What was sent last; None before the first goal and after all joints were rearmed."""
        return np.array([joint.last_deg for joint in self._joints]) if self._joints else None

    def limit(self, goal: Goal, observed: JointSample, health: Health, now_s: float) -> FloatVector:
        """Return the goal to send.

        Raises:
            LimitRefused: goal or position is not six finite numbers.
        """
        asked_deg: list[float] = goal.position_deg.tolist()
        if goal.position_deg.shape != (_COUNT,) or not all(map(math.isfinite, asked_deg)):
            raise LimitRefused(
                f"a goal of six finite numbers is needed, got {goal.position_deg}: nothing was sent"
            )
        present_deg: list[float] = observed.position_deg.tolist()
        if not all(map(math.isfinite, present_deg)):
            raise LimitRefused(f"nobody knows where the arm is, {present_deg}: nothing was sent")
        if now_s - self._last_s > rules.STALE_S:
            self._resume(present_deg)
        self._last_s = now_s
        if not self._joints:
            self._joints = self._started(present_deg)
        elif self._restarting:
            for index in self._restarting:
                self._joints[index].stand(present_deg[index])
        self._restarting.clear()
        is_held = health.is_holding or now_s - goal.made_s > rules.STALE_S
        sent_deg = self._move(self._wanted(asked_deg, is_held), present_deg, health)
        for joint, sent in zip(self._joints, sent_deg, strict=True):
            joint.sent(sent)
        return np.array(sent_deg)

    def _resume(self, present_deg: list[float]) -> None:
        """Go on after a pause, in which the servos kept their last goals."""
        lost = {JOINTS[index] for index in self._restarting}
        for name, joint, present in zip(JOINTS, self._joints, present_deg, strict=False):
            joint.stand(joint.last_deg)
            if abs(joint.last_deg - present) > rules.STEP_WINDOW_DEG:
                lost.add(name)
        self.rearm(lost)

    def _started(self, present_deg: list[float]) -> list[JointLimiter]:
        return [
            JointLimiter(
                present,
                low_deg=low,
                high_deg=high,
                rate_hz=self._rate_hz,
                max_speed_deg_s=self._max_speed_deg_s,
            )
            for present, low, high in zip(present_deg, self._low_deg, self._high_deg, strict=True)
        ]

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
        joints = self._joints
        aims: list[float | None] = [None] * _COUNT if wanted_deg is None else [*wanted_deg]
        yielding: list[bool] = health.yielding.tolist()
        for index, is_yielding in enumerate(yielding):
            if is_yielding:
                joints[index].yield_to(present_deg[index])
                aims[index] = None
        last_deg = [joint.last_deg for joint in joints]
        goal_deg = list(
            map(JointLimiter.aim, joints, aims, health.not_below_deg, health.not_above_deg)
        )
        if self.is_ramping and wanted_deg is not None:
            self.is_ramping = not self._agrees(goal_deg, last_deg)
        reach_deg = [joint.reach_deg(self.is_ramping, health.speed_factor) for joint in joints]
        sent_deg = list(map(JointLimiter.next_deg, joints, goal_deg, present_deg, reach_deg))
        if self._floor is None or self._leaning is None:
            return sent_deg
        rooms = list(
            map(
                JointLimiter.room_deg, joints, reach_deg, health.not_below_deg, health.not_above_deg
            )
        )
        lifted_deg = self._floor.lift(
            sent_deg, last_deg, [room[0] for room in rooms], [room[1] for room in rooms]
        )
        self._leaning.update(lifted_deg is not sent_deg, lifted_deg)
        return lifted_deg

    def _agrees(self, goal_deg: list[float], last_deg: list[float]) -> bool:
        """Tell whether the arm is where its goal is, or leans on the table on its way there."""
        possible_deg = list(goal_deg)
        if self._leaning is not None and self._leaning.is_so:
            for joint in LIFTING:
                possible_deg[joint] = last_deg[joint]
        return rules.agrees(possible_deg, last_deg, rules.RAMP_AGREEMENT_DEG)
