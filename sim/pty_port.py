"""An emulated bus on a pseudo-terminal: a device that unmodified serial programs open.

The emulator keeps the slave end open itself, so that the name survives between two clients (without
it the master reads EIO) and puts it into raw mode before anyone learns the name. The speed a client
sets is visible at the master, so a client at the wrong baud rate meets silence, as on the wire.
Made for a select loop: `fileno`, `serve_ready`, `due_s`, `follow_cable`.
"""

import fcntl
import os
import struct
import termios
import tty
from bisect import insort

from sim.fault_injector import FaultInjector
from sim.servo import BITS_A_BYTE, ServoBank

_TCGETS2 = (
    0x802C542A  # Linux: read struct termios2, which holds the speeds as numbers, custom ones too
)
_TERMIOS2 = struct.Struct("@4I20B2I")
_READ_BYTES = 4096


class PtyPort:
    """One bank behind one pty. Single-threaded: its owner calls `serve_ready` from one loop.

    `path` is where clients open it; empty while its adapter is pulled (`faults`), another one when
    it is back.
    """

    def __init__(
        self,
        bank: ServoBank,
        *,
        is_paced: bool = True,
        faults: FaultInjector | None = None,
    ) -> None:
        """Open the pty.

        Args:
            bank: the servos.
            is_paced: hold replies back for the time they take on a 1 Mbps wire.
            faults: what is between the servos and this port; None: nothing yet.
        """
        self.faults = FaultInjector(bank) if faults is None else faults
        self._is_paced = is_paced
        self._line_free_s = 0.0
        self._outgoing: list[tuple[float, bytes]] = []  # when to send what, by time
        self._last_path = ""
        self._master, self._slave, self.path = _open_raw()

    def fileno(self) -> int:
        """Return the master's descriptor, for select and poll."""
        return self._master

    @property
    def baud_hz(self) -> int:
        """The speed that the client has set."""
        reply = fcntl.ioctl(self._slave, _TCGETS2, bytes(_TERMIOS2.size))
        return int(_TERMIOS2.unpack(reply)[-1])

    @property
    def due_s(self) -> float | None:
        """When the next held-back reply must leave: `serve_ready` is to be called then."""
        return self._outgoing[0][0] if self._outgoing else None

    def serve_ready(self, now_s: float) -> None:
        """Take what the client wrote, let the servos act, and send the replies that are due."""
        if self._master < 0:
            return
        try:
            packet = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            packet = b""
        if packet:
            self._take(packet, now_s)
        while self._outgoing and self._outgoing[0][0] <= now_s:
            self._send(self._outgoing.pop(0)[1])

    def follow_cable(self, now_s: float) -> bool:
        """Go away when the adapter is pulled, come back when it is plugged in; tell if it did.

        A client of the old pty meets EIO and end of file. The new one never has the old name, as a
        re-enumerated ttyACM1 has not while somebody still holds ttyACM0.
        """
        self.faults.advance(now_s)
        if self.faults.is_plugged == bool(self.path):
            return False
        if self.path:
            self._last_path = self.path
            self.close()
        else:
            self._master, self._slave, self.path = _open_raw()
            if self.path == self._last_path:
                again = _open_raw()
                os.close(self._master)
                os.close(self._slave)
                self._master, self._slave, self.path = again
        return True

    def _take(self, packet: bytes, now_s: float) -> None:
        baud_hz = self.baud_hz
        # A pty delivers a write at once; the last byte would have needed this long on the wire.
        end_s = max(now_s, self._line_free_s) + len(packet) * BITS_A_BYTE / max(baud_hz, 1)
        self._line_free_s = end_s
        replies = self.faults.handle(packet, now_s, baud_hz)
        if not self._is_paced:
            for reply in replies:
                if reply.late_s:
                    self._hold(now_s + reply.late_s, reply.data)
                else:
                    self._send(reply.data)
            return
        if replies:
            self._line_free_s = end_s + replies[-1].delay_s
        for reply in replies:
            self._hold(end_s + reply.delay_s + reply.late_s, reply.data)

    def _hold(self, due_s: float, data: bytes) -> None:
        insort(self._outgoing, (due_s, data), key=_due_s)

    def _send(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except BlockingIOError:
            return  # nobody reads and the buffer is full: an adapter loses bytes then, too

    def close(self) -> None:
        """Close both ends; a client meets EIO, as when the cable is pulled. May be called twice."""
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1
        self.path = ""
        self._outgoing.clear()


def _open_raw() -> tuple[int, int, str]:
    """Open a pty in raw mode at 1 Mbps; return master, slave and the slave's path."""
    master, slave = os.openpty()
    mode = termios.tcgetattr(slave)
    tty.cfmakeraw(mode)
    mode[4] = mode[5] = termios.B1000000
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    os.set_blocking(master, False)
    return master, slave, os.ttyname(slave)


def _due_s(outgoing: tuple[float, bytes]) -> float:
    return outgoing[0]
