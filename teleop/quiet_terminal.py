"""Keep the keys of a jog out of the terminal they are pressed in.

pynput sees keys on their way; the terminal gets them too. Without this, a held key fills the screen
while jogging and lands on the shell's command line afterwards. Ctrl-C keeps working.
"""

import os
import sys
import termios
from collections.abc import Generator
from contextlib import contextmanager

_LOCAL_FLAGS = 3  # index of the local modes in termios' list


@contextmanager
def quiet_terminal() -> Generator[None]:
    """Stop the terminal's echo; on the way out drop what was typed and put the modes back.

    Does nothing where standard input is no terminal, or belongs to another foreground job (changing
    it would stop this process).
    """
    descriptor = _own_terminal()
    if descriptor is None:
        yield
        return
    before = termios.tcgetattr(descriptor)
    quiet = termios.tcgetattr(descriptor)
    quiet[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _own_terminal() -> int | None:
    try:
        descriptor = sys.stdin.fileno()
        if os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp():
            return descriptor
    except (AttributeError, OSError, ValueError):  # stdin is None, a stand-in, or closed
        return None
    return None
