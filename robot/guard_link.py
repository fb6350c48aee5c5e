"""Control's side of the guard: start it, hand it the port, beat, know that it watches.

`GuardedClock` is the clock that everything in the control process is handed: whoever asks it for
the time, or waits by it, beats the guard too. So a long set-up, release or search for an adapter
keeps beating between its transactions, and a process that hangs anywhere stops beating.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from robot import guard
from robot.errors import ControlLost

BEAT_S = 0.1
DEAF_S = 1.0  # without an answer to a beat: nobody watches
# A beat so late: this process stood still, and the guard with it for all that is known.
STOOD_STILL_S = 0.3
GOODBYE_S = 0.5
_NEVER, _ALWAYS = float("inf"), -float("inf")
START_S = 5.0  # a bare interpreter on a busy small computer


class GuardLink:
    """A running guard. Use from one thread."""

    def __init__(self, child: "subprocess.Popen[bytes]", link: socket.socket) -> None:
        self._child = child
        self._link = link
        self._beat_s = 0.0
        # When the oldest beat left that has no answer yet: never while all have one, always before
        # the first answer and after the guard's end.
        self._unanswered_s = _ALWAYS
        self._is_sent_home = False

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start the guard of this process; it watches nothing until `watch`.

        In a process session of its own, deaf to everything but this process's end.
        """
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            child = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", guard.__file__),
                    *(str(its.fileno()), str(os.getpid()), str(folder)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        mine.setblocking(False)
        return cls(child, mine)

    @property
    def pid(self) -> int:
        """Process id of the guard."""
        return self._child.pid

    def watch(self, path: str, descriptor: int) -> None:
        """Hand over the follower's port; returns when the guard has it.

        Raises:
            ControlLost: there is no guard that answers.
        """
        with contextlib.suppress(OSError):
            socket.send_fds(self._link, [guard.WATCH + os.fsencode(path)], [descriptor])
        self._await(guard.WATCH)

    def forget(self) -> None:
        """Have the guard close the port: its adapter is gone, and the next may have its name.

        Raises:
            ControlLost: there is no guard that answers.
        """
        with contextlib.suppress(OSError):
            self._link.send(guard.FORGET)
        self._await(guard.FORGET)

    def beat(self, now_s: float) -> None:
        """Hear the guard's sign of life and show one."""
        self._listen()
        if now_s - self._beat_s > STOOD_STILL_S and self._unanswered_s > _ALWAYS:
            self._unanswered_s = _NEVER
        self._beat_s = now_s
        self._unanswered_s = min(self._unanswered_s, now_s)
        with contextlib.suppress(OSError):  # full or closed: then no answer comes either
            self._link.send(guard.BEAT)

    def is_watching(self, now_s: float) -> bool:
        """Tell whether the guard answers."""
        return now_s - self._unanswered_s < DEAF_S

    def say_goodbye(self) -> None:
        """Send the guard home: torque is off, read back."""
        self._is_sent_home = True
        with contextlib.suppress(OSError):
            self._link.send(guard.GOODBYE)

    def close(self) -> None:
        """Close the link; a guard that was sent home is gone then, another one stays."""
        self._link.close()
        if not self._is_sent_home:
            return
        try:
            self._child.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:  # it was stopped
            self._child.kill()
            self._child.wait()

    def _await(self, kind: bytes) -> None:
        deadline_s = time.monotonic() + START_S
        while not self._listen(kind):
            if time.monotonic() > deadline_s or self._child.poll() is not None:
                raise ControlLost(
                    "the guard process does not answer: torque stays off, for nobody would take it "
                    "off if control died; start the command again"
                )
            time.sleep(0.005)

    def _listen(self, kind: bytes = b"") -> bool:
        """Take the guard's answers; tell whether one was to a message of that kind."""
        is_there = False
        try:
            while answer := self._link.recv(16):
                self._unanswered_s = _NEVER
                is_there |= answer == kind
        except BlockingIOError:
            return is_there
        except OSError:
            pass  # it went with our beats unread
        self._unanswered_s = _ALWAYS  # closed: the guard is gone
        return is_there


class GuardedClock:
    """The machine's monotonic clock; using it beats the guard, ten times a second."""

    def __init__(self, link: GuardLink) -> None:
        self._link = link
        self._next_beat_s = 0.0

    def now_s(self) -> float:
        """Return seconds since an arbitrary point of this boot."""
        now_s = time.monotonic()
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + BEAT_S
            self._link.beat(now_s)
        return now_s

    def sleep_until(self, deadline_s: float) -> None:
        """Sleep until the deadline, beating meanwhile; returns at once when it has passed.

        `time.sleep` waits for an absolute time of CLOCK_MONOTONIC (clock_nanosleep with
        TIMER_ABSTIME, since Python 3.11), so that nothing is gained by calling that directly.
        """
        while (remaining_s := deadline_s - self.now_s()) > 0:
            time.sleep(min(remaining_s, BEAT_S))
