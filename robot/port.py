"""A corrected `scservo_sdk.PortHandler`: the one way to a servo bus.

The SDK's own handler never flushes its input (`clearPort` waits for output), spins while it waits,
keeps time by the wall clock and stays "in use" after an exception (specs measured on feetech-servo-
sdk 1.0.0). Here input is flushed before a transaction and counted, waiting sleeps in the kernel
until an absolute deadline of the clock handed in, the port is opened for this program alone, an
adapter that repeats what it sends is stripped of its echo, and every way a USB adapter can vanish
becomes one error. The SDK's packet handler runs on it unchanged.
"""

import contextlib
import errno
import grp
import os
import stat
import termios
from typing import Protocol

import scservo_sdk

from robot.clock import Clock
from robot.errors import ConfigError, NoPermission, NotConnected, PortBusy
from robot.packets import BYTE_S, LONGEST_RETURN_DELAY_S, TURNAROUND_S
from robot.port_holders import find_holders, name_holders
from robot.posix_line import PosixLine
from robot.serial_latency import NO_SETTING, LineLatency

BAUD = 1_000_000
# USB and scheduler, beyond wire time and turnaround: set-up can wait as long as LeRobot does.
SINGLE_MARGIN_S = 0.050
EEPROM_MARGIN_S = 0.150  # a flash commit delays its ack by up to 100 ms

_GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP

# What the tty layer and a vanished USB device raise (serial.SerialException is an OSError).
_GONE = (OSError, termios.error)


class SerialLine(Protocol):
    """The part of `serial.Serial` that a port needs; the twin's in-memory line has the same."""

    timeout: float | None

    @property
    def in_waiting(self) -> int:
        """Number of bytes that have arrived."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send bytes; returns how many were taken."""
        ...

    def read(self, size: int = 1, /) -> bytes:
        """Return `size` bytes, or what came within `timeout` seconds."""
        ...

    def reset_input_buffer(self) -> None:
        """Throw away what was received."""
        ...

    def close(self) -> None:
        """Close the line."""
        ...


class ServoPort(scservo_sdk.PortHandler):
    """One serial line to six servos, usable by the SDK and by the fast path."""

    def __init__(
        self, line: SerialLine, name: str, clock: Clock, latency: LineLatency = NO_SETTING
    ) -> None:
        super().__init__(name)
        self.ser = line
        self.name = name
        self.clock = clock
        self.latency = latency
        self.is_open = True
        self.margin_s = SINGLE_MARGIN_S
        self.is_echoing = False
        self.is_echo_known = False  # whether somebody found out
        self._echo = b""  # what was sent and has not come back yet, of an adapter that echoes
        self._deadline_s = 0.0

    @classmethod
    def open(cls, path: str, clock: Clock, baud: int = BAUD) -> "ServoPort":
        """Open a serial device for this process alone.

        Raises:
            NotConnected: no such device.
            NoPermission: the user may not open it.
            PortBusy: another program has it open, whether or not it asked for it alone; names it
            by process id as far as this user may look.
        """
        try:
            line = PosixLine(path, baud)
        except _GONE as error:
            raise _open_error(path, error) from error
        holders = find_holders(path)
        if holders:
            line.close()
            raise _busy(path)
        return cls(line, path, clock, line.latency)

    # What the SDK's packet handler calls, corrected -----------------------------------------------

    def clearPort(self) -> None:  # noqa: N802 - the SDK's name
        """Throw away bytes of earlier transactions (the SDK's own waits for output instead)."""
        self.discard_input()

    def writePort(self, packet: bytes | list[int]) -> int:  # noqa: N802 - the SDK's name
        """Send a packet; returns the number of bytes sent."""
        return self.send(bytes(packet))

    def readPort(self, length: int) -> bytes:  # noqa: N802 - the SDK's name
        """Return `length` bytes, or what came until the packet's deadline."""
        return self.receive(length, self._deadline_s)

    def getBytesAvailable(self) -> int:  # noqa: N802 - the SDK's name
        """Refuse: nothing here polls a byte count."""
        raise NotImplementedError

    def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802 - the SDK's name
        """Start the deadline of a reply of `packet_length` bytes."""
        allowed_s = packet_length * BYTE_S + LONGEST_RETURN_DELAY_S + TURNAROUND_S
        self._deadline_s = self.clock.now_s() + allowed_s + self.latency.latency_s + self.margin_s

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
        if self.is_echoing:
            self._echo += data
        try:
            return self.ser.write(data) or 0
        except _GONE as error:
            raise self._gone(error) from error

    def receive(self, size: int, deadline_s: float) -> bytes:
        """Return `size` bytes, or fewer when the deadline passes; an echo is taken off first."""
        data = self._read(len(self._echo) + size, deadline_s)
        if not self._echo:
            return data
        if data.startswith(self._echo):
            data = data[len(self._echo) :]
            self._echo = b""
            return data
        if self._echo.startswith(data):  # it is still coming
            self._echo = self._echo[len(data) :]
            return b""
        # Disturbed, or no echo any more: left in, for the search by length and checksum, and found
        # out anew before the next transaction.
        self._echo = b""
        self.is_echoing = self.is_echo_known = False
        return data

    def discard_input(self) -> bytes:
        """Throw away what has been received; return what of it was no echo."""
        try:
            waiting = self.ser.in_waiting
        except _GONE as error:
            raise self._gone(error) from error
        if waiting == 0:
            return b""
        return self.receive(max(0, waiting - len(self._echo)), self.clock.now_s())

    def fileno(self) -> int:
        """Return the device's descriptor; raises OSError for a line in memory, which has none."""
        if isinstance(self.ser, PosixLine):
            return self.ser.fileno()
        raise OSError(errno.ENOTTY, "a line in memory has no descriptor")

    def is_there(self) -> bool:
        """Tell whether the device still answers the kernel."""
        try:
            _ = self.ser.in_waiting
        except _GONE:
            return False
        return self.is_open

    def refuse_sharing(self) -> None:
        """Say that somebody else talks on this bus, and who; takes tens of milliseconds.

        Raises:
            PortBusy: always.
        """
        holders = find_holders(self.name)
        who = name_holders(holders) or f"another program ('sudo lsof {self.name}' names it)"
        raise PortBusy(
            f"bytes that nobody here asked for keep coming from {self.name}: {who} talks to the "
            "same servos: stop it, then start again"
        )

    def _read(self, size: int, deadline_s: float) -> bytes:
        data = b""
        try:
            while len(data) < size:
                self.ser.timeout = max(0.0, deadline_s - self.clock.now_s())
                part = bytes(self.ser.read(size - len(data)))
                if not part:
                    break
                data += part
        except _GONE as error:
            raise self._gone(error) from error
        return data

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
        return _busy(path)
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return NotConnected(
            f"no serial device at {path}: check the USB cable and the port in the rig profile"
        )
    return ConfigError(
        f"{path} cannot be opened as a servo bus ({error}): check the port in the rig profile"
    )


def _busy(path: str) -> PortBusy:
    holders = find_holders(path)
    if holders:
        who = name_holders(holders)
        return PortBusy(f"{path} is in use by another program: {who}; stop it, then try again")
    return PortBusy(
        f"{path} is in use by another program, of another user: 'sudo lsof {path}' names it; "
        "stop it, then try again"
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
