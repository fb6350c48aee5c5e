"""Drive a follower from a command: power, drive, rest, let go, and say how each joint was left.

One place for what every command does alike. The first stop and every error: the arm walks to the
rest pose and lets go. The second stop (any signal again, while it walks too): it lets go at once.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console

from robot.errors import So101Error
from robot.joint_sample import JointSample
from robot.loop import GoalSource, TickListener
from robot.messages import Facts
from robot.torque import TorqueStates
from scripts.exit_codes import RunFailed, under_way
from scripts.session_errors import CheckedListeners, CheckedSource, SessionErrors
from scripts.stopping import StopRequest

HINT = "stopping: the arm walks to its rest pose and lets go. Ctrl-C again: it lets go at once"


class ArmControl(Protocol):
    """Whoever has the follower: the control process, or in virtual time the loop right here."""

    @property
    def facts(self) -> Facts:
        """What a session has to know of the arms."""
        ...

    def observe(self) -> JointSample:
        """Return the newest sample of the follower."""
        ...

    def torque_on(self) -> None:
        """Power the joints where they stand; raises So101Error, and torque is off then."""
        ...

    def rearm(self) -> None:
        """Ramp again from where the follower stands, in every tick from now on."""
        ...

    def drive(
        self,
        source: GoalSource | None = None,
        *,
        listeners: Sequence[TickListener],
        should_stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> TorqueStates:
        """Follow the leader, or a source, until told to stop; then come to rest and let go.

        Raises:
            So101Error: what ended the drive; the arm has been let go as far as it can be.
        """
        ...

    def stop(self) -> TorqueStates:
        """Walk to rest, let go, read back; at once when torque is off already."""
        ...

    def off(self) -> TorqueStates:
        """Let go now and read back."""
        ...


@dataclass(frozen=True)
class Driver:
    """Somebody at a command, and the follower that it drives."""

    control: ArmControl
    stop: StopRequest
    console: Console

    def drive(
        self,
        source: GoalSource | None,
        listeners: Sequence[TickListener],
        is_over: Callable[[], bool],
        view: AbstractContextManager[object] | None = None,
    ) -> None:
        """Power the follower, drive it until it is over or somebody stops, and let it go.

        Powers nothing when somebody asked to stop before. `view`, what shows the drive, is closed
        before the last word: how the joints were left.

        Raises:
            So101Error: it could not be powered, or (no refusal then) what ended the drive.
            RunFailed: a joint is still powered, or cannot be asked.
            KeyboardInterrupt: somebody asked to stop twice: the arm did not walk to rest.
        """
        errors = SessionErrors(self.say)
        told = CheckedListeners(listeners, errors)
        should_stop = _HintedStop(self.stop, self.say, lambda: errors.is_over(is_over))
        torque: TorqueStates | None = None
        try:
            if not self.stop():
                self.control.torque_on()
                with under_way(), view or nullcontext():
                    torque = self.control.drive(
                        None if source is None else CheckedSource(source, errors),
                        listeners=[told],
                        should_stop=should_stop,
                        say=self.say,
                    )
                    if errors.first is not None:
                        raise errors.first
        finally:
            torque = self._let_go(torque)
        if torque is not None and not torque.is_off:
            raise RunFailed(f"the follower did not let go: {torque}")

    def say(self, sentence: str) -> None:
        """Tell the person."""
        self.console.print(sentence, highlight=False, soft_wrap=True)

    def _let_go(self, torque: TorqueStates | None) -> TorqueStates | None:
        """Make sure that the arm has let go, and say how its joints were left.

        What goes wrong here never hides the error under way: it is said, and None returned.
        """
        error = sys.exception()
        try:
            if torque is None and not isinstance(error, KeyboardInterrupt):
                with suppress(So101Error):  # asked again below
                    torque = self.control.stop()
        finally:
            if torque is None:
                with self.stop.uninterrupted():
                    torque = self._off(error)
            if torque is not None:
                self.say(f"follower torque: {torque}")
        return torque

    def _off(self, error: BaseException | None) -> TorqueStates | None:
        """Let go now; None when nobody is left to ask."""
        try:
            return self.control.off()
        except So101Error as second:
            if error is None:
                raise
            if str(second) != str(error):
                self.say(str(second))
            return None


class _HintedStop:
    """Says once, as soon as somebody asks to stop, what asking again does.

    Asked between two messages of control, so also while there are no ticks (it may be looking for
    an adapter that was unplugged), and while the arm walks because the drive is over.
    """

    def __init__(
        self, stop: StopRequest, say: Callable[[str], None], is_over: Callable[[], bool]
    ) -> None:
        self._stop = stop
        self._say = say
        self._ask = is_over
        self._is_over = False
        self._is_said = False

    def __call__(self) -> bool:
        """Tell whether somebody asked, or it is over; that is asked until it is."""
        if self._stop() and not self._is_said:
            self._is_said = True
            self._say(HINT)
        self._is_over = self._is_over or self._stop() or self._ask()
        return self._is_over
