"""A real X server (Xvfb) with two windows, and fingers on its keyboard (XTEST)."""

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from Xlib import XK, X
from Xlib.display import Display
from Xlib.error import ConnectionClosedError
from Xlib.ext import xtest

LIMIT_S = 10.0


class Desktop:
    """An X server with two windows, and fingers on its keyboard."""

    def __init__(self, server: subprocess.Popen[bytes], number: str) -> None:
        self.server = server
        self.name = f":{number}"
        self._display = Display(self.name)
        root = self._display.screen().root
        self.terminal = root.create_window(0, 0, 100, 100, 0, X.CopyFromParent)
        self.browser = root.create_window(200, 0, 100, 100, 0, X.CopyFromParent)
        self.terminal.map()
        self.browser.map()
        self._display.sync()

    def focus(self, window: Any) -> None:
        window.set_input_focus(X.RevertToNone, X.CurrentTime)
        self._display.sync()

    def announce_active(self, window: Any) -> None:
        """Say what a window manager says: which window is active."""
        atom = self._display.intern_atom("_NET_ACTIVE_WINDOW")
        window_type = self._display.intern_atom("WINDOW")
        root = self._display.screen().root
        if window is None:
            root.delete_property(atom)
        else:
            root.change_property(atom, window_type, 32, [window.id])
        self._display.sync()

    def press(self, key: str) -> None:
        self._fake(X.KeyPress, key)

    def _fake(self, event: int, key: str) -> None:
        code = self._display.keysym_to_keycode(XK.string_to_keysym(key))
        xtest.fake_input(self._display, event, code)
        self._display.sync()

    @contextmanager
    def hold(self, *keys: str) -> Iterator[None]:
        for key in keys:
            self.press(key)
        yield
        for key in keys:
            self._fake(X.KeyRelease, key)

    def tap(self, key: str) -> None:
        with self.hold(key):
            time.sleep(0.05)

    def close(self) -> None:
        self.server.send_signal(signal.SIGCONT)
        with suppress(ConnectionClosedError):  # the test killed the server
            self._display.close()
        self.server.kill()
        self.server.wait(LIMIT_S)


@contextmanager
def running_desktop() -> Iterator[Desktop]:
    if shutil.which("Xvfb") is None:
        reason = "Xvfb is not installed: 'apt install xvfb' (real key events are injected into it)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], LIMIT_S)
        number = os.read(reading, 16).decode().strip() if ready else ""
        assert number, "Xvfb did not start"
        desktop = Desktop(server, number)
        desktop.focus(desktop.terminal)
    except BaseException:
        server.kill()
        server.wait(LIMIT_S)
        raise
    finally:
        os.close(reading)
    try:
        yield desktop
    finally:
        desktop.close()
