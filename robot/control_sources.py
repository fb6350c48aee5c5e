"""What the control process puts between a goal source and the loop.

Both only hold: a goal that is old by its own time stamp makes the limits keep the last goal sent,
and ramp when goals are fresh again.
"""

from collections.abc import Callable

from robot.errors import ControlLost
from robot.joint_sample import JointSample
from robot.loop import Goal, GoalSource
from robot.messages import GoalAsked
from robot.session_pulse import HOLD_AFTER_S, REST_AFTER_S


class StreamedGoals:
    """The session's source, as far as its goals have come; it is asked by the live stream."""

    def __init__(
        self,
        publish: Callable[[JointSample, float], None],
        newest_goal: Callable[[], GoalAsked | None],
    ) -> None:
        """Take how to tell the session a sample, and how to get its newest goal for this drive."""
        self._publish = publish
        self._newest_goal = newest_goal
        self._goal: Goal | None = None
        self._heard_s: float | None = None

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Publish the sample and return the newest goal: the answer to an earlier sample.

        Raises:
            ControlLost: the session beats, but asks for nothing any more.
        """
        self._publish(observed, now_s)
        asked = self._newest_goal()
        if asked is not None:
            self._goal = Goal(asked.position_deg, asked.made_s)
            self._heard_s = now_s
        elif self._heard_s is None:
            self._heard_s = now_s
        elif now_s - self._heard_s > REST_AFTER_S:
            raise ControlLost(
                f"the command has given no goal for {REST_AFTER_S:g} s: it hangs; start it again"
            )
        return self._goal or Goal(observed.position_deg, -float("inf"))


class HeldWhileSilent:
    """A source that is not asked while the session gives no sign of life."""

    def __init__(self, source: GoalSource, silence_s: Callable[[float], float]) -> None:
        self._source = source
        self._silence_s = silence_s
        self._goal: Goal | None = None

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Return the source's goal, or the last one, as old as it is."""
        if self._silence_s(now_s) <= HOLD_AFTER_S or self._goal is None:
            self._goal = self._source.goal(observed, now_s)
        return self._goal
