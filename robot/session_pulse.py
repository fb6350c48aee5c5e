"""Signs of life from the session: a pipe whose write end only it holds.

A thread of the session writes a byte ten times a second. When the session ends, however it ends,
the kernel closes the pipe; a child that inherited it does not hide that, for this process then has
another parent.
"""

import contextlib
import os
import threading
import time

BEAT_S = 0.1
HOLD_AFTER_S = 0.5  # of silence: keep the last goal
REST_AFTER_S = 5.0  # of silence: walk to rest and let go


class SessionPulse:
    """Control's end of the pipe."""

    def __init__(self, descriptor: int, parent_pid: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._parent_pid = parent_pid
        self._heard_s = time.monotonic()
        self.is_gone = False  # the session has ended

    def silence_s(self, now_s: float) -> float:
        """Return how long the session has been silent; infinite once it is gone."""
        try:
            if os.read(self._descriptor, 4096):
                self._heard_s = now_s
            else:
                self.is_gone = True
        except BlockingIOError:
            pass
        self.is_gone |= os.getppid() != self._parent_pid
        return float("inf") if self.is_gone else now_s - self._heard_s


class Pulse:
    """A thread that shows control that this process lives."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()  # the read end is for the child
        os.set_blocking(self._write_end, False)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Fall silent for good: control comes to rest, lets go and ends."""
        self._is_over.set()
        self._thread.join(1.0)
        os.close(self._write_end)

    def _beat(self) -> None:
        while not self._is_over.wait(BEAT_S):
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self._write_end, b".")
