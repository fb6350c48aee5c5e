"""Time, handed in: nobody in this project asks the operating system for it.

Seconds on one monotonic clock. `MonotonicClock` is the machine's; the twin brings its own, whose
`sleep_until` advances the simulated world, so that the same loop runs in real time and as fast as
the processor allows.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Tell the time and wait for it; seconds, monotonic."""

    def now_s(self) -> float:
        """Return the present time in seconds."""
        ...

    def sleep_until(self, deadline_s: float) -> None:
        """Return at `deadline_s` or as soon after it as possible; at once when it has passed."""
        ...


class MonotonicClock:
    """The machine's monotonic clock (CLOCK_MONOTONIC, shared by all processes of one boot)."""

    def now_s(self) -> float:
        """Return seconds since an arbitrary point of this boot."""
        return time.monotonic()

    def sleep_until(self, deadline_s: float) -> None:
        """Sleep until the deadline; returns at once when it has passed."""
        remaining_s = deadline_s - time.monotonic()
        if remaining_s > 0:
            time.sleep(remaining_s)


class Pacer:
    """Keep a fixed rate on absolute deadlines: lateness is counted, never hidden by re-anchoring.

    A tick that overruns its slot loses that slot (`missed` grows) and the grid stays where it was:
    no burst to catch up.
    """

    def __init__(self, rate_hz: float, clock: Clock) -> None:
        self._clock = clock
        self.period_s = 1.0 / rate_hz
        self._next_s = clock.now_s() + self.period_s
        self.lateness_s = 0.0
        self.missed = 0

    def wait(self) -> None:
        """Sleep until the next slot of the grid.

        Afterwards `lateness_s` says how late the wake-up was.
        """
        now_s = self._clock.now_s()
        if now_s >= self._next_s:
            skipped = int((now_s - self._next_s) / self.period_s) + 1
            self.missed += skipped
            self._next_s += skipped * self.period_s
        self._clock.sleep_until(self._next_s)
        self.lateness_s = self._clock.now_s() - self._next_s
        self._next_s += self.period_s
