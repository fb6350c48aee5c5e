"""The one control loop: read, judge, ask, limit, send, tell, wait.

Teleoperation, jogging, replay, policy rollout, human take-over and the walk to rest differ only in
their `GoalSource`; recording, plotting and evaluation are `TickListener`s. The loop knows roles,
never names, and it holds the only call in the program that sends a goal to a servo.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from robot.clock import Clock, Pacer
from robot.health import GOOD, Finding, Health
from robot.joint_sample import JointSample
from robot.joints import JOINTS, FloatVector

type Phase = Literal["drive", "rest"]


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
            NotConnected: the port went away.
        """
        ...

    def send_deg(self, goal_deg: FloatVector) -> None:
        """Write six goals that the limits have passed."""
        ...

    def restore_power(self) -> tuple[Finding, ...]:
        """Set up joints again that had lost their power, and say which; mostly none.

        Raises:
            JointLost: a joint came back as another one than it was.
        """
        ...


class Releasable(Protocol):
    """What can let go."""

    def release(self) -> object:
        """Take torque off, read it back, and say the state; never raises."""
        ...


class GoalSource(Protocol):
    """Whatever drives the follower."""

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Return the goal for this tick; must not block."""
        ...


class Monitor(Protocol):
    """Who judges how the servos are; `robot.health.HealthMonitor`."""

    def judge(self, observed: JointSample, sent_deg: FloatVector | None, now_s: float) -> Health:
        """Return how six servos are.

        Raises:
            ServoFault: the arm has to come to rest.
            ServoTimeout: a joint cannot be heard any more.
        """
        ...


class Limiter(Protocol):
    """What stands between a goal asked and a goal sent; `robot.limits.GoalLimiter`."""

    @property
    def is_ramping(self) -> bool:
        """Whether follower and goal do not agree yet."""
        ...

    def limit(self, goal: Goal, observed: JointSample, health: Health, now_s: float) -> FloatVector:
        """Return the goal to send, shape (6,)."""
        ...

    def rearm(self, joints: Collection[str] = JOINTS) -> None:
        """Start over, those joints from where they stand."""
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
    health: Health = GOOD
    news: tuple[Finding, ...] = ()  # what began with this tick
    is_ramping: bool = False  # follower and goal do not agree yet
    phase: Phase = "drive"


class TickListener(Protocol):
    """Whoever wants to know of each tick."""

    def on_tick(self, tick: Tick) -> None:
        """Take note of a tick; must not block."""
        ...


def turn_until(
    should_stop: Callable[[], bool],
    *,
    arm: Arm,
    source: GoalSource,
    monitor: Monitor,
    limiter: Limiter,
    listeners: Sequence[TickListener],
    rate_hz: float,
    clock: Clock,
    phase: Phase = "drive",
) -> None:
    """Turn until told to stop; the arm stays as it is then.

    Errors of the arm, the monitor, the source, the limiter or a listener pass through.
    """
    pacer = Pacer(rate_hz, clock)
    index = 0
    sent_deg: FloatVector | None = None
    while not should_stop():
        start_s = clock.now_s()
        observed = arm.read()
        health = monitor.judge(observed, sent_deg, start_s)
        goal = source.goal(observed, start_s)
        sent_deg = limiter.limit(goal, observed, health, start_s)
        arm.send_deg(sent_deg)
        sent_s = clock.now_s()
        restored = arm.restore_power()
        if restored:
            limiter.rearm({finding.joint for finding in restored})
        tick = Tick(
            index=index,
            time_s=start_s,
            lateness_s=pacer.lateness_s,
            missed=pacer.missed,
            observed=observed,
            asked_deg=np.array(goal.position_deg),
            sent_deg=sent_deg,
            sent_s=sent_s,
            health=health,
            news=health.news + restored,
            is_ramping=limiter.is_ramping,
            phase=phase,
        )
        for listener in listeners:
            listener.on_tick(tick)
        index += 1
        pacer.wait()


class ReleasedArm(Arm, Releasable, Protocol):
    """An arm that a loop drives and lets go."""


def run_control_loop(
    *,
    arm: ReleasedArm,
    source: GoalSource,
    monitor: Monitor,
    limiter: Limiter,
    listeners: Sequence[TickListener],
    rate_hz: float,
    clock: Clock,
    should_stop: Callable[[], bool],
) -> None:
    """Drive the arm until told to stop, and let go where it stands, on every way out.

    For the twin in virtual time, where nobody minds an arm that drops; `drive_to_rest` is for arms.
    """
    try:
        turn_until(
            should_stop,
            arm=arm,
            source=source,
            monitor=monitor,
            limiter=limiter,
            listeners=listeners,
            rate_hz=rate_hz,
            clock=clock,
        )
    finally:
        arm.release()
