"""A corrected `scservo_sdk.PortHandler` over pyserial: the one way to a servo bus.

The SDK's own handler never flushes its input (`clearPort` waits for output), spins while it waits,
keeps time by the wall clock and stays "in use" after an exception (specs measured on feetech-servo-
sdk 1.0.0). Here the input is flushed before a transaction, waiting sleeps in the kernel until an
absolute deadline of the clock handed in, the port is opened exclusively, and every way a USB
adapter can vanish becomes one error. The SDK's packet handler runs on it unchanged.
"""

import contextlib
import errno
import fcntl
import grp
import os
import select
import stat
import termios
from typing import Protocol

import scservo_sdk
import serial

from robot.clock import Clock
from robot.errors import ConfigError, NoPermission, NotConnected, PortBusy

BAUD = 1_000_000
BYTE_S = 10 / BAUD  # 8N1: ten bit times a byte
# USB and scheduler, beyond wire time and turnaround: set-up can wait as long as LeRobot does.
SINGLE_MARGIN_S = 0.050
# The same in the control loop, where a late reply costs one sample and not the tick after.
BLOCK_MARGIN_S = 0.010
TURNAROUND_S = 0.0006  # servo turnaround incl. the longest return delay (254 x 2 us), a reply
EEPROM_MARGIN_S = 0.150  # a flash commit delays its ack by up to 100 ms
WRITE_STALL_S = 0.5  # a goal packet leaves in 0.3 ms; an adapter that hangs must not hang the loop

_PTY_MAJORS = range(136, 144)  # Linux's device numbers of pseudo-terminals
_GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP

# What pyserial, the tty layer and a vanished USB device raise; termios.error is not an OSError.
_GONE = (OSError, serial.SerialException, termios.error)


class SerialLine(Protocol):
    """The part of `serial.Serial` that a port needs; the twin's in-memory line has the same."""

    timeout: float | None

    def write(self, data: bytes, /) -> int | None:
        """Send bytes; returns how many were taken."""
        ...

    def read(self, size: int = 1, /) -> bytes:
        """Return up to `size` bytes within `timeout` seconds."""
        ...

    def reset_input_buffer(self) -> None:
        """Throw away what was received."""
        ...

    def close(self) -> None:
        """Close the line."""
        ...


class PosixLine:
    """An exclusively opened serial device, read through poll so that waiting sleeps.

    Not through pyserial, whose `timeout` setter reconfigures the tty at every change.
    """

    def __init__(self, path: str, baud: int) -> None:
        self._serial = serial.Serial(path, baud, timeout=0, exclusive=True)
        self._fd: int = self._serial.fileno()
        # pyserial's lock keeps out programs that ask for it; this keeps out all. Not on a pty: its
        # other end is open, so that the mode would outlive a client that was killed.
        if os.major(os.fstat(self._fd).st_rdev) not in _PTY_MAJORS:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, termios.TIOCEXCL)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self.timeout: float | None = 0.0

    def write(self, data: bytes, /) -> int:
        """Send all bytes; a full output buffer is waited for, but not a line that stands still."""
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
        """Return the bytes that are there, at most `size`; waits up to `timeout` for the first."""
        if not self._poll.poll(max(0.0, self.timeout or 0.0) * 1000):
            return b""
        data = os.read(self._fd, size)
        if not data:
            raise OSError(errno.EIO, "the serial device went away")
        return data

    def reset_input_buffer(self) -> None:
        """Throw away what the kernel has received."""
        termios.tcflush(self._fd, termios.TCIFLUSH)

    def close(self) -> None:
        """Close the device."""
        self._serial.close()


