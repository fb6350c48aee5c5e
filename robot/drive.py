"""One drive of a follower: from the first tick to a known torque state, whatever happens between.

The first stop, and every error that leaves the arm's joints known: freeze, walk to the rest pose at
reduced torque, let go. A joint that cannot be heard or trusted: nobody knows where the arm is, so
it sinks under a falling torque limit and lets go. An adapter that was unplugged: looked for again,
then the walk. The second stop: let go at once. Each ends in `release`, which reads back.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from robot.clock import Clock
from robot.errors import JointLost, NotConnected, ServoFault, So101Error
from robot.health import GOOD, Health
from robot.joint_sample import JointSample
from robot.joints import FloatVector
from robot.loop import GoalSource, Limiter, Monitor, ReleasedArm, TickListener, turn_until

# A folded-out arm is heavy but slow: enough to carry itself, too little to hurt.
REST_TORQUE_PCT = 60.0
LOOK_AGAIN_S = 0.2  # between two looks for an unplugged adapter


class DrivenArm(ReleasedArm, Protocol):
    """An arm that can be brought to rest."""

    def set_torque_limit_pct(self, limit_pct: float) -> None:
        """Limit the torque of every joint, percent of its stall torque."""
        ...

    def sink(self, clock: Clock, is_off_wanted: Callable[[], bool]) -> None:
        """Lower the torque limit step by step to nothing: a raised arm sinks and does not fall."""
        ...

    def reconnect(self) -> bool:
        """Find the adapter again if it went; False while it is not there."""
        ...


class RestSource(GoalSource, Protocol):
    """Goals that lead to the rest pose."""

    @property
    def is_done(self) -> bool:
        """Whether the arm has arrived, or has had the time it may take."""
        ...


@dataclass(frozen=True)
class Ending:
    """How a drive may end."""

    should_stop: Callable[[], bool]  # the first stop: come to rest
    is_off_wanted: Callable[[], bool]  # the second: let go at once
    new_rest: Callable[[], RestSource]
    look_for_s: Callable[[], float]  # how long to look for an unplugged adapter
    say: Callable[[str], None]  # tells the person what is going on; must not block


@dataclass(frozen=True)
class Drive:
    """A follower and what a loop on it needs."""

    arm: DrivenArm
    monitor: Monitor
    limiter: Limiter
    listeners: Sequence[TickListener]
    rate_hz: float
    clock: Clock

    def to_rest(self, source: GoalSource, ending: Ending) -> None:
        """Follow `source` until a stop or an error; come to rest and let go on every way out.

        Raises:
            So101Error: what ended the drive, after the arm was released.
        """
        try:
            try:
                turn_until(
                    lambda: ending.should_stop() or ending.is_off_wanted(),
                    arm=self.arm,
                    source=source,
                    monitor=self.monitor,
                    limiter=self.limiter,
                    listeners=self.listeners,
                    rate_hz=self.rate_hz,
                    clock=self.clock,
                )
            finally:
                self._come_to_rest(sys.exception(), ending)
        finally:
            self.arm.release()

    def _come_to_rest(self, error: BaseException | None, ending: Ending) -> None:
        """Do what the cause allows; a second cause ends it sooner, never louder."""
        try:
            if isinstance(error, KeyboardInterrupt) or ending.is_off_wanted():
                return
            if isinstance(error, JointLost):
                self._sink(ending)
            elif not isinstance(error, NotConnected) or self._find_again(ending):
                self._walk(ending)
        except JointLost:
            self._sink(ending)
        except So101Error as second:
            ending.say(f"the arm could not walk to rest: {second}")

    def _walk(self, ending: Ending) -> None:
        """Walk to the rest pose; a fault that asks for a stop is being obeyed already."""
        ending.say("walking to the rest pose")
        self.arm.set_torque_limit_pct(REST_TORQUE_PCT)
        rest = ending.new_rest()
        turn_until(
            lambda: rest.is_done or ending.is_off_wanted(),
            arm=self.arm,
            source=rest,
            monitor=_FaultsObeyed(self.monitor),
            limiter=self.limiter,
            listeners=self.listeners,
            rate_hz=self.rate_hz,
            clock=self.clock,
            phase="rest",
        )

    def _sink(self, ending: Ending) -> None:
        ending.say("a joint is lost: the arm sinks, support it")
        self.arm.sink(self.clock, ending.is_off_wanted)

    def _find_again(self, ending: Ending) -> bool:
        if self.arm.reconnect():  # it was another device that went
            return True
        ending.say("the follower is not reachable: plug it in again, or cut the power")
        give_up_s = self.clock.now_s() + ending.look_for_s()
        while self.clock.now_s() < give_up_s and not ending.is_off_wanted():
            self.clock.sleep_until(self.clock.now_s() + LOOK_AGAIN_S)
            if self.arm.reconnect():
                self.limiter.rearm()
                return True
        return False


@dataclass(frozen=True)
class _FaultsObeyed:
    """The monitor on the way to rest: only a joint that is lost ends the walk."""

    monitor: Monitor

    def judge(self, observed: JointSample, sent_deg: FloatVector | None, now_s: float) -> Health:
        """Return how six servos are; a fault that asks to come to rest changes nothing."""
        try:
            return self.monitor.judge(observed, sent_deg, now_s)
        except ServoFault:
            return GOOD
