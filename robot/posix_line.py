"""A serial device of this machine, opened for one program alone and read by sleeping waits.

The only importer of pyserial. Its `read` is not used: a change of its timeout reconfigures the tty,
and it wakes for every piece of a reply. Here the kernel is told how many bytes to wait for (VMIN),
so that a reply of any length costs one wait and one read.
"""

import array
import contextlib
import errno
import fcntl
import os
import select
import termios

import serial

from robot.serial_latency import shorten_latency

WRITE_STALL_S = 0.5  # a goal packet leaves in 0.3 ms; an adapter that hangs must not hang the loop

PTY_MAJORS = range(136, 144)  # Linux's device numbers of pseudo-terminals
_LONGEST_WAIT_BYTES = 255  # VMIN is one byte
_CC = 6  # place of the control characters in what tcgetattr returns


class PosixLine:
    """An exclusively opened serial device; use like a `serial.Serial` with a timeout."""

    def __init__(self, path: str, baud: int) -> None:
        self._serial = serial.Serial(path, baud, timeout=0, exclusive=True)
        self._fd: int = self._serial.fileno()
        # pyserial's lock keeps out programs that ask for it; this keeps out all but root. Not on a
        # pty: its other end is open, so that the mode would outlive a client that was killed.
        if os.major(os.fstat(self._fd).st_rdev) not in PTY_MAJORS:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, termios.TIOCEXCL)
        self.latency = shorten_latency(self._fd, path)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._mode = termios.tcgetattr(self._fd)
        self._wait_bytes = 0
        self._count = array.array("i", [0])
        self.timeout: float | None = 0.0

    def fileno(self) -> int:
        """Return the descriptor; raises OSError once closed, for its number may be another's."""
        self._require_open()
        return self._fd

    @property
    def in_waiting(self) -> int:
        """Number of bytes that have arrived."""
        self._require_open()
        fcntl.ioctl(self._fd, termios.FIONREAD, self._count)
        return self._count[0]

    def write(self, data: bytes, /) -> int:
        """Send all bytes; a full output buffer is waited for, but not a line that stands still."""
        self._require_open()
        sent = 0
        while sent < len(data):
            try:
                sent += os.write(self._fd, data[sent:])
            except BlockingIOError:
                if not select.select([], [self._fd], [], WRITE_STALL_S)[1]:
                    raise OSError(
                        errno.ETIMEDOUT, "the serial device takes no more bytes"
                    ) from None
        return sent

    def read(self, size: int = 1, /) -> bytes:
        """Return `size` bytes, or what came within `timeout` seconds; 255 at most."""
        self._require_open()
        self._wake_at(min(size, _LONGEST_WAIT_BYTES))
        self._poll.poll(max(0.0, self.timeout or 0.0) * 1000)
        try:
            data = os.read(self._fd, size)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError(errno.EIO, "the serial device went away")
        return data

    def reset_input_buffer(self) -> None:
        """Throw away what the kernel has received."""
        self._require_open()
        termios.tcflush(self._fd, termios.TCIFLUSH)

    def close(self) -> None:
        """Close the device; may be called twice."""
        self._fd = -1  # the kernel gives the number to whatever is opened next
        self._serial.close()

    def _require_open(self) -> None:
        if self._fd < 0:
            raise OSError(errno.EBADF, "the serial device was closed")

    def _wake_at(self, count: int) -> None:
        """Let poll sleep until `count` bytes are there; nothing of the line itself changes."""
        if count != self._wait_bytes:
            self._mode[_CC][termios.VMIN] = count
            self._mode[_CC][termios.VTIME] = 0
            termios.tcsetattr(self._fd, termios.TCSANOW, self._mode)
            self._wait_bytes = count
