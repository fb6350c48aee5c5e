"""The guard's hands: letting an arm go over a line that somebody else has left behind."""

import ast
import json
import os
import select
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robot import guard
from robot.guard_link import DEAF_S, STOOD_STILL_S, GuardLink
from robot.joints import JOINTS, SERVO_IDS
from robot.packets import frame
from robot.registers import TORQUE_ENABLE
from sim.pty_port import PtyPort
from sim.servo import ServoBank

pytestmark = pytest.mark.realtime


class ServedArm:
    """Emulated servos on a pty, served by a thread; `line` is the host's descriptor."""

    def __init__(self) -> None:
        self.bank = ServoBank(mount_ticks=[0] * 6)
        self.bank.step(np.zeros(6), np.zeros(6))
        self.port = PtyPort(self.bank, is_paced=False)
        self.line = os.open(self.port.path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.line)
        mode = termios.tcgetattr(self.line)
        mode[4] = mode[5] = termios.B1000000
        termios.tcsetattr(self.line, termios.TCSANOW, mode)
        for servo in self.bank._servos:
            servo.put(TORQUE_ENABLE, 1)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def torque(self) -> list[int]:
        return [servo.count(TORQUE_ENABLE) for servo in self.bank._servos]

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        os.close(self.line)
        self.port.close()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            if select.select([self.port], [], [], 0.01)[0]:
                self.port.serve_ready(time.monotonic())


@pytest.fixture
def arm() -> Iterator[ServedArm]:
    served = ServedArm()
    yield served
    served.close()


def test_its_frames_are_those_of_the_bus() -> None:
    for servo_id in (*SERVO_IDS, 0xFE):
        assert guard.frame(servo_id, 3, 40, 0) == frame(servo_id, 3, bytes((40, 0)))


def test_its_joints_are_the_joints() -> None:
    assert guard.JOINTS == JOINTS


def test_it_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(guard.__file__).read_text())
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert names <= sys.stdlib_module_names


def test_all_joints_are_let_go_and_read_back(arm: ServedArm) -> None:
    assert guard.release(arm.line) == dict.fromkeys(JOINTS, guard.OFF)
    assert arm.torque() == [0] * 6


def test_a_mute_joint_is_not_reachable_and_the_others_are_let_go(arm: ServedArm) -> None:
    arm.bank.unplugged.add(3)

    states = guard.release(arm.line)

    assert states == {
        name: guard.UNREACHABLE if name == "elbow_flex" else guard.OFF for name in JOINTS
    }
    assert arm.torque() == [0, 0, 1, 0, 0, 0]  # its wire is cut: only the power switch helps


def test_what_the_dead_program_left_on_the_line_does_not_matter(arm: ServedArm) -> None:
    os.write(arm.line, frame(0xFE, 0x82, bytes((56, 15, *SERVO_IDS))))  # replies nobody has read
    os.write(arm.line, b"\xff\xff\xfe\x16\x83")  # and it died within its next frame

    assert guard.release(arm.line) == dict.fromkeys(JOINTS, guard.OFF)
    assert arm.torque() == [0] * 6


def test_a_line_set_to_wait_for_many_bytes_is_read_all_the_same(arm: ServedArm) -> None:
    mode = termios.tcgetattr(arm.line)
    mode[6][termios.VMIN] = 255
    termios.tcsetattr(arm.line, termios.TCSANOW, mode)
    os.set_blocking(arm.line, True)

    assert guard.release(arm.line) == dict.fromkeys(JOINTS, guard.OFF)


def test_a_line_that_is_gone_leaves_every_joint_not_reachable(arm: ServedArm) -> None:
    arm._is_over.set()
    arm._thread.join()
    arm.port.close()

    began_s = time.monotonic()
    assert guard.release(arm.line) == dict.fromkeys(JOINTS, guard.UNREACHABLE)
    assert time.monotonic() - began_s < 1.0


def test_a_full_line_does_not_hold_it_up() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(slave, False)
    try:
        while True:
            os.write(slave, bytes(4096))
    except BlockingIOError:
        pass

    began_s = time.monotonic()
    states = guard.release(slave)
    took_s = time.monotonic() - began_s
    os.close(master)
    os.close(slave)

    assert states == dict.fromkeys(JOINTS, guard.UNREACHABLE)
    assert took_s < 1.5


