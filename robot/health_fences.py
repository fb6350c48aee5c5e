"""How far a goal may go while a joint pushes against something: fences, and who puts them up.

A fence stands still, in the direction of the push alone: a joint that is backed off neither sinks
under its own weight nor keeps its person from turning round.
"""

import math

from robot import health_rules as rules
from robot.health_rules import Response
from robot.health_timers import Lasting


class Fence:
    """A place beyond which goals do not go; none while it is down."""

    __slots__ = ("is_up", "not_above_deg", "not_below_deg")

    def __init__(self) -> None:
        self.take_down()

    def put_up(self, goal_deg: float, way_deg: float) -> None:
        """Let no goal go beyond `goal_deg` in the direction of `way_deg`."""
        self.is_up = True
        self.not_above_deg = goal_deg if way_deg > 0.0 else math.inf
        self.not_below_deg = -math.inf if way_deg > 0.0 else goal_deg

    def take_down(self) -> None:
        """Let goals go where they like."""
        self.is_up = False
        self.not_below_deg, self.not_above_deg = -math.inf, math.inf

    def behind_deg(self, position_deg: float) -> float:
        """Return how far a joint is from the fence, on the side where it may be."""
        return min(position_deg - self.not_below_deg, self.not_above_deg - position_deg)

    def is_left(self, goal_deg: float) -> bool:
        """Tell whether a goal has turned round and gone back from the fence."""
        back_deg = rules.FENCE_LEFT_DEG
        return self.not_below_deg + back_deg < goal_deg < self.not_above_deg - back_deg


class StallWatch:
    """Back a joint off that strains towards a goal it does not come nearer to.

    It may try again after a while, or as soon as the goal turned round. One that sinks when it is
    backed off carries a load: it is left alone, for it would sink and be lifted for ever.
    """

    __slots__ = ("_fenced", "_free", "_is_carrying", "_stalled", "_times", "fence")

    def __init__(self) -> None:
        self.fence = Fence()
        self._stalled = Lasting()
        self._free = Lasting()
        self._fenced = Lasting()
        self._times = 0  # it was backed off since it was free
        self._is_carrying = False

    @property
    def response(self) -> Response:
        """What the joint asks for, until it was free for a while."""
        if self._is_carrying or self._times >= rules.STALLS_TO_DERATE:
            return Response.DERATE
        return Response.WARN if self._times else Response.GO

    def update(
        self,
        is_stalled: bool,
        load_pct: float,
        position_deg: float,
        goal_deg: float,
        passed_s: float,
    ) -> None:
        """Take note of one sample and of the goal that the joint had then."""
        stalled_s = self._stalled.update(is_stalled, passed_s)
        fence = self.fence
        fenced_s = self._fenced.update(fence.is_up, passed_s)
        if fence.is_up:
            self._is_carrying = rules.is_carrying(fence.behind_deg(position_deg), load_pct)
            is_over = self._is_carrying or fenced_s > rules.STALL_RETRY_S
            if is_over or fence.is_left(goal_deg):
                fence.take_down()
        elif stalled_s >= rules.STALL_S and not self._is_carrying:
            way_deg = math.copysign(rules.STALL_BACK_OFF_DEG, goal_deg - position_deg)
            fence.put_up(position_deg + way_deg, way_deg)
            self._times += 1
        if self._free.update(not (fence.is_up or is_stalled), passed_s) > rules.STALL_CLEAR_S:
            self._times = 0
            self._is_carrying = False


class GripWatch:
    """Loosen a gripper that squeezes, to what its servo can give for as long as it is asked to."""

    __slots__ = ("_lost", "_squeezing", "fence")

    def __init__(self) -> None:
        self.fence = Fence()
        self._squeezing = Lasting()
        self._lost = Lasting()

    def update(
        self,
        load_pct: float,
        speed_pct_s: float,
        position_pct: float,
        goal_pct: float,
        passed_s: float,
    ) -> None:
        """Take note of one sample and of the goal that the gripper had then."""
        is_squeezing = rules.is_squeezing(load_pct, speed_pct_s)
        if self._squeezing.update(is_squeezing, passed_s) >= rules.SQUEEZE_S:
            goal = rules.grip_goal(position_pct, goal_pct, load_pct)
            self.fence.put_up(goal, goal_pct - position_pct)
            self._squeezing.held_s -= rules.GRIP_SETTLE_S  # time to see what that did
        is_empty = self.fence.is_up and abs(load_pct) < rules.GRIP_LOST_LOAD_PCT
        is_lost = self._lost.update(is_empty, passed_s) > rules.GRIP_LOST_S
        if self.fence.is_up and (is_lost or self.fence.is_left(goal_pct)):
            self.fence.take_down()
