"""One drive of a follower: from the first tick to a known torque state, whatever happens between.

The first stop, and every error that leaves the arm's joints known: freeze, walk to the rest pose at
reduced torque, let go. A joint that cannot be heard or trusted: nobody knows where the arm is, so
it sinks under a falling torque limit and lets go. An adapter that was unplugged: looked for again,
then the walk. On the way to rest only the arm's own errors count. The second stop: let go at once.
Each ends in `release`, which reads back.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from robot.clock import Clock
from robot.errors import CalibrationMismatch, JointLost, NotConnected, ServoFault, So101Error
from robot.health import GOOD, Health
from robot.joint_sample import JointSample
from robot.joints import FloatVector
from robot.loop import GoalSource, Limiter, Monitor, ReleasedArm, Tick, TickListener, turn_until

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
        """Find the adapter again if it went; False while it is not there.

        Raises:
            CalibrationMismatch: another arm is there; nothing was written to it.
            JointLost: it is back, and not all of its joints.
        """
        ...


class RestSource(GoalSource, Protocol):
    """Goals that lead to the rest pose."""

    @property
    def is_done(self) -> bool:
        """Whether the arm has arrived, or has had the time it may take."""
        ...

    @property
    def has_arrived(self) -> bool:
        """Whether it may be let go where it is: it is where it rests."""
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
        except NotConnected as second:
            if isinstance(error, NotConnected):
                _tell(ending, f"the arm could not walk to rest: {second}")
            else:  # unplugged on the way
                self._come_to_rest(second, ending)
        except So101Error as second:  # a joint lost on the way, or a stranger on the bus
            _tell(ending, f"the arm cannot walk to rest: {second}")
            self._sink(ending)

    def _walk(self, ending: Ending) -> None:
        """Walk to the rest pose; a fault that asks for a stop is being obeyed already."""
        _tell(ending, "walking to the rest pose")
        self.arm.set_torque_limit_pct(REST_TORQUE_PCT)
        rest = ending.new_rest()
        turn_until(
            lambda: rest.is_done or ending.is_off_wanted(),
            arm=self.arm,
            source=rest,
            monitor=_FaultsObeyed(self.monitor),
            limiter=self.limiter,
            listeners=[_Bystander(each, ending) for each in self.listeners],
            rate_hz=self.rate_hz,
            clock=self.clock,
            phase="rest",
        )
        if not (rest.has_arrived or ending.is_off_wanted()):
            _tell(ending, "the arm did not get to its rest pose")
            self._sink(ending)

    def _sink(self, ending: Ending) -> None:
        _tell(ending, "the arm sinks: support it")
        self.arm.sink(self.clock, ending.is_off_wanted)

    def _find_again(self, ending: Ending) -> bool:
        look = _Look(self.arm, ending)
        if look.is_found():  # it was another device that went
            return True
        _tell(ending, "the follower is not reachable: plug it in again, or cut the power")
        began_s = self.clock.now_s()
        while self.clock.now_s() - began_s < ending.look_for_s() and not ending.is_off_wanted():
            self.clock.sleep_until(self.clock.now_s() + LOOK_AGAIN_S)
            if look.is_found():
                self.limiter.rearm()
                return True
        return False


@dataclass
class _Look:
    """The search for an unplugged arm; another arm in its place is told of once."""

    arm: DrivenArm
    ending: Ending
    has_told: bool = False

    def is_found(self) -> bool:
        """Look once."""
        try:
            return self.arm.reconnect()
        except CalibrationMismatch as error:
            if not self.has_told:
                _tell(self.ending, str(error))
            self.has_told = True
            return False


@dataclass
class _Bystander:
    """A listener on the way to rest: what fails in it is told once, and the arm walks on."""

    listener: TickListener
    ending: Ending
    has_failed: bool = False

    def on_tick(self, tick: Tick) -> None:
        """Pass a tick on."""
        try:
            self.listener.on_tick(tick)
        except Exception as error:  # noqa: BLE001 - a defect of who looks on must not drop the arm
            if not self.has_failed:
                _tell(self.ending, f"not noted on the way to rest: {error!r}")
            self.has_failed = True


def _tell(ending: Ending, sentence: str) -> None:
    """Tell the person; an arm on its way to rest does not depend on who hears of it."""
    with contextlib.suppress(Exception):
        ending.say(sentence)


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
