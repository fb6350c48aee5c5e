"""What watches a rollout: how the loop keeps time."""

from deploy.results import Timing
from deploy.statistics import percentiles
from robot.loop import Tick


class LoopTiming:
    """Tick listener that keeps the lateness of every tick."""

    def __init__(self) -> None:
        self._lateness_ms: list[float] = []
        self._missed = 0

    def on_tick(self, tick: Tick) -> None:
        """Note one tick."""
        self._lateness_ms.append(tick.lateness_s * 1e3)
        self._missed = tick.missed

    def timing(self) -> Timing:
        """Return the figures so far."""
        return Timing(len(self._lateness_ms), self._missed, percentiles(self._lateness_ms))
