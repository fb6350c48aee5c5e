"""A session's hand on the control process: start it, power the arm, drive, stop.

    with start_control(rig_path, source="leader", run_folder=folder) as control:
        control.torque_on()
        control.drive(listeners=[recorder], should_stop=stop)   # ends in the rest pose, torque off

Errors that ended something over there are raised here as the same classes. When the process itself
is gone, `ControlLost` carries the guard's verdict; one that comes later is a note to the error
under way. Use from one thread.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from robot.control_process import ControlProcess, spawn_control
from robot.errors import ConfigError, ControlLost, ServoTimeout, So101Error
from robot.joint_sample import JointSample
from robot.joints import JOINTS
from robot.loop import GoalSource, TickListener
from robot.messages import (
    Answer,
    Bye,
    Command,
    Drive,
    Driving,
    Facts,
    Hello,
    Off,
    Rearm,
    Refused,
    Released,
    Said,
    SourceName,
    Stop,
    TorqueOn,
)
from robot.session_drive import TURN_S, SessionDrive
from robot.session_pulse import Pulse
from robot.streams import SessionStreams
from robot.torque import TorqueState, TorqueStates

START_S = 30.0  # two arms checked and configured, on a busy small computer
ANSWER_S = 5.0
RELEASE_S = 45.0  # to rest and released, with the search for an unplugged adapter before it


class ControlClient:
    """A running control process."""

    def __init__(self, child: "subprocess.Popen[bytes]", pulse: Pulse, folder: Path) -> None:
        self._process = ControlProcess(child, folder)
        self._pulse = pulse
        self._folder = folder
        self._streams = SessionStreams(folder)
        self._is_closed = False
        self._facts: Facts | None = None
        self._is_loss_told = False
        self.torque_state: TorqueStates | None = None  # as last read back here

    @property
    def pid(self) -> int:
        """Process id of the control process."""
        return self._process.pid

    @property
    def facts(self) -> Facts:
        """Return what control knows of its arms."""
        if self._facts is None:
            raise ControlLost("the control process has not said what it opened: wait_ready first")
        return self._facts

    def wait_ready(self) -> None:
        """Wait until the arms are open and checked; raises what they raise."""
        answer = self._ask(Hello(), START_S)
        if not isinstance(answer, Facts):
            raise ControlLost(f"control answered Hello with {type(answer).__name__}")
        self._facts = answer

    def observe(self) -> JointSample:
        """Return a sample of which every joint is newer than this call.

        Raises:
            ServoTimeout: there is none within seconds; names a joint that stays silent.
        """
        began_s = time.monotonic()
        silent = "the follower"
        while True:
            live = self._streams.newest()
            if live is not None:
                age_s = began_s - live.observed.time_s  # per joint: a silent one keeps its last
                if age_s.max() <= 0.0:
                    return live.observed
                silent = JOINTS[int(age_s.argmax())]
            self._check_alive()
            if time.monotonic() > began_s + ANSWER_S:
                raise ServoTimeout(
                    f"{silent} cannot be read: check its plug and its power, then start again"
                )
            self._streams.wait(TURN_S)

    def torque_on(self) -> None:
        """Power the joints where they stand; raises So101Error, and torque is off then."""
        self._ask(TorqueOn(), ANSWER_S)

    def rearm(self) -> None:
        """Let the follower ramp again: the scene or the source was changed."""
        self._ask(Rearm(), ANSWER_S)

    def drive(
        self,
        source: GoalSource | None = None,
        *,
        listeners: Sequence[TickListener] = (),
        should_stop: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda _sentence: None,
    ) -> TorqueStates:
        """Follow the leader, or a source of this process, until told to stop; then come to rest.

        Every tick is told to the listeners in order, those of the walk to rest too; `say` gets
        what the control process has to tell the person. Returns when the arm is released.

        Raises:
            So101Error: what ended the drive over there. What a listener, the source or
            `should_stop` raises here passes through; the arm is at rest and released by then
            (KeyboardInterrupt: released at once).
        """
        name: SourceName = "leader" if source is None else "session"
        answer = self._ask(Drive(name), ANSWER_S)
        if not isinstance(answer, Driving):
            raise ControlLost(f"control answered Drive with {type(answer).__name__}")
        drive = SessionDrive(self._streams, answer.generation, source, listeners, should_stop, say)
        try:
            ended = drive.run(self._check_alive)
        except ControlLost:
            raise
        except BaseException as error:
            self._release(Off() if isinstance(error, KeyboardInterrupt) else Stop(), say)
            raise
        self.torque_state = ended.torque
        if ended.failure is not None:
            raise ended.failure.rebuilt()
        return ended.torque

    def stop(self) -> TorqueStates:
        """Walk to rest, let go, read back; at once when torque is off already."""
        return self._release(Stop())

    def off(self) -> TorqueStates:
        """Let go now and read back."""
        return self._release(Off())

    def close(self) -> None:
        """Walk to rest, let go, and end the control process; never raises, may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        is_loss_told = self._is_loss_told
        try:
            with contextlib.suppress(So101Error):
                if self._process.is_alive:
                    self._release(Bye())
        finally:
            self._pulse.close()
            self._streams.close()
            self._process.wait(ANSWER_S)
            self._is_loss_told = is_loss_told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> None:
        self.close()
        if self._is_loss_told or not self._process.has_died:
            return
        loss = self._process.how_it_ended(was_ready=self._facts is not None)
        if error is None:
            raise ControlLost(loss)
        error.add_note(loss)

    # -- inside ------------------------------------------------------------------------------------

    def _release(
        self, command: Stop | Off | Bye, say: Callable[[str], None] = lambda _sentence: None
    ) -> TorqueStates:
        """Have the arm let go; of a drive that nobody hears only what is said is passed on."""

        def drain() -> None:
            while (message := self._streams.next_record()) is not None:
                if isinstance(message, Said):
                    say(message.sentence)

        try:
            answer = self._ask(command, RELEASE_S, drain)
        except ControlLost:
            if not self._process.has_let_go:
                raise
            answer = Released(TorqueStates.of_all(TorqueState.OFF))
        if not isinstance(answer, Released):
            raise ControlLost(f"control answered with {type(answer).__name__}")
        self.torque_state = answer.torque
        drain()
        return answer.torque

    def _ask(
        self, command: Command, patience_s: float, meanwhile: Callable[[], None] = lambda: None
    ) -> Answer:
        """Send a command and wait for the answer; raises what control refused it with."""
        deadline_s = time.monotonic() + patience_s
        request_id = self._streams.request(command, deadline_s)
        while (answer := self._streams.reply(request_id, TURN_S)) is None:
            self._check_alive()
            meanwhile()
            if time.monotonic() > deadline_s:
                raise ControlLost(
                    f"the control process gave no answer to {type(command).__name__} within "
                    f"{patience_s:g} s; see {self._folder / 'control.log'}"
                )
        if isinstance(answer, Refused):
            raise answer.failure.rebuilt()
        return answer

    def _check_alive(self) -> None:
        if not self._process.is_alive:
            self._is_loss_told = True
            raise ControlLost(self._process.how_it_ended(was_ready=self._facts is not None))


def start_control(
    rig_path: Path,
    *,
    source: SourceName,
    run_folder: Path,
    twin_pid: int | None = None,
    kept_open: Sequence[int] = (),
    program: Sequence[str] = ("-m", "scripts.control_host"),
) -> ControlClient:
    """Start the control process and its guard, and open, check and configure the arms.

    Torque stays off. With `source` "session" no leader is opened. `kept_open` are descriptors that
    the control process holds too: of what must outlive this process until the arm is let go.

    Raises:
        So101Error: what the arms raise.
        ControlLost: the process did not start.
    """
    pulse = Pulse()
    try:
        inherited = [pulse.read_end, *kept_open]
        child = spawn_control(rig_path, source, run_folder, twin_pid, inherited, program)
    except OSError as error:
        pulse.close()
        raise ConfigError(f"cannot start the control process: {error}") from error
    finally:
        os.close(pulse.read_end)
    client = ControlClient(child, pulse, run_folder)
    try:
        client.wait_ready()
    except BaseException as error:
        client.__exit__(type(error), error, None)
        raise
    return client
