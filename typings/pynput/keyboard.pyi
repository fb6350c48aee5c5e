# Stubs for what teleop/x_keyboard.py calls of pynput 1.8 on X.
import enum
import threading
from collections.abc import Callable

from Xlib.display import Display

class KeyCode:
    vk: int | None
    char: str | None

class Key(enum.Enum):
    ctrl = ...
    @property
    def value(self) -> KeyCode: ...

class Listener(threading.Thread):
    # Of the X back end only, and only once the thread runs.
    _context: int
    _display_stop: Display
    _display_record: Display

    def __init__(
        self,
        on_press: Callable[[Key | KeyCode | None], None] | None = ...,
        on_release: Callable[[Key | KeyCode | None], None] | None = ...,
    ) -> None: ...
    def wait(self) -> None: ...
    def stop(self) -> None: ...
    def _stop_platform(self) -> None: ...
