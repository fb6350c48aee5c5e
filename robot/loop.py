"""The one control loop: read, ask, limit, send, tell, wait.

Teleoperation, jogging, replay, policy rollout and human take-over differ only in their
`GoalSource`; recording, plotting and evaluation are `TickListener`s. The loop knows roles, never
names, and it holds the only call in the program that sends a goal to a servo. Whatever ends it, the
arm is released first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robot.clock import Clock, Pacer
from robot.joints import FloatVector


@dataclass(frozen=True, slots=True)
class JointSample:
    """What six servos said in one transaction; arrays of shape (6,), ordered as `joints.JOINTS`.

    A servo that gave no valid reply keeps its last values, and its `time_s` stays behind: a sample
    never looks fresher than it is.
    """

    time_s: FloatVector  # per joint, middle of the transaction, seconds
    position_deg: FloatVector  # degrees, gripper percent
    velocity_deg_s: FloatVector  # degrees (gripper percent) per second
    load_pct: FloatVector  # PWM duty of the motor, -100..100
    voltage_v: FloatVector
    temperature_celsius: FloatVector
    current_ma: FloatVector
    status: tuple[int, ...]  # error byte of each reply, see registers.STATUS_BITS


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal somebody asks for, and when it was true."""

    position_deg: FloatVector  # shape (6,)
    made_s: float  # time of the leader sample, plan value or key press behind it


class Arm(Protocol):
    """A follower, as the loop sees it."""

    def read(self) -> JointSample:
        """Return the newest sample of all six joints.

        Raises:
            ServoTimeout: the bus stays silent.
        """
        ...

    def send_deg(self, goal_deg: FloatVector) -> None:
        """Write six goals that the limits have passed."""
        ...

    def release(self) -> str:
        """Take torque off, read it back, and say the state; never raises."""
        ...


class GoalSource(Protocol):
    """Whatever drives the follower."""

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Return the goal for this tick; must not block."""
        ...


class Limiter(Protocol):
    """What stands between a goal asked and a goal sent."""

    def limit(self, goal: Goal, observed: JointSample, now_s: float) -> FloatVector:
        """Return the goal to send, shape (6,)."""
        ...


@dataclass(frozen=True, slots=True)
class Tick:
    """All that one turn of the loop knows."""

    index: int
    time_s: float  # start of the tick
    lateness_s: float  # of the wake-up behind its slot
    missed: int  # slots lost since the start
    observed: JointSample
    asked_deg: FloatVector
    sent_deg: FloatVector
    sent_s: float  # when the goals had been handed to the bus


class TickListener(Protocol):
    """Whoever wants to know of each tick."""

    def on_tick(self, tick: Tick) -> None:
        """Take note of a tick; must not block."""
        ...


def run_control_loop(
    *,
    arm: Arm,
    source: GoalSource,
    limiter: Limiter,
    listeners: Sequence[TickListener],
    rate_hz: float,
    clock: Clock,
    should_stop: Callable[[], bool],
) -> None:
    """Drive the arm until told to stop; the arm is released first on every way out.

    Errors of the arm, the source, the limiter or a listener pass through after the release.
    """
    pacer = Pacer(rate_hz, clock)
    index = 0
    try:
        while not should_stop():
            start_s = clock.now_s()
            observed = arm.read()
            goal = source.goal(observed, start_s)
            sent_deg = limiter.limit(goal, observed, start_s)
            arm.send_deg(sent_deg)
            tick = Tick(
                index=index,
                time_s=start_s,
                lateness_s=pacer.lateness_s,
                missed=pacer.missed,
                observed=observed,
                asked_deg=np.array(goal.position_deg),
                sent_deg=sent_deg,
                sent_s=clock.now_s(),
            )
            for listener in listeners:
                listener.on_tick(tick)
            index += 1
            pacer.wait()
    finally:
        arm.release()
