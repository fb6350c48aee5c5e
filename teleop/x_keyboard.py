"""The keyboard behind an X display, and its dead-man. Importing this connects to the display.

One thread is pynput's listener (X RECORD): presses and releases. A second asks the display 20 times
a second which window has the focus and which keys are down, and so proves that display and listener
live. Both write into a `KeyState`.

What pynput 1.8 leaves to its users, found by trying (tests/teleop/test_keys.py): `stop` ends the
thread only at the next key press, because it disables recording on the connection that is busy
recording; `wait` hangs for ever where the display lacks RECORD; a display that dies ends the thread
with a traceback.
"""

import os
import socket
import threading
from collections.abc import Callable

from pynput.keyboard import Key, KeyCode, Listener
from Xlib import X
from Xlib.display import Display
from Xlib.error import ConnectionClosedError, XError

from robot.clock import Clock
from robot.errors import NotConnected
from teleop.key_state import KeyState

POLL_S = 0.05
START_LIMIT_S = 2.0
STOP_LIMIT_S = 0.2  # for each of four waits: both threads are gone within 1 s

_DISPLAY_ERRORS = (ConnectionClosedError, XError, OSError)
type PressedKey = Key | KeyCode | None  # as pynput hands it to callbacks; None: unknown to it


class XKeyboard:
    """Two threads that keep one `KeyState` true; `start` and `stop` once each, from one thread."""

    def __init__(self, state: KeyState, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._keysyms: dict[str, int] = {}  # of every key heard so far, by name
        self._stopping = threading.Event()
        self._has_looked = threading.Event()
        self._display = Display()
        self._home = _focused_window(self._display)
        self._listener = _MendedListener(self._on_press, self._on_release, self._lose)
        self._watcher = threading.Thread(target=self._watch, name="key-watcher", daemon=True)

    def start(self) -> bool:
        """Start both threads, wait for the first look; tell whether keys can be heard."""
        if not self._display.has_extension("RECORD"):
            return False
        self._listener.start()
        # pynput's wait knows no time limit, so it waits in a thread of its own, which is given one.
        ready = threading.Thread(target=self._listener.wait, name="key-listener-ready", daemon=True)
        ready.start()
        ready.join(START_LIMIT_S)
        if ready.is_alive():
            return False
        self._watcher.start()
        return self._has_looked.wait(START_LIMIT_S)

    def stop(self) -> None:
        """End both threads within 1 s, also when the display is frozen or gone."""
        self._stopping.set()
        _join(self._watcher, [self._display])
        self._listener.stop()
        if not self._watcher.is_alive():  # the connection is this thread's own now
            self._close()
        _join(self._listener, self._listener.connections())

    def _close(self) -> None:
        try:
            context = self._listener.context()
            if context is not None:
                self._display.record_disable_context(context)
            self._display.close()
        except _DISPLAY_ERRORS:
            return  # the display is gone, and has taken everything of ours with it

    def _watch(self) -> None:
        try:
            while not self._stopping.is_set():
                self._look()
                self._has_looked.set()
                self._stopping.wait(POLL_S)
        except _DISPLAY_ERRORS as error:
            self._lose(str(error))

    def _look(self) -> None:
        if not self._listener.is_alive():
            self._lose("its listener ended")
        asked_s = self._clock.now_s()
        has_focus = _focused_window(self._display) == self._home
        bits = self._display.query_keymap()
        with self._lock:
            keysyms = dict(self._keysyms)
        down = {name for name, keysym in keysyms.items() if self._is_down(keysym, bits)}
        self._state.confirm(down, asked_s=asked_s, has_focus=has_focus)

    def _is_down(self, keysym: int, bits: list[int]) -> bool:
        codes = [code for code, _ in self._display.keysym_to_keycodes(keysym)]
        return any(bits[code // 8] >> (code % 8) & 1 for code in codes)

    def _lose(self, reason: str) -> None:
        if not self._stopping.is_set():
            self._state.fail(
                NotConnected(
                    f"the keyboard is lost ({reason}): look after the X display and start again"
                )
            )

    def _on_press(self, key: PressedKey) -> None:
        name, keysym = _name(key)
        if name:
            with self._lock:
                self._keysyms[name] = keysym
            self._state.press(name, self._clock.now_s())

    def _on_release(self, key: PressedKey) -> None:
        name, _ = _name(key)
        if name:
            self._state.release(name, self._clock.now_s())


class _MendedListener(Listener):
    """pynput's listener thread, which ends when told to and says why when it dies."""

    def __init__(
        self,
        on_press: Callable[[PressedKey], None],
        on_release: Callable[[PressedKey], None],
        on_loss: Callable[[str], None],
    ) -> None:
        super().__init__(on_press=on_press, on_release=on_release)
        self._on_loss = on_loss

    def run(self) -> None:
        """Listen until stopped; a display that goes away is reported, not thrown."""
        try:
            super().run()
        except _DISPLAY_ERRORS as error:
            self._on_loss(str(error))

    def _stop_platform(self) -> None:
        # `XKeyboard.stop` ends the recording over a connection of its own. Not over this thread's:
        # the one that records hears nothing else, and python-xlib's are not safe between threads.
        return

    def context(self) -> int | None:
        """Return what X calls the recording, None before it exists."""
        return getattr(self, "_context", None)

    def connections(self) -> list[Display]:
        """Return the connections of the thread, to be cut when the display does not answer."""
        names = ("_display_stop", "_display_record")
        return [getattr(self, name) for name in names if hasattr(self, name)]


def _join(thread: threading.Thread, connections: list[Display]) -> None:
    """Wait for a thread; one that hangs on a frozen display has its connections cut."""
    if thread.ident is None:
        return
    threading.Thread.join(thread, STOP_LIMIT_S)  # pynput's own join would raise
    if not thread.is_alive():
        return
    for connection in connections:
        try:
            with socket.socket(fileno=os.dup(connection.fileno())) as cut:
                cut.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # closed already
    threading.Thread.join(thread, STOP_LIMIT_S)


def _focused_window(display: Display) -> int:
    """Return the id of the window that a person types into, as an X window id.

    That is what the window manager calls active, else the X focus. Without a window manager (a bare
    Xvfb) the id may be that of no window, 0 or 1: the focus follows the pointer.
    """
    active = display.screen().root.get_full_property(
        display.intern_atom("_NET_ACTIVE_WINDOW"), X.AnyPropertyType
    )
    if active is not None and len(active.value) > 0 and active.value[0] != X.NONE:
        return int(active.value[0])
    focus = display.get_input_focus().focus
    return focus if isinstance(focus, int) else int(focus.id)


def _name(key: PressedKey) -> tuple[str, int]:
    """Return a key's name as `key_map` writes it, and its keysym; no name: an empty one."""
    if isinstance(key, Key):
        return key.name, key.value.vk or 0
    if key is None or key.char is None or key.vk is None:
        return "", 0
    return key.char.lower(), key.vk
