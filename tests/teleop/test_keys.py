"""Real key events, injected into a real X server (Xvfb) through XTEST, drive the jog."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from xvfb_desktop import Desktop

from robot.errors import ConfigError
from teleop.keys import open_keys
from teleop.quiet_terminal import quiet_terminal

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("jog_program.py")
LIMIT_S = 10.0


class Jog:
    """The jog program, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.ticks: list[dict[str, Any]] = []
        self.end: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "tip_m" in message:
                self.ticks.append(message)
            else:
                self.end = message

    @property
    def status(self) -> str:
        return str(self.ticks[-1]["status"]) if self.ticks else ""

    def moved_mm(self, action: Callable[[], None]) -> list[float]:
        """Return how far the fingertips go (forward, left, up) during an action and after it."""
        before = self.ticks[-1]["tip_m"]
        action()
        after = self.settled()
        return [1000 * (b - a) for a, b in zip(before, after, strict=True)]

    def settled(self) -> list[float]:
        """Wait until the fingertips have stood still for 10 ticks, and return where."""

        def stands() -> bool:
            tips = [tick["tip_m"] for tick in self.ticks[-10:]]
            return len(tips) == 10 and all(tip == tips[0] for tip in tips)

        time.sleep(0.1)
        self.wait_for(stands)
        tip: list[float] = self.ticks[-1]["tip_m"]
        return tip

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"waited in vain; last: {self.status}"
            assert self.process.poll() is None, self.errors()
            time.sleep(0.01)

    def finish(self) -> dict[str, Any]:
        """Wait for the program to end well, and return its last words."""
        self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert self.process.returncode == 0, self.errors()
        return self.end

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


def start_program(desktop: Desktop) -> subprocess.Popen[str]:
    environment = {**os.environ, "DISPLAY": desktop.name, "PYTHONPATH": str(CHECKOUT)}
    environment.pop("WAYLAND_DISPLAY", None)
    return subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running_jog(desktop: Desktop) -> Iterator[Jog]:
    with start_program(desktop) as process:
        jog = Jog(process)
        try:
            jog.wait_for(lambda: jog.status == "keys live")
            yield jog
        finally:
            process.kill()


def held_for(desktop: Desktop, key: str, duration_s: float = 0.3) -> Callable[[], None]:
    def hold() -> None:
        with desktop.hold(key):
            time.sleep(duration_s)

    return hold


@pytest.fixture(scope="module")
def jog(desktop: Desktop) -> Iterator[Jog]:
    """One jog for the tests that leave it running, with no key down and the terminal in focus."""
    with running_jog(desktop) as shared:
        yield shared


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("key", "axis", "sign"), [("i", 0, 1), ("l", 1, -1), ("y", 2, 1), ("Page_Down", 2, -1)]
)
def test_a_real_key_moves_the_gripper_its_way_and_let_go_it_stands(
    desktop: Desktop, jog: Jog, key: str, axis: int, sign: int
) -> None:
    moved_mm = jog.moved_mm(held_for(desktop, key))

    assert 5.0 < sign * moved_mm[axis] < 80.0
    assert all(abs(moved_mm[other]) < 1.0 for other in range(3) if other != axis)


@pytest.mark.realtime
def test_a_key_held_for_long_goes_on_through_auto_repeat(desktop: Desktop, jog: Jog) -> None:
    with desktop.hold("o"):
        time.sleep(0.3)
        start = len(jog.ticks)
        jog.wait_for(lambda: len(jog.ticks) > start + 70)  # Xvfb repeats after 0.66 s
        tips = [tick["tip_m"] for tick in jog.ticks[start:]]

        assert all(a != b for a, b in pairwise(tips))


@pytest.mark.realtime
def test_losing_the_focus_releases_and_regaining_it_needs_a_new_press(
    desktop: Desktop, jog: Jog
) -> None:
    with desktop.hold("i"):
        time.sleep(0.2)
        desktop.focus(desktop.browser)
        jog.wait_for(lambda: jog.status == "keys paused: another window has the focus")
        standing = jog.settled()
        desktop.focus(desktop.terminal)
        jog.wait_for(lambda: jog.status == "keys live")
        time.sleep(0.7)  # longer than the delay of auto-repeat
        assert jog.ticks[-1]["tip_m"] == standing

    time.sleep(0.05)  # quicker than any finger would pass for auto-repeat
    assert jog.moved_mm(held_for(desktop, "k"))[0] < -5.0


@pytest.mark.realtime
def test_keys_typed_into_another_window_move_nothing(desktop: Desktop, jog: Jog) -> None:
    desktop.focus(desktop.browser)
    jog.wait_for(lambda: jog.status == "keys paused: another window has the focus")
    moved_mm = jog.moved_mm(held_for(desktop, "k"))
    desktop.focus(desktop.terminal)
    jog.wait_for(lambda: jog.status == "keys live")

    assert moved_mm == [0.0, 0.0, 0.0]


