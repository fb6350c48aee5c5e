"""A session's hand on the control process: start it, power the arm, drive, stop.

    with start_control(rig_path, source="leader", run_folder=folder) as control:
        control.torque_on()
        control.drive(listeners=[recorder], should_stop=stop)   # ends in the rest pose, torque off

Errors that ended something over there are raised here as the same classes. When the process itself
is gone, `ControlLost` carries the guard's verdict. Use from one thread.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import msgspec
import numpy as np

import robot
from robot import errors
from robot.errors import ConfigError, ControlLost, ServoTimeout, So101Error
from robot.joint_sample import JointSample
from robot.loop import GoalSource, TickListener
from robot.messages import (
    Answer,
    Bye,
    Command,
    Drive,
    DriveEnded,
    Driving,
    Facts,
    Failure,
    Gap,
    GoalAsked,
    Hello,
    Live,
    Off,
    Rearm,
    Refused,
    Released,
    Said,
    SourceName,
    Stop,
    TickTold,
    Torque,
    TorqueOn,
)
from robot.session_pulse import BEAT_S
from robot.streams import SessionStreams

START_S = 30.0  # two arms checked and configured, on a busy small computer
ANSWER_S = 5.0
RELEASE_S = 45.0  # to rest and released, with the search for an unplugged adapter before it
VERDICT_S = 1.5  # the guard's, after control has died
TURN_S = 0.02  # longest wait for the next message: signals and `should_stop` are looked at then


@runtime_checkable
class GapListener(Protocol):
    """A tick listener that also wants to know which ticks it missed."""

    def on_gap(self, first: int, last: int) -> None:
        """Take note of messages that were lost, by their numbers."""
        ...


class _GuardFile(msgspec.Struct):
    sentence: str


class Pulse:
    """A thread that shows control that this process lives."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()  # the read end is for the child
        os.set_blocking(self._write_end, False)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Fall silent for good: control comes to rest, lets go and ends."""
        self._is_over.set()
        self._thread.join(1.0)
        os.close(self._write_end)

    def _beat(self) -> None:
        while not self._is_over.wait(BEAT_S):
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self._write_end, b".")


class ControlClient:
    """A running control process."""

    def __init__(self, child: "subprocess.Popen[bytes]", pulse: Pulse, folder: Path) -> None:
        self._child = child
        self._pulse = pulse
        self._folder = folder
        self._streams = SessionStreams(folder)
        self._newest: Live | None = None
        self._is_closed = False
        self._facts: Facts | None = None
        self.torque_state: Torque | None = None  # as last read back here

    @property
    def pid(self) -> int:
        """Process id of the control process."""
        return self._child.pid

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
        """Return the newest sample; waits for the first one."""
        deadline_s = time.monotonic() + ANSWER_S
        while self._look() is None and self._newest is None:
            self._check_alive()
            if time.monotonic() > deadline_s:
                raise ServoTimeout(
                    "the follower cannot be read: check its plug and its power, then start again"
                )
            self._streams.wait(TURN_S)
        if self._newest is None:
            raise ControlLost("no sample")
        return self._newest.observed

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
    ) -> Torque:
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
        turns = _Turns(source, listeners, should_stop, say, answer.generation)
        try:
            ended = self._turn(turns)
        except ControlLost:
            raise
        except BaseException as error:
            self._release(Off() if isinstance(error, KeyboardInterrupt) else Stop())
            raise
        self.torque_state = ended.torque
        if ended.failure is not None:
            raise rebuilt(ended.failure)
        return ended.torque

    def stop(self) -> Torque:
        """Walk to rest, let go, read back; at once when torque is off already."""
        return self._release(Stop())

    def off(self) -> Torque:
        """Let go now and read back."""
        return self._release(Off())

    def close(self) -> None:
        """Walk to rest, let go, and end the control process; never raises, may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            with contextlib.suppress(So101Error):
                if self._child.poll() is None:
                    self._release(Bye())
        finally:
            self._pulse.close()
            self._streams.close()
            try:
                self._child.wait(ANSWER_S)
            except subprocess.TimeoutExpired:
                self._child.kill()  # the guard lets go
                self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside ------------------------------------------------------------------------------------

    def _turn(self, turns: "_Turns") -> DriveEnded:
        """Answer samples and tell ticks until the drive has ended.

        Goals first: a slow listener makes ticks wait in control's ring, and the newest
        sample is answered before the next of them.
        """
        is_stop_sent = False
        while True:
            if not is_stop_sent and turns.should_stop():
                self._streams.request(Stop(), time.monotonic() + ANSWER_S)
                is_stop_sent = True
            live = self._look()
            if turns.source is not None and live is not None and live.phase == "drive":
                goal = turns.source.goal(live.observed, time.monotonic())
                position_deg = np.asarray(goal.position_deg, dtype=np.float64)
                self._streams.send_goal(GoalAsked(turns.generation, goal.made_s, position_deg))
            match self._streams.next_record():
                case None:
                    self._check_alive()
                    self._streams.wait(TURN_S)
                case TickTold(_, tick):
                    for listener in turns.listeners:
                        listener.on_tick(tick)
                case Said(_, _, sentence):
                    turns.say(sentence)
                case Gap(first, last):
                    turns.say(f"the record has a gap: messages {first} to {last} were overtaken")
                    for listener in turns.listeners:
                        if isinstance(listener, GapListener):
                            listener.on_gap(first, last)
                case DriveEnded() as ended:
                    if ended.generation == turns.generation:
                        return ended

    def _look(self) -> Live | None:
        """Return a live message that came since the last look, and keep it."""
        live = self._streams.newest()
        if live is not None:
            self._newest = live
        return live

    def _release(self, command: Stop | Off | Bye) -> Torque:
        """Have the arm let go; what the record holds of a drive that nobody hears is dropped."""
        answer = self._ask(command, RELEASE_S)
        if not isinstance(answer, Released):
            raise ControlLost(f"control answered with {type(answer).__name__}")
        self.torque_state = answer.torque
        while self._streams.next_record() is not None:
            pass
        return answer.torque

    def _ask(self, command: Command, patience_s: float) -> Answer:
        """Send a command and wait for the answer; raises what control refused it with."""
        deadline_s = time.monotonic() + patience_s
        request_id = self._streams.request(command, deadline_s)
        while (answer := self._streams.reply(request_id, TURN_S)) is None:
            self._check_alive()
            if time.monotonic() > deadline_s:
                raise ControlLost(
                    f"the control process gave no answer to {type(command).__name__} within "
                    f"{patience_s:g} s; see {self._folder / 'control.log'}"
                )
        if isinstance(answer, Refused):
            raise rebuilt(answer.failure)
        return answer

    def _check_alive(self) -> None:
        code = self._child.poll()
        if code is None:
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise ControlLost(f"the control process ended ({how}); {self._verdict()}")

    def _verdict(self) -> str:
        """Return what the guard says of the arm; it needs a moment after control's end."""
        path = self._folder / "guard.json"
        deadline_s = time.monotonic() + VERDICT_S
        while not path.exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        try:
            return msgspec.json.decode(path.read_bytes(), type=_GuardFile).sentence
        except (OSError, msgspec.DecodeError):
            return "the guard has said nothing: cut the power if the arm is stiff"


