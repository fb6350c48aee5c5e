"""What watches a rollout: how the loop keeps time, and whether the twin's task is done."""

import threading
from types import TracebackType
from typing import Self

from deploy.results import Timing
from deploy.statistics import percentiles
from robot.errors import So101Error
from robot.loop import Tick
from sim.twin_control import TwinControl, TwinStatus

ASK_PERIOD_S = 0.2
JOIN_S = 4.0  # longer than the control socket's own timeout


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


class SuccessWatch:
    """Ask a running twin five times a second whether the task is done, in a thread.

    The loop must not wait for a socket.

    While it runs nobody else may use the control.
    """

    def __init__(self, control: TwinControl) -> None:
        self.last: TwinStatus | None = None
        self.error: So101Error | None = None
        self._control = control
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="success watch", daemon=True)

    @property
    def is_over(self) -> bool:
        """Tell whether the task is done, or the twin is gone."""
        return self.error is not None or (self.last is not None and self.last.success)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(ASK_PERIOD_S):
                self.last = self._control.status()
                if self.last.success:
                    return
        except So101Error as error:
            self.error = error