@pytest.mark.realtime
def test_under_a_window_manager_its_active_window_counts(desktop: Desktop, jog: Jog) -> None:
    with desktop.hold("i"):
        time.sleep(0.2)
        desktop.announce_active(desktop.browser)
        jog.wait_for(lambda: jog.status == "keys paused: another window has the focus")
        jog.settled()
    desktop.announce_active(desktop.terminal)
    jog.wait_for(lambda: jog.status == "keys live")
    desktop.announce_active(None)

    assert jog.moved_mm(held_for(desktop, "k"))[0] < -5.0


@pytest.mark.realtime
def test_a_modifier_stops_the_motion(desktop: Desktop, jog: Jog) -> None:
    with desktop.hold("i"):
        time.sleep(0.2)
        with desktop.hold("Control_L"):
            standing = jog.settled()
        assert jog.settled() == standing


@pytest.mark.realtime
def test_the_stop_key_ends_it_and_leaves_no_thread(desktop: Desktop) -> None:
    with running_jog(desktop) as own:
        desktop.tap("q")
        end = own.finish()

    assert end["failure"] == ""
    assert end["threads"] == ["MainThread"]
    assert end["closing_s"] < 1.0


@pytest.mark.realtime
def test_a_dying_display_releases_and_is_reported(own_desktop: Desktop) -> None:
    with running_jog(own_desktop) as jog:
        own_desktop.press("i")
        start = jog.ticks[-1]["tip_m"]
        jog.wait_for(lambda: jog.ticks[-1]["tip_m"] != start)
        own_desktop.server.kill()
        end = jog.finish()

        assert "the keyboard is lost" in end["failure"]
        assert end["threads"] == ["MainThread"]
        tips = [tick["tip_m"] for tick in jog.ticks[-20:]]
        assert all(tip == tips[0] for tip in tips)
        assert jog.errors() == ""  # no traceback of pynput's thread


@pytest.mark.realtime
def test_a_frozen_display_releases_and_cannot_hold_up_the_end(own_desktop: Desktop) -> None:
    with running_jog(own_desktop) as jog:
        own_desktop.press("i")
        start = jog.ticks[-1]["tip_m"]
        jog.wait_for(lambda: jog.ticks[-1]["tip_m"] != start)
        own_desktop.server.send_signal(signal.SIGSTOP)
        jog.wait_for(lambda: jog.status == "keys paused: the display does not answer")
        jog.settled()
        jog.process.send_signal(signal.SIGINT)  # KeyboardInterrupt: leaves by the context managers
        start_s = time.monotonic()
        jog.process.wait(LIMIT_S)

        assert time.monotonic() - start_s < 2.0


def refusal(environment: dict[str, str]) -> str:
    """Return what the program dies of in this environment; it must do so at once and not hang."""
    kept = {
        key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")
    }
    run = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**kept, "PYTHONPATH": str(CHECKOUT), **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert run.stdout == ""
    return run.stderr.strip().splitlines()[-1]


def test_without_a_display_one_sentence_names_the_alternative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with (
        pytest.raises(ConfigError, match=r"DISPLAY is not set: .* or move .* leader arm"),
        open_keys(),
    ):
        pass


def test_in_a_wayland_session_one_sentence_names_the_alternative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    with pytest.raises(ConfigError, match=r"Wayland .* or move .* leader arm"), open_keys():
        pass


def test_a_display_that_is_not_there_is_refused_in_one_sentence() -> None:
    message = refusal({"DISPLAY": ":9876"})

    assert "ConfigError: teleop --keys cannot reach the X display :9876" in message
    assert "or move the follower with the leader arm" in message


def test_pynput_is_not_imported_before_a_display_is_known() -> None:
    script = "import sys, teleop.keys, teleop.jog, teleop.leader; print('pynput' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )

    assert run.stdout.strip() == "False"


def test_the_terminal_is_quiet_meanwhile_and_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "r") as stdin, os.fdopen(controller, "wb", buffering=0) as typing:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(
            os, "tcgetpgrp", lambda _: os.getpgrp()
        )  # the pty has no foreground job
        before = termios.tcgetattr(terminal)
        with quiet_terminal():
            during = termios.tcgetattr(terminal)
            typing.write(b"iiii")
        ready, _, _ = select.select([terminal], [], [], 0)

        assert not during[3] & (termios.ECHO | termios.ICANON)
        assert during[3] & termios.ISIG  # Ctrl-C still works
        assert termios.tcgetattr(terminal) == before
        assert not ready  # what was typed is gone


def test_without_a_terminal_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/null").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with quiet_terminal():
            assert not os.isatty(stdin.fileno())
