"""Open the keyboard for a jog, or say in one sentence why there is none and what to use instead.

Nothing here imports pynput until a display is known to exist: pynput connects to it on import.
`x_keyboard.py`, loaded by `open_keys` alone, is the only importer of pynput and python-xlib in the
program.
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from robot.clock import Clock, MonotonicClock
from robot.errors import ConfigError
from teleop.key_state import KeyState
from teleop.quiet_terminal import quiet_terminal

_ALTERNATIVE = "or move the follower with the leader arm (teleop without --keys)"


@contextmanager
def open_keys(clock: Clock | None = None) -> Generator[KeyState]:
    """Listen to the keyboard while the window that has the focus now keeps it.

    Args:
        clock: the clock of the control loop; must run in real time, as the keys do.

    Raises:
        ConfigError: there is no X display whose keys can be heard; the message names the
        alternative.
    """
    check_environment()
    try:
        from teleop.x_keyboard import XKeyboard
    except ImportError as error:  # what pynput raises where it cannot connect
        raise ConfigError(
            f"teleop --keys cannot reach the X display {os.environ.get('DISPLAY')}: "
            f"run it in a terminal of the desktop session, {_ALTERNATIVE}"
        ) from error
    state = KeyState()
    keyboard = XKeyboard(state, clock or MonotonicClock())
    try:
        with quiet_terminal():
            if not keyboard.start():
                raise ConfigError(
                    f"the X display {os.environ.get('DISPLAY')} does not let programs hear keys: "
                    f"through ssh use 'ssh -Y' instead of 'ssh -X', {_ALTERNATIVE}"
                )
            yield state
    finally:
        keyboard.stop()


def check_environment() -> None:
    """Refuse where no keys can be heard, without touching the display; raises ConfigError."""
    if sys.platform != "linux":
        raise ConfigError(
            f"teleop --keys works on Linux with an X display only: go there, {_ALTERNATIVE}"
        )
    if os.environ.get("WAYLAND_DISPLAY"):
        raise ConfigError(
            "teleop --keys cannot hear keys in a Wayland session: log in to an X11 (Xorg) session, "
            f"or run it in xterm with 'env -u WAYLAND_DISPLAY' before it, {_ALTERNATIVE}"
        )
    if not os.environ.get("DISPLAY"):
        raise ConfigError(
            "teleop --keys needs an X display and DISPLAY is not set: run it in a terminal of the "
            f"desktop session or through 'ssh -Y', {_ALTERNATIVE}"
        )
