"""How a command ends: INT, TERM and HUP ask the loop to stop; the second one interrupts at once.

Both ways pass through the loop's release. SIGKILL cannot: what then holds the arm is written in
docs/safety.md.
"""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked the command to end."""

    def __init__(self) -> None:
        self.is_set = False

    def __call__(self) -> bool:
        """Tell the control loop."""
        return self.is_set

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Ask to stop; the second time, interrupt."""
        if self.is_set:
            raise KeyboardInterrupt(f"second {signal.Signals(number).name}")
        self.is_set = True


@contextmanager
def stop_on_signals() -> Generator[StopRequest]:
    """Give a StopRequest that INT, TERM and HUP set; the old handlers come back afterwards."""
    request = StopRequest()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, request.on_signal) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
