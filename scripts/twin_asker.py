"""Questions to a twin that a control loop may ask: in real time none of them makes it wait.

A request to a running twin travels over a socket and may take as long as the twin is busy, so a
thread carries it and the answer is picked up at a later tick. In virtual time the answer is there
at once, and a run stays the same to the last bit.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from sim.twin_control import RemoteControl, TwinControl, TwinStatus


class Immediate(Executor):
    """Does what is submitted on the spot; errors come at once."""

    def submit[**P, T](
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        """Call it, and return a future that is done."""
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def twin_asker(control: TwinControl) -> Executor:
    """Return what carries requests to this control, in order; use it as a context.

    Until the context is left nobody else may use the control.
    """
    if isinstance(control, RemoteControl):
        return ThreadPoolExecutor(1, thread_name_prefix="asks the twin")
    return Immediate()


class StatusWatch:
    """Asks how the twin stands again and again, one question at a time."""

    def __init__(self, control: TwinControl, asker: Executor, period_s: float) -> None:
        self.last: TwinStatus | None = None
        self._control = control
        self._asker = asker
        self._period_s = period_s
        self._due_s = float("-inf")
        self._pending: Future[TwinStatus] | None = None

    def poll(self, now_s: float) -> TwinStatus | None:
        """Return a status that came since the last call; never waits.

        Raises:
            NotConnected, ConfigError: what went wrong with the question.
        """
        if self._pending is None and now_s >= self._due_s:
            self._due_s = now_s + self._period_s
            self._pending = self._asker.submit(self._control.status)
        if self._pending is None or not self._pending.done():
            return None
        pending, self._pending = self._pending, None
        self.last = pending.result()
        return self.last

    def ask(self) -> TwinStatus:
        """Return how the twin stands now; waits for the answer. Raises as `poll`."""
        self._pending = None
        self.last = self._asker.submit(self._control.status).result()
        return self.last