def test_an_adapter_that_echoes_is_read_past_its_echo(arm: ServedArm) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    tty.setraw(master)
    is_over = threading.Event()

    def echo() -> None:  # what is sent comes back, then the reply
        while not is_over.is_set():
            if select.select([master], [], [], 0.01)[0]:
                data = os.read(master, 4096)
                os.write(master, data)
                os.write(arm.line, data)
            if select.select([arm.line], [], [], 0.0)[0]:
                os.write(master, os.read(arm.line, 4096))

    thread = threading.Thread(target=echo)
    thread.start()
    states = guard.release(slave)
    is_over.set()
    thread.join()
    os.close(master)
    os.close(slave)

    assert states == dict.fromkeys(JOINTS, guard.OFF)


def test_a_guard_answers_what_it_is_handed_and_goes_when_it_is_sent_home(tmp_path: Path) -> None:
    link = GuardLink.start(tmp_path)
    master, slave = os.openpty()

    link.watch("/dev/bench", slave)
    link.forget()
    link.watch("/dev/bench", slave)
    link.say_goodbye()
    link.close()

    os.close(master)
    os.close(slave)
    assert link._child.returncode == 0
    assert not (tmp_path / "guard.json").exists()


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """What the guard takes for control."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (mine, its):
        end.setblocking(False)
    with mine, its:
        yield mine, its


@pytest.mark.parametrize(
    ("is_opened", "torque", "found"),
    [
        (True, dict.fromkeys(JOINTS, guard.UNREACHABLE), "/dev/bench was unplugged: torque not"),
        (False, {}, "no follower had been opened"),
    ],
)
def test_a_verdict_is_left_though_there_is_no_line(
    child: "subprocess.Popen[bytes]",
    ends: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    is_opened: bool,
    torque: dict[str, str],
    found: str,
) -> None:
    mine, its = ends
    watcher = guard.Guard(its, child.pid, tmp_path)
    if is_opened:
        line = os.open(os.devnull, os.O_RDWR)
        socket.send_fds(mine, [guard.WATCH + b"/dev/bench"], [line])
        os.close(line)
        assert not watcher._hear()
        mine.send(guard.FORGET)
        assert not watcher._hear()

    sentence = watcher.act("it ended")

    verdict = json.loads((tmp_path / "guard.json").read_text())
    assert verdict["sentence"] == sentence
    assert verdict["torque"] == torque
    assert found in sentence


def watch_asleep(watcher: guard.Guard, sleeps_s: list[float]) -> list[float]:
    """Let a guard hear nothing, and oversleep so much at each wait; returns its waits."""
    now_s, waits_s = watcher._beat_s, []

    def wait(_read: object, _write: object, _error: object, timeout_s: float) -> tuple[list[int]]:
        nonlocal now_s
        waits_s.append(timeout_s)
        if sleeps_s:
            now_s += timeout_s + sleeps_s.pop(0)
        return ([],)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "select", SimpleNamespace(select=wait))
        patch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: now_s))
        assert "no sign of life" in watcher.watch()
    return waits_s[:-1]  # the last is for the control that was killed


def test_a_machine_that_stood_still_is_forgiven_once(
    child: "subprocess.Popen[bytes]", ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    watcher = guard.Guard(ends[1], child.pid, tmp_path)
    watcher._port = os.open(os.devnull, os.O_RDWR)

    waits_s = watch_asleep(watcher, [60.0, 60.0])

    os.close(watcher._port)
    assert waits_s == pytest.approx([guard.SILENCE_S] * 2)
    assert child.wait(5.0) == -9


def test_before_there_is_a_port_control_may_be_silent_for_longer(
    child: "subprocess.Popen[bytes]", ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    watcher = guard.Guard(ends[1], child.pid, tmp_path)

    assert watch_asleep(watcher, [0.0]) == pytest.approx([guard.UNARMED_SILENCE_S])


def test_a_guard_is_gone_when_a_beat_stays_unanswered_but_not_when_none_was_sent(
    child: "subprocess.Popen[bytes]", ends: tuple[socket.socket, socket.socket]
) -> None:
    link = GuardLink(child, ends[0])
    step_s = STOOD_STILL_S / 2

    link.beat(0.0)
    assert not link.is_watching(0.0)  # it has never answered
    ends[1].send(guard.BEAT)
    link.beat(step_s)
    assert link.is_watching(step_s + 0.99 * DEAF_S)
    link.beat(60.0)  # the machine stood still
    assert link.is_watching(60.0)
    beat_s = 60.0
    while beat_s < 60.0 + DEAF_S:
        assert link.is_watching(beat_s)
        beat_s += step_s
        link.beat(beat_s)
    assert not link.is_watching(beat_s)
    ends[1].send(guard.BEAT)
    link.beat(beat_s)
    assert link.is_watching(beat_s)
    ends[1].close()
    link.beat(beat_s + step_s)
    assert not link.is_watching(beat_s + step_s)
