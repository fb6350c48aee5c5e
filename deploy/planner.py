"""Who computes plans: the protocol, and the planner of virtual time.

`InlinePlanner` runs the policy on the spot and hands the plan out a fixed virtual latency later, so
that a rollout in virtual time is the same bytes from the same seed however slow the machine is. The
planner of real time is `policy_process.PolicyProcess`.
"""

import time
from typing import Protocol

from deploy.plans import Observation, Plan, PlanArray, check_actions


class ChunkPolicy(Protocol):
    """A loaded policy: one observation in, one chunk of actions out."""

    step_s: float  # time between two actions: 1 / fps of its dataset
    execute_steps: int  # how many actions of a chunk to execute before the next

    def reset(self, seed: int) -> None:
        """Start a rollout: forget the past, seed the sampling."""
        ...

    def predict(self, observation: Observation) -> PlanArray:
        """Return actions of shape (H, 6), degrees and gripper percent."""
        ...


class Planner(Protocol):
    """Computes plans beside the loop. No call blocks; at most one observation is under way."""

    execute_steps: int

    def reset(self, seed: int) -> None:
        """Start a rollout; a plan still under way will be dropped."""
        ...

    def is_idle(self) -> bool:
        """Tell whether an observation may be handed in now."""
        ...

    def request(self, observation: Observation, now_s: float) -> None:
        """Ask for the plan of an observation; only when idle."""
        ...

    def poll(self, now_s: float) -> Plan | None:
        """Return a finished plan, once; raises PolicyFailed when none can come any more."""
        ...

    def close(self) -> None:
        """Stop computing and free everything; may be called twice."""
        ...


class InlinePlanner:
    """Run the policy in this thread, with a fixed latency of virtual time."""

    def __init__(self, policy: ChunkPolicy, *, latency_s: float = 0.03) -> None:
        self._policy = policy
        self._latency_s = latency_s
        self._plan: Plan | None = None
        self._due_s = 0.0
        self.execute_steps = policy.execute_steps

    def reset(self, seed: int) -> None:
        """Start a rollout with this sampling seed."""
        self._plan = None
        self._policy.reset(seed)

    def is_idle(self) -> bool:
        """Tell whether no plan is waiting for its time."""
        return self._plan is None

    def request(self, observation: Observation, now_s: float) -> None:
        """Compute the plan now; `poll` gives it out `latency_s` later."""
        started_s = time.perf_counter()  # real time, for the statistics only
        actions_deg = self._policy.predict(observation)
        check_actions(actions_deg)
        self._plan = Plan(
            generation=observation.generation,
            observation_s=observation.observation_s,
            progress_s=observation.progress_s,
            step_s=self._policy.step_s,
            actions_deg=actions_deg,
            inference_s=time.perf_counter() - started_s,
        )
        self._due_s = now_s + self._latency_s

    def poll(self, now_s: float) -> Plan | None:
        """Return the plan once its latency has passed."""
        if self._plan is None or now_s < self._due_s - 1e-9:
            return None
        plan, self._plan = self._plan, None
        return plan

    def close(self) -> None:
        """Nothing to free."""
