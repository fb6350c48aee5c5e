"""What watches a rollout: how the loop keeps time, and whether it is over."""

from deploy.results import Timing
from deploy.statistics import percentiles
from robot.clock import Clock
from robot.loop import Tick
from scripts.twin_asker import StatusWatch


class LoopTiming:
    """Tick listener that keeps the lateness of every tick."""

    def __init__(self) -> None:
        self._lateness_ms: list[float] = []
        self._missed = 0

    def on_tick(self, tick: Tick) -> None:
        """Note one tick of the policy's."""
        if tick.phase != "drive":
            return
        self._lateness_ms.append(tick.lateness_s * 1e3)
        self._missed = tick.missed

    def timing(self) -> Timing:
        """Return the figures so far."""
        return Timing(len(self._lateness_ms), self._missed, percentiles(self._lateness_ms))


class RolloutEnd:
    """Whether a rollout is over: the time is up, or the twin says that the task is done.

    When the time is up the twin is asked once more, while the arm still stands as the policy left
    it: what the walk to rest does to the scene is not the policy's.
    """

    def __init__(self, clock: Clock, duration_s: float, watch: StatusWatch | None) -> None:
        """Take the longest time (0: no end), and who asks the twin; None where there is none."""
        self._clock = clock
        self._duration_s = duration_s or float("inf")
        self._watch = watch
        self._began_s = clock.now_s()
        self._ended_s: float | None = None
        self.is_over = False

    def elapsed_s(self) -> float:
        """Return how long the rollout took, or has taken."""
        now_s = self._clock.now_s() if self._ended_s is None else self._ended_s
        return now_s - self._began_s

    def __call__(self) -> bool:
        """Look; once over it stays over."""
        if self.is_over:
            return True
        is_up = self.elapsed_s() >= self._duration_s
        if self._watch is not None:
            self._watch.poll(self._clock.now_s())
            if is_up:
                self._watch.ask()
        self.is_over = is_up or self._is_done()
        if self.is_over:
            self._ended_s = self._clock.now_s()
        return self.is_over

    def _is_done(self) -> bool:
        return self._watch is not None and self._watch.last is not None and self._watch.last.success
