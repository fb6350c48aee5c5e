"""The control process and its guard, as real processes on emulated servos behind ptys."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from control_bench import FAR, FOLDED, HERE, OFF, ON, ArmsBench, is_alive, open_arms, wait_for

from robot.control_client import start_control
from robot.errors import CalibrationMismatch, ControlLost, NotConnected, ServoTimeout, So101Error
from robot.joint_sample import JointSample
from robot.loop import Goal, Tick
from robot.messages import Failure
from robot.run_folder import open_run_folder

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

WALK_S = 8.0  # to rest and released, with room for a busy machine
FOREIGN = ("torch", "lerobot", "cv2", "pyarrow", "mujoco", "rich", "tyro", "sim", "record")


@pytest.fixture(scope="module")
def arms() -> Iterator[ArmsBench]:
    folder = Path(tempfile.mkdtemp(dir=os.environ["XDG_RUNTIME_DIR"]))
    with open_arms(folder) as bench:
        yield bench


class Watcher:
    """A listener that keeps every tick, and may do something at one of them."""

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self.gaps: list[tuple[int, int]] = []

    @property
    def driven(self) -> list[Tick]:
        return [tick for tick in self.ticks if tick.phase == "drive"]

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)

    def on_gap(self, first: int, last: int) -> None:
        self.gaps.append((first, last))

    def has(self, count: int) -> bool:
        return len(self.driven) >= count


class At:
    """A listener that does something once, at the n-th tick."""

    def __init__(self, index: int, act: Callable[[], None]) -> None:
        self.index = index
        self.act = act
        self.acted_s = 0.0

    def on_tick(self, tick: Tick) -> None:
        if tick.index == self.index and not self.acted_s:
            self.acted_s = time.monotonic()
            self.act()


class Told:
    """A listener that passes each tick on."""

    def __init__(self, act: Callable[[Tick], None]) -> None:
        self.act = act

    def on_tick(self, tick: Tick) -> None:
        self.act(tick)


class Still:
    """A session-side source that asks for one pose."""

    def __init__(self, pan_deg: float) -> None:
        self.pan_deg = pan_deg
        self.asked_s: list[float] = []

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        self.asked_s.append(float(observed.time_s.max()))
        return Goal(np.array([self.pan_deg, *FOLDED[1:5], 50.0]), now_s)


def test_a_drive_with_the_leader_ends_at_rest_and_released(arms: ArmsBench, tmp_path: Path) -> None:
    listed = tmp_path / "modules"
    watcher = Watcher()
    program = (str(HERE / "listed_control.py"), str(listed))
    with arms.control(program=program) as (control, folder):
        assert arms.torque() == OFF
        assert control.observe().position_deg[0] == pytest.approx(0.0, abs=0.2)
        control.torque_on()
        assert arms.torque() == ON
        arms.put("leader", (5.0, *FOLDED[1:]))
        began_s = time.monotonic()
        torque = control.drive(listeners=[watcher], should_stop=lambda: watcher.has(300))
        assert arms.torque() == OFF
        assert str(torque) == "off (read back)"
        assert str(control.stop()) == "off (read back)"
        np.testing.assert_allclose(control.observe().position_deg[:5], FOLDED[:5], atol=1.0)
        pids = [control.pid, control.facts.guard_pid]
        assert all(is_alive(pid) for pid in pids)

    # Every tick, in order, with its times; the rate is kept.
    driven = watcher.driven
    assert [tick.index for tick in driven] == list(range(len(driven)))
    assert watcher.gaps == []
    times_s = [tick.time_s for tick in driven]
    assert min(times_s) >= began_s - 0.1
    slots = 300 + driven[299].missed
    assert times_s[299] - times_s[0] == pytest.approx(0.01 * (slots - 1), abs=0.05)
    # The follower went where the leader stood, then to rest.
    assert driven[-1].observed.position_deg[0] == pytest.approx(5.0, abs=1.0)
    assert {tick.phase for tick in watcher.ticks} == {"drive", "rest"}
    # Nothing is left, and nothing of the session was ever loaded.
    assert not any(is_alive(pid) for pid in pids)
    assert not folder.exists()
    modules = listed.read_text().split()
    assert "robot.control" in modules
    assert [name for name in modules if name.partition(".")[0] in FOREIGN] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_guard_releases_when_control_is_killed_or_stopped(
    arms: ArmsBench, number: signal.Signals
) -> None:
    with arms.control() as (control, folder):
        control.torque_on()
        watcher = Watcher()
        killer = At(50, lambda: os.kill(control.pid, number))
        with pytest.raises(ControlLost, match="off \\(read back\\)"):
            control.drive(listeners=[watcher, killer])
        assert arms.torque() == OFF
        took_s = time.monotonic() - killer.acted_s
        verdict = msgspec.json.decode((folder / "guard.json").read_bytes())
        assert not is_alive(control.pid)  # a resumed one would send goals again
        with pytest.raises(ControlLost):
            control.torque_on()

    assert took_s < 2.5
    assert set(verdict["torque"].values()) == {"off (read back)"}
    assert arms.torque() == OFF


def test_an_arm_is_released_when_control_has_no_memory_left(arms: ArmsBench) -> None:
    program = (str(HERE / "hoarding_control.py"),)
    with arms.control(program=program) as (control, _):
        control.torque_on()
        with pytest.raises((ControlLost, RuntimeError)):
            control.drive()
        wait_for(lambda: arms.torque() == OFF, 2.0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_control_comes_to_rest_when_its_guard_is_killed_or_stopped(
    arms: ArmsBench, number: signal.Signals
) -> None:
    with arms.control() as (control, _):
        guard_pid = control.facts.guard_pid
        control.torque_on()
        watcher = Watcher()
        killer = At(50, lambda: os.kill(guard_pid, number))
        with pytest.raises(ControlLost, match="guard process is gone"):
            control.drive(listeners=[watcher, killer])
        assert arms.torque() == OFF
        assert "rest" in {tick.phase for tick in watcher.ticks}
        with pytest.raises(ControlLost, match="guard"):
            control.torque_on()
        assert arms.torque() == OFF
    assert not is_alive(guard_pid)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP],
)
def test_a_signal_to_control_itself_ends_at_rest_and_released(
    arms: ArmsBench, number: signal.Signals
) -> None:
    with arms.control() as (control, folder):
        control.torque_on()
        watcher = Watcher()
        with pytest.raises(ControlLost, match="signal"):
            control.drive(
                listeners=[watcher, At(20, lambda: os.kill(control.pid, number))],
            )
        assert arms.torque() == OFF
        assert "rest" in {tick.phase for tick in watcher.ticks}
        wait_for(lambda: not is_alive(control.pid), WALK_S)
        assert str(control.stop()) == "off (read back)"  # its last word holds
        with pytest.raises(ControlLost, match="let go of the arm"):
            control.torque_on()
        assert not (folder / "guard.json").exists()  # it said good-bye


def test_a_second_signal_to_control_lets_go_at_once(arms: ArmsBench) -> None:
    second = At(20, lambda: os.kill(control.pid, signal.SIGTERM))

    def on_the_walk(tick: Tick) -> None:
        if tick.phase == "rest":
            second.on_tick(tick)

    with arms.control() as (control, _):
        for arm in ("leader", "follower"):
            arms.put(arm, FAR)  # a walk of more than three seconds
        control.torque_on()
        first = At(20, lambda: os.kill(control.pid, signal.SIGTERM))
        with pytest.raises(ControlLost, match="signal"):
            control.drive(listeners=[first, Told(on_the_walk)])
        assert arms.torque() == OFF
        assert time.monotonic() - second.acted_s < 1.0


@pytest.mark.parametrize("is_control_killed", [False, True])
def test_a_follower_that_is_plugged_in_again_walks_to_rest_under_the_guards_eyes(
    arms: ArmsBench, is_control_killed: bool
) -> None:
    said: list[str] = []
    watcher = Watcher()
    replugged = threading.Timer(0.5, lambda: arms.ask("replug"))

    def unplug() -> None:
        arms.ask("unplug")
        replugged.start()

    def kill_on_the_walk(tick: Tick) -> None:
        if is_control_killed and tick.phase == "rest" and tick.index == 20:
            os.kill(control.pid, signal.SIGKILL)

    expected = ControlLost if is_control_killed else NotConnected
    with arms.control() as (control, folder):
        for arm in ("leader", "follower"):
            arms.put(arm, FAR)
        control.torque_on()
        with pytest.raises(expected):
            control.drive(
                listeners=[watcher, At(20, unplug), Told(kill_on_the_walk)], say=said.append
            )
        assert arms.torque() == OFF
        assert (folder / "guard.json").exists() is is_control_killed

    assert any("plug it in again" in sentence for sentence in said)
    assert "rest" in {tick.phase for tick in watcher.ticks}


def test_a_follower_that_comes_back_after_everybody_gave_up_is_let_go(arms: ArmsBench) -> None:
    said: list[str] = []

    def pull() -> None:
        arms.ask("unplug")

    unplug = At(20, pull)
    with arms.control() as (control, folder):
        control.torque_on()
        with pytest.raises(NotConnected):
            control.drive(
                listeners=[unplug],
                should_stop=lambda: any("plug it in" in sentence for sentence in said),
                say=said.append,
            )
        took_s = time.monotonic() - unplug.acted_s
        assert "cut the power" in str(control.torque_state)
        assert arms.torque() == ON

        arms.ask("replug")
        wait_for(lambda: arms.torque() == OFF, 5.0)
        assert str(control.stop()) == "off (read back)"

    assert took_s < 8.0  # 30 if nobody had asked to stop
    assert any("5 s in all" in sentence for sentence in said)
    assert not (folder / "guard.json").exists()


def test_an_arm_that_nobody_drives_comes_to_rest_and_the_drive_hears_why(arms: ArmsBench) -> None:
    with arms.control() as (control, _):
        control.torque_on()
        assert arms.torque() == ON
        wait_for(lambda: arms.torque() == OFF, 3.0 + WALK_S)
        with pytest.raises(ControlLost, match="no drive began"):
            control.drive()
        control.torque_on()  # and it is ready for the next
        assert str(control.off()) == "off (read back)"


def test_everything_is_released_and_gone_5_s_after_the_session_was_killed(
    arms: ArmsBench,
) -> None:
    arms.put("leader", FAR)
    arms.put("follower", FAR)
    session = arms.session()
    assert session.stdout is not None
    words = session.stdout.readline().split()
    assert words[0] == "driving", words
    pids = [int(word) for word in words[1:3]]
    assert arms.torque() == ON

    session.kill()
    took_s = wait_for(lambda: not any(is_alive(pid) for pid in pids), 15.0)
    session.communicate()

    assert arms.torque() == OFF
    assert took_s < 5.0


def test_a_stopped_session_holds_the_arm_then_has_it_released(arms: ArmsBench) -> None:
    arms.put("leader", FOLDED)
    arms.put("follower", FOLDED)
    session = arms.session()
    assert session.stdout is not None
    words = session.stdout.readline().split()
    assert words[0] == "driving", words

    session.send_signal(signal.SIGSTOP)
    time.sleep(2.0)
    assert arms.torque() == ON  # held
    wait_for(lambda: arms.torque() == OFF, 3.0 + WALK_S)
    session.send_signal(signal.SIGCONT)
    said = session.communicate(timeout=20.0)[0]

    assert "ControlLost: the command gives no sign of life" in said
    assert not any(is_alive(int(word)) for word in words[1:3])


def test_a_source_of_the_session_is_asked_with_the_newest_sample_though_a_listener_is_slow(
    arms: ArmsBench,
) -> None:
    class Slow:
        def on_tick(self, tick: Tick) -> None:
            if tick.phase == "drive":
                time.sleep(0.025)  # two and a half ticks

    source = Still(5.0)
    watcher = Watcher()
    with arms.control("session") as (control, _):
        assert control.facts.leader_sha256 == ""
        control.torque_on()
        control.drive(source, listeners=[watcher, Slow()], should_stop=lambda: watcher.has(50))
        assert arms.torque() == OFF

    assert watcher.gaps == []
    indices = [tick.index for tick in watcher.driven]
    assert indices == list(range(len(indices)))
    assert len(indices) > 75  # what waited in the ring came too
    asked_s = np.array(source.asked_s)
    assert np.all(np.diff(asked_s) >= 0)  # equal where the bus had nothing new
    assert np.median(np.diff(asked_s)) > 0.015  # not one by one: the newest
    assert watcher.driven[-1].observed.position_deg[0] == pytest.approx(5.0, abs=1.0)


def test_an_error_of_a_listener_comes_back_after_the_arm_has_come_to_rest(
    arms: ArmsBench,
) -> None:
    def fail() -> None:
        raise OSError("disk")

    said: list[str] = []
    with arms.control() as (control, _):
        control.torque_on()
        with pytest.raises(OSError, match="disk"):
            control.drive(listeners=[At(10, fail)], say=said.append)
        assert said == ["walking to the rest pose"]
        assert arms.torque() == OFF
        control.torque_on()  # and it is ready for the next
        watcher = Watcher()
        control.drive(listeners=[watcher], should_stop=lambda: watcher.has(10))
        assert watcher.driven[0].index == 0
        assert arms.torque() == OFF


def test_a_joint_that_falls_silent_is_not_observed(
    arms: ArmsBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with arms.control() as (control, _):
        control.observe()
        arms.ask("fault", "mute", "servo=3")
        monkeypatch.setattr("robot.control_client.ANSWER_S", 0.3)
        with pytest.raises(ServoTimeout, match="elbow_flex cannot be read"):
            control.observe()
        monkeypatch.undo()
        arms.ask("clear")
        control.observe()


def test_an_interrupt_lets_go_at_once(arms: ArmsBench) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with arms.control() as (control, _):
        control.torque_on()
        interrupter = At(10, interrupt)
        with pytest.raises(KeyboardInterrupt):
            control.drive(listeners=[interrupter])
        assert arms.torque() == OFF
        assert time.monotonic() - interrupter.acted_s < 1.0  # no walk


def test_an_arm_of_another_calibration_is_refused_with_the_error_itself(
    arms: ArmsBench,
) -> None:
    text = (arms.folder / "follower.json").read_text()
    sidecar = arms.folder / "follower.so101.json"
    kept = sidecar.read_bytes()
    sidecar.unlink()
    (arms.folder / "follower.json").write_text(text.replace("700", "701", 1))
    try:
        with (
            open_run_folder("bench") as folder,
            pytest.raises(CalibrationMismatch, match="not the arm of its calibration"),
        ):
            start_control(arms.rig, source="leader", run_folder=folder.path)
    finally:
        (arms.folder / "follower.json").write_text(text)
        sidecar.write_bytes(kept)


def test_the_guard_looks_after_a_refused_arm_that_cannot_be_read_back(arms: ArmsBench) -> None:
    arms.ask("fault", "mute", "servo=3")
    try:
        with (
            open_run_folder("bench") as folder,
            pytest.raises(So101Error, match="elbow_flex") as refused,
        ):
            start_control(arms.rig, source="session", run_folder=folder.path)
    finally:
        arms.ask("clear")

    assert "elbow_flex not reachable: cut the power" in str(refused.value)
    (note,) = refused.value.__notes__
    assert "without a good-bye; follower torque" in note
    assert "elbow_flex not reachable" in note


def test_an_error_is_rebuilt_as_its_class() -> None:
    error = Failure.of(CalibrationMismatch("other arm")).rebuilt()

    assert type(error) is CalibrationMismatch
    assert str(error) == "other arm"
    assert not isinstance(Failure("TypeError", "defect").rebuilt(), So101Error)


def test_ticks_of_a_drive_that_was_left_are_not_told_to_the_next(arms: ArmsBench) -> None:
    def fail() -> None:
        time.sleep(0.5)  # 50 ticks wait in the ring
        raise OSError("disk")

    with arms.control() as (control, _):
        control.torque_on()
        with pytest.raises(OSError, match="disk"):
            control.drive(listeners=[At(10, fail)])
        control.torque_on()
        watcher = Watcher()
        control.drive(listeners=[watcher], should_stop=lambda: watcher.has(10))

    indices = [tick.index for tick in watcher.driven]
    assert indices == list(range(len(indices)))


def test_a_control_process_that_does_not_start_says_so(arms: ArmsBench) -> None:
    with (
        open_run_folder("bench") as folder,
        pytest.raises(ControlLost, match="did not start \\(exit code 3\\)"),
    ):
        start_control(
            arms.rig,
            source="leader",
            run_folder=folder.path,
            program=("-c", "import sys; sys.exit(3)"),
        )
