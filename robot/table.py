"""Goals that stay above the table: one that would go below is lifted, and slides along it."""

import math
from collections.abc import Sequence

from robot.arm_heights import ArmHeights, Lowest
from robot.limit_rules import clamp

# Calibration is good to a degree or two, a centimetre at the fingertips, and an arm that presses
# its fingers lightly on the table is asked to be a little below it.
TABLE_ALLOWANCE_M = 0.01
LIFTING = (1, 2, 3)  # joints that lift: shoulder lift, elbow, wrist flex; the others stay as asked
_LIFT_STEPS = 4
LEANS_S = 0.25  # for so long an arm that slides no more leans on the table
_STILL_DEG = 1.0
_SPARE_M = 1e-5  # aimed higher by so much, since heights are not quite straight
_WEAK_M2_RAD2 = 1e-6  # joints whose slopes together are less than 1 mm a radian do not lift


class Floor:
    """Keeps goals of one arm above a height, metres in its base frame."""

    def __init__(self, height_m: float) -> None:
        self._height_m = height_m
        self._heights = ArmHeights()

    def lowest_m(self, position_deg: Sequence[float]) -> float:
        """Return how high the lowest part of the arm is, metres in its base frame."""
        return self._heights.lowest(position_deg).height_m

    def lift(
        self,
        goal_deg: Sequence[float],
        last_deg: Sequence[float],
        low_deg: Sequence[float],
        high_deg: Sequence[float],
    ) -> Sequence[float]:
        """Return the goal, or one that is higher; never one below the floor.

        An arm that starts below the floor may only rise.

        Args:
            goal_deg: six joints that the other limits have passed.
            last_deg: the last goal sent; what is returned if nothing within reach is high enough.
            low_deg: a lifted goal lies not below this,
            high_deg: nor above this.
        """
        lowest = self._heights.lowest(goal_deg)
        if lowest.height_m >= self._height_m:
            return goal_deg
        floor_m = min(self._height_m, self.lowest_m(last_deg))
        lifted_deg = list(goal_deg)
        for _ in range(_LIFT_STEPS):
            if lowest.height_m >= floor_m:
                break
            self._lift_once(lifted_deg, lowest, floor_m, low_deg, high_deg)
            lowest = self._heights.lowest(lifted_deg)
        return lifted_deg if lowest.height_m >= floor_m else last_deg

    def _lift_once(
        self,
        lifted_deg: list[float],
        lowest: Lowest,
        floor_m: float,
        low_deg: Sequence[float],
        high_deg: Sequence[float],
    ) -> None:
        """Move the lifting joints the least that lifts the lowest corner, those that have room."""
        slope = self._heights.slope_m_rad(lifted_deg, lowest)
        able = [
            joint
            for joint in LIFTING
            if (lifted_deg[joint] < high_deg[joint] and slope[joint] > 0.0)
            or (lifted_deg[joint] > low_deg[joint] and slope[joint] < 0.0)
        ]
        strength = sum(slope[joint] ** 2 for joint in able)
        if strength > _WEAK_M2_RAD2:
            rise_m = floor_m + _SPARE_M - lowest.height_m
            for joint in able:
                moved_deg = lifted_deg[joint] + math.degrees(slope[joint] * rise_m / strength)
                lifted_deg[joint] = clamp(moved_deg, low_deg[joint], high_deg[joint])


class Leaning:
    """Tells an arm that leans on the table, as near to a goal below it as that lets it come."""

    def __init__(self, rate_hz: float) -> None:
        self._needed = round(LEANS_S * rate_hz)  # ticks
        self._ticks = 0
        self._place_deg: list[float] = []

    @property
    def is_so(self) -> bool:
        """Whether the joints that lift have been kept up, and stood nearly still, for a while."""
        return self._ticks >= self._needed

    def update(self, is_lifted: bool, sent_deg: Sequence[float]) -> None:
        """Take note of a goal that was sent, and whether the table changed it."""
        if not is_lifted:
            self._ticks = 0
            return
        place_deg = [sent_deg[joint] for joint in LIFTING]
        if self._ticks == 0 or any(
            abs(here - there) > _STILL_DEG
            for here, there in zip(place_deg, self._place_deg, strict=True)
        ):
            self._place_deg = place_deg
            self._ticks = 0
        self._ticks += 1
