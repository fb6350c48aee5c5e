"""How a command ends: a signal asks the loop to stop; the second one interrupts at once.

INT, TERM, HUP and QUIT, and TSTP too: Ctrl-Z would suspend the loop with the arm powered. Both ways
pass through the loop's release. SIGKILL cannot: what then holds the arm is written in
docs/safety.md.
"""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


class StopRequest:
    """Whether somebody asked the command to end."""

    def __init__(self) -> None:
        self.is_set = False
        self._may_interrupt = True

    def __call__(self) -> bool:
        """Tell the control loop."""
        return self.is_set

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Ask to stop; the second time, interrupt."""
        if self.is_set and self._may_interrupt:
            raise KeyboardInterrupt(f"second {signal.Signals(number).name}")
        self.is_set = True

    @contextmanager
    def uninterrupted(self) -> Generator[None]:
        """Let no signal interrupt what ends by itself soon and must not be left half done."""
        self._may_interrupt = False
        try:
            yield
        finally:
            self._may_interrupt = True


@contextmanager
def stop_on_signals() -> Generator[StopRequest]:
    """Give a StopRequest that those signals set; the old handlers come back afterwards."""
    request = StopRequest()
    old = {number: signal.signal(number, request.on_signal) for number in _NUMBERS}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
