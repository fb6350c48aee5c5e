"""An error on this side of a drive is a stop with a reason: the arm walks to rest as for any stop.

So the person reads why before the arm moves, sees it walk, and may press Ctrl-C again meanwhile. A
defect (no `So101Error`) is not caught here: the drive itself ends for it.
"""

from collections.abc import Callable, Sequence

from robot.errors import So101Error
from robot.joint_sample import JointSample
from robot.loop import Goal, GoalSource, Tick, TickListener


class SessionErrors:
    """Keeps the first error of what a command itself brings into a drive."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.first: So101Error | None = None
        self._say = say

    def note(self, error: So101Error) -> None:
        """Keep the first one, and say it."""
        if self.first is None:
            self.first = error
            self._say(f"stopping: {error}")

    def is_over(self, ask: Callable[[], bool]) -> bool:
        """Tell whether there was an error, or whether `ask` says that it is over, or fails."""
        if self.first is None:
            try:
                return ask()
            except So101Error as error:
                self.note(error)
        return True


class CheckedListeners:
    """Tells listeners until they fail; one that failed is told nothing more."""

    def __init__(self, listeners: Sequence[TickListener], errors: SessionErrors) -> None:
        self._listeners = list(listeners)
        self._errors = errors

    def on_tick(self, tick: Tick) -> None:
        """Tell all of them."""
        self._tell(lambda listener: listener.on_tick(tick))

    def on_gap(self, first: int, last: int) -> None:
        """Tell those who want to know which messages were lost."""

        def tell(listener: TickListener) -> None:
            if (on_gap := getattr(listener, "on_gap", None)) is not None:
                on_gap(first, last)

        self._tell(tell)

    def _tell(self, tell: Callable[[TickListener], None]) -> None:
        for listener in list(self._listeners):
            try:
                tell(listener)
            except So101Error as error:
                self._listeners.remove(listener)
                self._errors.note(error)


class CheckedSource:
    """Asks a source until it fails; then the arm stays until the stop arrives."""

    def __init__(self, source: GoalSource, errors: SessionErrors) -> None:
        self._source = source
        self._errors = errors
        self._goal: Goal | None = None

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Return the source's goal, or its last one, as old as it is."""
        if self._errors.first is None:
            try:
                self._goal = self._source.goal(observed, now_s)
            except So101Error as error:
                self._errors.note(error)
        return self._goal or Goal(observed.position_deg, now_s)
