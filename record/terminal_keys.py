"""Keys from the terminal itself: over SSH and under Wayland too, and no other window's keys.

The terminal is put in character mode (no echo, no line buffer; Ctrl-C still interrupts) and given
back on every way out.
"""

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Self

from record.episode import Event, State
from robot.errors import ConfigError

ESCAPE_WAIT_S = (
    0.02  # the bytes of one arrow key arrive together; a lone Esc is followed by nothing
)

_SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
}

HELP = "→ or n: begin / end an episode   s: success   f: fail   ← or r: discard   Esc or q: finish"


class TerminalKeys:
    """Reads keys without waiting; a context manager, because the terminal must be restored."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Use standard input, or another terminal's descriptor."""
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._saved: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> Self:
        """Take the terminal; raises ConfigError where standard input is none."""
        if not os.isatty(self._descriptor):
            raise ConfigError(
                "standard input is not a terminal, so there are no keys: "
                "use the flags of an unattended run"
            )
        self._saved = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor, termios.TCSADRAIN)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back as it was."""
        if self._saved is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)
            self._saved = None

    def poll(self) -> list[str]:
        """Return the keys since the last call: characters, left right up down esc space enter."""
        data = b""
        while select.select(
            [self._descriptor], [], [], ESCAPE_WAIT_S if data.endswith(b"\x1b") else 0.0
        )[0]:
            piece = os.read(self._descriptor, 64)
            if not piece:
                break
            data += piece
        return split_keys(data)


def split_keys(data: bytes) -> list[str]:
    """Name the keys in terminal input; sequences of keys that are not ours are left out whole."""
    keys: list[str] = []
    position = 0
    while position < len(data):
        name = _SEQUENCES.get(data[position : position + 3])
        if name:
            keys.append(name)
            position += 3
        elif data[position : position + 2] == b"\x1b[":
            position += 2
            while position < len(data) and not 0x40 <= data[position] <= 0x7E:
                position += 1
            position += 1
        else:
            keys.extend(_plain_key(data[position]))
            position += 1
    return keys


def _plain_key(byte: int) -> list[str]:
    named = {0x1B: "esc", 0x20: "space", 0x0A: "enter", 0x0D: "enter"}
    if byte in named:
        return [named[byte]]
    return [chr(byte).lower()] if 0x20 < byte < 0x7F else []


def event_for_key(key: str, state: State) -> Event | None:
    """Return what a key means in a state, in LeRobot's spelling of the keys; None: nothing."""
    if key in {"right", "n"}:
        return Event.STOP if state is State.RECORDING else Event.START
    return {
        "s": Event.SUCCESS,
        "f": Event.FAIL,
        "left": Event.DISCARD,
        "r": Event.DISCARD,
        "esc": Event.QUIT,
        "q": Event.QUIT,
    }.get(key)
