"""Virtual time: sleeping advances the simulated world, and nothing else lets time pass.

Computation is free, so two runs from one seed see the same times to the last bit.
"""

from typing import Protocol


class Advanceable(Protocol):
    """A world that can be stepped to a time."""

    now_s: float

    def advance(self, until_s: float) -> None:
        """Step to the last whole step that is not after `until_s`."""
        ...


class TwinClock:
    """A `Clock` on the twin's time; finer than the world's steps, as bytes on a bus need it."""

    def __init__(self, world: Advanceable) -> None:
        self._world = world
        self._now_s = world.now_s

    def now_s(self) -> float:
        """Return the present time in seconds of the twin."""
        return self._now_s

    def sleep_until(self, deadline_s: float) -> None:
        """Advance the world to the deadline; returns at once when it has passed."""
        if deadline_s > self._now_s:
            self._now_s = deadline_s
            self._world.advance(deadline_s)
