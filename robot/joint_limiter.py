"""The limits that concern one joint alone, with what they need to remember of it."""

import math

from robot import limit_rules as rules


class JointLimiter:
    """Fence, step window, range, acceleration and speed for one joint.

    Degrees (gripper: percent), and steps in degrees a control period.
    """

    __slots__ = (
        "_change_deg", "_high_deg", "_is_led", "_last_step_deg", "_low_deg", "_ramp_step_deg",
        "_step_deg", "_target_deg", "last_deg",
    )  # fmt: skip

    def __init__(
        self,
        present_deg: float,
        *,
        low_deg: float,
        high_deg: float,
        rate_hz: float,
        max_speed_deg_s: float,
    ) -> None:
        """Start at rest, from where the joint stands."""
        self._low_deg, self._high_deg = low_deg, high_deg
        self._step_deg = max_speed_deg_s / rate_hz
        self._ramp_step_deg = min(rules.RAMP_SPEED_DEG_S, max_speed_deg_s) / rate_hz
        self._change_deg = rules.MAX_ACCELERATION_DEG_S2 / rate_hz**2
        self.stand(present_deg)
        self._is_led = False  # goes at the ramp's speed until it agrees with its goal

    def stand(self, present_deg: float) -> None:
        """Be at rest there."""
        self.last_deg = present_deg  # the last goal sent
        self._last_step_deg = 0.0
        self._target_deg = present_deg  # of the last tick: how fast it moves

    def yield_to(self, present_deg: float) -> None:
        """Make the present position the goal, which loosens the joint; it is led from there."""
        self.stand(rules.clamp(present_deg, self._low_deg, self._high_deg))
        self._is_led = True

    def aim(self, wanted_deg: float | None, not_below_deg: float, not_above_deg: float) -> float:
        """Return where to go: what is wanted (None: stay), within fence and range.

        A joint that a fence holds back is led later on, until it agrees with its goal, or until
        that turned round and left the fence. One that stays does so outside its range, too.
        """
        asked_deg = self.last_deg if wanted_deg is None else wanted_deg
        fenced_deg = rules.clamp(asked_deg, not_below_deg, not_above_deg)
        if fenced_deg != asked_deg:
            self._is_led = True
        elif wanted_deg is None:
            return asked_deg
        elif self._is_led:
            has_fence = not_below_deg > -math.inf or not_above_deg < math.inf
            is_near = abs(wanted_deg - self.last_deg) <= rules.RAMP_AGREEMENT_DEG
            self._is_led = not (has_fence or is_near)
        return rules.clamp(fenced_deg, self._low_deg, self._high_deg)

    def reach_deg(self, is_ramping: bool, speed_factor: float) -> float:
        """Return the longest step that may be taken now."""
        is_outside = not self._low_deg <= self.last_deg <= self._high_deg
        is_slow = is_ramping or self._is_led or is_outside
        return (self._ramp_step_deg if is_slow else self._step_deg) * speed_factor

    def room_deg(
        self, reach_deg: float, not_below_deg: float, not_above_deg: float
    ) -> tuple[float, float]:
        """Return the lowest and the highest goal within reach, acceleration, range and fence.

        The last goal is always among them: to stand still is never refused.
        """
        last_deg, step_deg = self.last_deg, self._last_step_deg
        low_deg, high_deg = self._bounds_deg()
        down_deg = min(reach_deg, max(-step_deg, 0.0) + self._change_deg)
        up_deg = min(reach_deg, max(step_deg, 0.0) + self._change_deg)
        return (
            max(last_deg - down_deg, low_deg, min(not_below_deg, last_deg)),
            min(last_deg + up_deg, high_deg, max(not_above_deg, last_deg)),
        )

    def next_deg(self, goal_deg: float, present_deg: float, reach_deg: float) -> float:
        """Return the goal of this tick: one step from the last one towards where it shall go."""
        near_deg = rules.keep_near(goal_deg, present_deg, rules.STEP_WINDOW_DEG)
        target_deg = rules.clamp(near_deg, *self._bounds_deg())
        lead_deg = rules.limit_speed(target_deg - self._target_deg, reach_deg)
        self._target_deg = target_deg
        step_deg = rules.limit_acceleration(
            target_deg - self.last_deg, lead_deg, self._last_step_deg, self._change_deg
        )
        return self.last_deg + rules.limit_speed(step_deg, reach_deg)

    def sent(self, sent_deg: float) -> None:
        """Take note of what was sent: the next step is measured from it."""
        self._last_step_deg = sent_deg - self.last_deg
        self.last_deg = sent_deg

    def _bounds_deg(self) -> tuple[float, float]:
        """Return the range, and as far beyond it as the joint stands already."""
        return min(self._low_deg, self.last_deg), max(self._high_deg, self.last_deg)
