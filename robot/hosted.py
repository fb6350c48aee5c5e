"""What the control process hosts, and whom it deals with; put together by its entry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from robot.clock import Clock
from robot.control_log import ControlLog
from robot.drive import DrivenArm, RestSource
from robot.guard_link import GuardLink
from robot.health import HealthMonitor
from robot.limits import GoalLimiter
from robot.loop import GoalSource
from robot.messages import Facts
from robot.session_pulse import SessionPulse
from robot.streams import ControlStreams
from robot.torque import TorqueStates


class HostedArm(DrivenArm, Protocol):
    """A follower that can also be powered."""

    def torque_on(self) -> None:
        """Power the joints where they stand; raises So101Error, and torque is off then."""
        ...

    def release(self) -> TorqueStates:
        """Take torque off, read it back, and say the states; never raises."""
        ...


@dataclass(frozen=True)
class Hosted:
    """What the control process hosts."""

    arm: HostedArm
    leader: GoalSource | None
    monitor: HealthMonitor
    limiter: GoalLimiter
    new_rest: Callable[[], RestSource]
    rate_hz: float
    facts: Facts


@dataclass(frozen=True)
class Surroundings:
    """Whom the control process deals with."""

    streams: ControlStreams
    session: SessionPulse
    guard: GuardLink
    clock: Clock
    log: ControlLog
