"""What a command does around a drive, whatever ends it: errors, stops, and a control that is gone.

The control here says what the real one would; the real one's ends are in tests/test_stops.py.
"""

import io
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from rich.console import Console

from robot.errors import (
    CalibrationMismatch,
    CameraLost,
    ControlLost,
    NotConnected,
    So101Error,
    StorageFull,
)
from robot.joint_sample import JointSample
from robot.loop import Goal, GoalSource, Tick, TickListener
from robot.messages import Facts
from robot.torque import TorqueState, TorqueStates
from scripts.driving import HINT, Driver
from scripts.exit_codes import RunFailed
from scripts.stopping import StopRequest, stop_on_signals

OFF = TorqueStates.of_all(TorqueState.OFF)
SIX = np.zeros(6)
SAMPLE = JointSample(SIX, SIX, SIX, SIX, SIX, SIX, SIX, (0,) * 6)
TURNS = 100


@dataclass
class PlayedControl:
    """Plays a drive of 100 ticks, or until it is told to stop; keeps what was asked of it."""

    refusal: So101Error | None = None  # of torque_on
    failure: So101Error | None = None  # of the drive
    lost: So101Error | None = None  # of everything after the drive
    torque: TorqueStates = OFF
    asked: list[str] = field(default_factory=list[str])

    @property
    def facts(self) -> Facts:
        raise NotImplementedError

    def observe(self) -> JointSample:
        return SAMPLE

    def torque_on(self) -> None:
        self.asked.append("torque on")
        if self.refusal is not None:
            raise self.refusal

    def rearm(self) -> None:
        self.asked.append("rearm")

    def drive(
        self,
        source: GoalSource | None = None,
        *,
        listeners: Sequence[TickListener],
        should_stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> TorqueStates:
        self.asked.append("drive")
        for index in range(TURNS):
            if should_stop():
                break
            if source is not None:
                source.goal(SAMPLE, index / 100)
            for listener in listeners:
                listener.on_tick(Tick(index, index / 100, 0.0, 0, SAMPLE, SIX, SIX, index / 100))
        say("walking to the rest pose")
        if self.failure is not None:
            raise self.failure
        return self.torque

    def stop(self) -> TorqueStates:
        return self._let_go("stop")

    def off(self) -> TorqueStates:
        return self._let_go("off")

    def _let_go(self, how: str) -> TorqueStates:
        self.asked.append(how)
        if self.lost is not None:
            raise self.lost
        return self.torque


class Bench:
    """A driver whose words are kept."""

    def __init__(self, control: PlayedControl, stop: StopRequest | None = None) -> None:
        self._file = io.StringIO()
        console = Console(file=self._file, width=200)
        self.driver = Driver(control, stop or StopRequest(), console)

    def drive(
        self,
        *listeners: TickListener,
        source: GoalSource | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self.driver.drive(source, listeners, is_over)

    @property
    def said(self) -> list[str]:
        return self._file.getvalue().splitlines()


class At:
    """A listener that does something at a tick, and counts those it was told."""

    def __init__(self, index: int, act: Callable[[], None]) -> None:
        self.ticks = 0
        self._index = index
        self._act = act

    def on_tick(self, tick: Tick) -> None:
        self.ticks += 1
        if tick.index == self._index:
            self._act()


def failing(error: So101Error) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    with stop_on_signals() as request:
        yield request


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_drive_ends_with_the_torque_state() -> None:
    control = PlayedControl()
    bench = Bench(control)

    bench.drive(is_over=iter([False, False, True]).__next__)

    assert control.asked == ["torque on", "drive"]
    assert bench.said == ["walking to the rest pose", "follower torque: off (read back)"]


def test_joints_that_differ_are_named_in_the_last_line() -> None:
    states = (TorqueState.OFF,) * 5 + (TorqueState.UNREACHABLE,)
    bench = Bench(PlayedControl(torque=TorqueStates(states)))

    with pytest.raises(RunFailed, match="did not let go: gripper not reachable"):
        bench.drive()

    assert bench.said[-1].startswith("follower torque: gripper not reachable: cut the power; ")
    assert "shoulder_pan" in bench.said[-1]


def test_a_stop_before_powers_nothing(stop: StopRequest) -> None:
    control = PlayedControl()
    bench = Bench(control, stop)
    interrupt()

    bench.drive()

    assert control.asked == ["stop"]
    assert bench.said == ["follower torque: off (read back)"]


def test_the_first_signal_says_what_a_second_one_does(stop: StopRequest) -> None:
    bench = Bench(PlayedControl(), stop)

    bench.drive(At(3, interrupt))

    assert bench.said.count(HINT) == 1
    assert bench.said[-1] == "follower torque: off (read back)"


def test_a_stop_is_answered_while_there_are_no_ticks(stop: StopRequest) -> None:
    class Searching(PlayedControl):
        def drive(
            self,
            source: GoalSource | None = None,
            *,
            listeners: Sequence[TickListener],
            should_stop: Callable[[], bool],
            say: Callable[[str], None],
        ) -> TorqueStates:
            assert not should_stop()
            interrupt()
            assert should_stop()
            assert should_stop()
            return OFF

    bench = Bench(Searching(), stop)

    bench.drive()

    assert bench.said == [HINT, "follower torque: off (read back)"]


def test_a_stop_after_the_end_is_answered_too_and_the_end_is_asked_for_once(
    stop: StopRequest,
) -> None:
    class Walking(PlayedControl):
        def drive(
            self,
            source: GoalSource | None = None,
            *,
            listeners: Sequence[TickListener],
            should_stop: Callable[[], bool],
            say: Callable[[str], None],
        ) -> TorqueStates:
            assert should_stop()
            interrupt()
            assert should_stop()
            return OFF

    bench = Bench(Walking(), stop)

    bench.drive(is_over=iter([True]).__next__)

    assert bench.said[0] == HINT


def test_the_second_signal_asks_to_let_go_now(stop: StopRequest) -> None:
    control = PlayedControl()
    bench = Bench(control, stop)

    with pytest.raises(KeyboardInterrupt):
        bench.drive(At(3, interrupt), At(3, interrupt))

    assert control.asked == ["torque on", "drive", "off"]
    assert bench.said[-1] == "follower torque: off (read back)"


def test_a_second_signal_while_an_error_walks_to_rest_lets_go_too(stop: StopRequest) -> None:
    class Interrupted(PlayedControl):
        def stop(self) -> TorqueStates:
            self.asked.append("stop")
            interrupt()
            interrupt()
            return OFF

    control = Interrupted(failure=StorageFull("full"))
    bench = Bench(control, stop)

    with pytest.raises(KeyboardInterrupt):
        bench.drive()

    assert control.asked == ["torque on", "drive", "stop", "off"]
    assert bench.said[-1] == "follower torque: off (read back)"


def test_what_refuses_the_power_stays_a_refusal() -> None:
    control = PlayedControl(refusal=CalibrationMismatch("elbow_flex stands outside"))
    bench = Bench(control)

    with pytest.raises(CalibrationMismatch):
        bench.drive()

    assert control.asked == ["torque on", "stop"]
    assert bench.said == ["follower torque: off (read back)"]


@pytest.mark.parametrize("error", [NotConnected("unplugged"), StorageFull("full")])
def test_what_befalls_a_driven_arm_is_no_refusal(error: So101Error) -> None:
    bench = Bench(PlayedControl(failure=error))

    with pytest.raises(RunFailed, match=str(error)):
        bench.drive()

    assert bench.said[-1] == "follower torque: off (read back)"


@pytest.mark.parametrize("part", ["listener", "source", "end"])
def test_an_error_on_this_side_is_a_stop_with_a_reason(part: str) -> None:
    error = CameraLost("camera 'wrist' broke off")
    fail = failing(error)

    class Failing:
        def goal(self, observed: JointSample, now_s: float) -> Goal:
            if now_s > 0.02:
                fail()
            return Goal(observed.position_deg, now_s)

    other = At(TURNS, lambda: None)
    control = PlayedControl()
    bench = Bench(control)

    def is_over() -> bool:
        if part == "end" and other.ticks == 3:
            fail()
        return False

    failed = At(3, fail if part == "listener" else lambda: None)
    with pytest.raises(CameraLost):
        bench.drive(failed, other, source=Failing() if part == "source" else None, is_over=is_over)

    assert bench.said == [
        "stopping: camera 'wrist' broke off",
        "walking to the rest pose",
        "follower torque: off (read back)",
    ]
    assert 3 <= other.ticks <= 4  # the others are told the tick of the error too


def test_when_control_is_gone_its_error_says_how_the_arm_is() -> None:
    lost = ControlLost("the control process ended (signal 9); follower torque: off")
    control = PlayedControl(failure=lost, lost=lost)
    bench = Bench(control)

    with pytest.raises(ControlLost, match="follower torque: off"):
        bench.drive()

    assert control.asked == ["torque on", "drive", "stop", "off"]
    assert bench.said == ["walking to the rest pose"]


def test_what_fails_while_letting_go_never_hides_why() -> None:
    control = PlayedControl(failure=StorageFull("full"), lost=ControlLost("no answer"))
    bench = Bench(control)

    with pytest.raises(RunFailed, match="full"):
        bench.drive()

    assert bench.said == ["walking to the rest pose", "no answer"]


def test_what_a_listener_missed_is_passed_on() -> None:
    class Gappy:
        def __init__(self) -> None:
            self.gaps: list[tuple[int, int]] = []

        def on_tick(self, tick: Tick) -> None:
            pass

        def on_gap(self, first: int, last: int) -> None:
            self.gaps.append((first, last))

    class Control(PlayedControl):
        def drive(
            self,
            source: GoalSource | None = None,
            *,
            listeners: Sequence[TickListener],
            should_stop: Callable[[], bool],
            say: Callable[[str], None],
        ) -> TorqueStates:
            for listener in listeners:
                listener.on_gap(7, 9)  # type: ignore[attr-defined]  # as robot/session_drive.py
            return OFF

    listener = Gappy()
    Bench(Control()).drive(listener, At(0, lambda: None))

    assert listener.gaps == [(7, 9)]