class _Turns(msgspec.Struct, frozen=True):
    """What a drive is made of on this side."""

    source: GoalSource | None
    listeners: Sequence[TickListener]
    should_stop: Callable[[], bool]
    say: Callable[[str], None]
    generation: int


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
        child = _spawn(rig_path, source, run_folder, twin_pid, inherited, program)
    except OSError as error:
        pulse.close()
        raise ConfigError(f"cannot start the control process: {error}") from error
    finally:
        os.close(pulse.read_end)
    client = ControlClient(child, pulse, run_folder)
    try:
        client.wait_ready()
    except BaseException:
        client.close()
        raise
    return client


def _spawn(
    rig_path: Path,
    source: SourceName,
    run_folder: Path,
    twin_pid: int | None,
    inherited: list[int],
    program: Sequence[str],
) -> "subprocess.Popen[bytes]":
    root = Path(robot.__file__).resolve().parent.parent
    given = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(root), *([given] if given else [])]),
        # Six joints need no second thread; read when NumPy is imported.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    arguments = [
        *("--rig", str(rig_path), "--source", source, "--folder", str(run_folder)),
        *("--pulse-fd", str(inherited[0]), "--parent", str(os.getpid())),
        *(() if twin_pid is None else ("--twin-pid", str(twin_pid))),
    ]
    return subprocess.Popen(
        [sys.executable, "-P", *program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # what it has to say comes as messages, or on standard error
        env=environment,
        pass_fds=inherited,
        # A terminal's Ctrl-C is for the command, which then stops this child.
        start_new_session=True,
    )


def rebuilt(failure: Failure) -> Exception:
    """Return the error that ended something in the control process."""
    kind = getattr(errors, failure.kind, None)
    if isinstance(kind, type) and issubclass(kind, So101Error):
        return kind(failure.sentence)
    return RuntimeError(f"in the control process: {failure.kind}: {failure.sentence}")
