"""Which value of which plan to send now: progress clock, switches, fade, starvation.

Pure: no clock, no policy, no camera.

Rules, each against a failure that was measured (in LeRobot 0.6.1's action queue, largest single
step in nominal steps: 22 on the first chunk, 34 at 800 ms inference; with these rules 1.2 and 2.6):

- plans are read by progress, never by estimated latency, so a cold start or a late plan cannot skip
  actions;
- an observation for the next plan is taken only after the last switch took effect, so two plans
  never alternate;
- at a switch the difference between the last command and the new plan fades out instead of jumping.
  The gripper is not
  faded: between "open" and "closed" a policy means one or the other;
- with no plan left the last command is held, and the ticks are counted.

A tick that comes late advances the plan by one nominal period all the same: late never means a
larger step.
"""

import numpy as np

from deploy.plans import Plan
from robot.joints import GRIPPER, FloatVector


class PlanScheduler:
    """Turn plans that arrive at any time into one joint vector a tick."""

    def __init__(self, *, rate_hz: float, execute_steps: int, fade_s: float = 0.15) -> None:
        """Execute `execute_steps` actions of each chunk; a seam fades over `fade_s`."""
        self._period_s = 1.0 / rate_hz
        self._execute_steps = execute_steps
        self._fade_s = fade_s
        self.switches = 0
        self.starved_ticks = 0
        self.residual_deg: FloatVector = np.zeros(6)  # of the last switch
        self.reset()

    def reset(self) -> None:
        """Forget all plans: a new rollout, or a take-over. Progress starts at zero again."""
        self.progress_s = 0.0
        self.current: Plan | None = None
        self.is_starved = False
        self._next: Plan | None = None
        self._last_command_deg: FloatVector | None = None
        self._fade_from_s = 0.0
        self._offset_deg: FloatVector = np.zeros(6)
        self._switched_at_s = 0.0

    def offer(self, plan: Plan) -> None:
        """Hand over the newest plan.

        It takes over when the present one has had its share, or has nothing left.
        """
        self._next = plan

    def wants_observation(self, delay_p99_s: float, delay_median_s: float) -> bool:
        """Tell whether to start the next plan from a sample taken now.

        Call once a tick before `advance`, with a sample read in this tick: then the first sample
        that counts was read after the last switch had been sent. The delays are from observation to
        plan, zero when unknown. When the median exceeds half a chunk, overlapping plans would
        mostly be used up on arrival: then each chunk is run out and the next observed at rest.
        """
        if self._next is not None:
            return False
        if self.current is None:
            return True
        if delay_median_s > (self.current.last_progress_s - self.current.progress_s) / 2:
            return self.progress_s >= self.current.last_progress_s
        return self.progress_s + delay_p99_s + self._period_s >= self._share_end_s(self.current)

    def advance(self, hold_deg: FloatVector) -> FloatVector:
        """Return the command of this tick, shape (6,); `hold_deg` until the first plan has come."""
        previous_s = self.progress_s
        before = self.current
        if self._next is not None and (
            before is None or previous_s + self._period_s > self._share_end_s(before)
        ):
            self._switch(self._next, hold_deg)
        plan = self.current
        if plan is None:
            self._last_command_deg = np.array(hold_deg)
            return self._last_command_deg
        self.progress_s = max(previous_s, min(previous_s + self._period_s, plan.last_progress_s))
        self.is_starved = self.progress_s <= previous_s
        if self.is_starved:
            self.starved_ticks += 1
        faded = 1.0
        if self._fade_s > 0.0:
            faded = min((self.progress_s - self._fade_from_s) / self._fade_s, 1.0)
        command: FloatVector = plan.value_deg(self.progress_s) + (1.0 - faded) * self._offset_deg
        self._last_command_deg = command
        return command

    def _share_end_s(self, plan: Plan) -> float:
        """Progress at which a plan hands over: after its executed steps, or its last action."""
        return min(self._switched_at_s + self._execute_steps * plan.step_s, plan.last_progress_s)

    def _switch(self, plan: Plan, hold_deg: FloatVector) -> None:
        last_deg = hold_deg if self._last_command_deg is None else self._last_command_deg
        self.residual_deg = last_deg - plan.value_deg(self.progress_s)
        self._offset_deg = self.residual_deg.copy()
        self._offset_deg[GRIPPER] = 0.0
        self._fade_from_s = self.progress_s
        self._switched_at_s = self.progress_s
        self.current = plan
        self._next = None
        self.switches += 1