class ServoPort(scservo_sdk.PortHandler):
    """One serial line to six servos, usable by the SDK and by the fast path."""

    def __init__(self, line: SerialLine, name: str, clock: Clock) -> None:
        super().__init__(name)
        self.ser = line
        self.name = name
        self.clock = clock
        self.is_open = True
        self.margin_s = SINGLE_MARGIN_S
        self._deadline_s = 0.0

    @classmethod
    def open(cls, path: str, clock: Clock, baud: int = BAUD) -> "ServoPort":
        """Open a serial device for this process alone.

        Raises:
            NotConnected: no such device.
            NoPermission: the user may not open it.
            PortBusy: another program holds it.
        """
        try:
            return cls(PosixLine(path, baud), path, clock)
        except _GONE as error:
            raise _open_error(path, error) from error

    # What the SDK's packet handler calls, corrected -----------------------------------------------

    def clearPort(self) -> None:  # noqa: N802 - the SDK's name
        """Throw away bytes of earlier transactions (the SDK's own waits for output instead)."""
        self.flush_input()

    def writePort(self, packet: bytes | list[int]) -> int:  # noqa: N802 - the SDK's name
        """Send a packet; returns the number of bytes sent."""
        return self.send(bytes(packet))

    def readPort(self, length: int) -> bytes:  # noqa: N802 - the SDK's name
        """Return up to `length` bytes, sleeping until the packet's deadline at most."""
        return self.receive(length, self._deadline_s)

    def getBytesAvailable(self) -> int:  # noqa: N802 - the SDK's name
        """Refuse: nothing here polls a byte count."""
        raise NotImplementedError

    def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802 - the SDK's name
        """Start the deadline of a reply of `packet_length` bytes."""
        self._deadline_s = (
            self.clock.now_s() + packet_length * BYTE_S + TURNAROUND_S + self.margin_s
        )

    def setPacketTimeoutMillis(self, msec: float) -> None:  # noqa: N802 - the SDK's name
        """Start a deadline of `msec` milliseconds."""
        self._deadline_s = self.clock.now_s() + msec / 1000

    def isPacketTimeout(self) -> bool:  # noqa: N802 - the SDK's name
        """Tell whether the deadline has passed."""
        return self.clock.now_s() >= self._deadline_s

    def closePort(self) -> None:  # noqa: N802 - the SDK's name
        """Close the line; never raises, may be called twice."""
        if not self.is_open:
            return
        self.is_open = False
        with contextlib.suppress(*_GONE):
            self.ser.close()

    # The fast path --------------------------------------------------------------------------------

    def send(self, data: bytes) -> int:
        """Write bytes; raises NotConnected when the device is gone."""
        try:
            return self.ser.write(data) or 0
        except _GONE as error:
            raise self._gone(error) from error

    def receive(self, size: int, deadline_s: float) -> bytes:
        """Return up to `size` bytes once some are there; empty when the deadline passes first."""
        self.ser.timeout = max(0.0, deadline_s - self.clock.now_s())
        try:
            return bytes(self.ser.read(size))
        except _GONE as error:
            raise self._gone(error) from error

    def flush_input(self) -> None:
        """Throw away what has been received."""
        try:
            self.ser.reset_input_buffer()
        except _GONE as error:
            raise self._gone(error) from error

    def _gone(self, error: BaseException) -> NotConnected:
        self.is_using = False
        return NotConnected(
            f"{self.name} went away ({error}): the servos keep their last goal. "
            "Plug the USB cable in again, or cut the power"
        )


def _open_error(path: str, error: BaseException) -> Exception:
    code = getattr(error, "errno", None)
    if code is None and error.args and isinstance(error.args[0], int):
        code = error.args[0]
    if code == errno.EACCES:
        return NoPermission(f"you may not open {path}; {permission_remedy(path)}")
    if code in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in str(error):
        return PortBusy(
            f"{path} is in use by another program: close it (lsof {path} names it) and try again"
        )
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return NotConnected(
            f"no serial device at {path}: check the USB cable and the port in the rig profile"
        )
    return ConfigError(
        f"{path} cannot be opened as a servo bus ({error}): check the port in the rig profile"
    )


def permission_remedy(path: str) -> str:
    """Say what lets the person open a device: its group where that may open it, else its mode."""
    try:
        found = os.stat(path)
        group = grp.getgrgid(found.st_gid).gr_name
    except (OSError, KeyError):
        return f"look with 'ls -l {path}' whose it is"
    if group == "root" or found.st_mode & _GROUP_MAY != _GROUP_MAY:
        return f"until it is plugged in again, this lets you: sudo chmod a+rw {path}"
    return (
        f"it belongs to the group '{group}': run 'sudo usermod -aG {group} $USER', "
        "then log out and in again"
    )
