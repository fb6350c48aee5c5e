"""One emulated bus on a pty, paced like a 1 Mbps wire, that notes what its servos heard and when.

Replies leave when their last byte would have come over the wire. The emulator wakes a little before
that and watches the clock for the rest, because a sleep ends 30 to 80 us late (measured on the
machine of docs/measurements.md) and that would be charged to whoever waits for the reply. What it
still misses is kept as its own pacing error.
"""

import contextlib
import fcntl
import os
import termios
import time
import tty
from bisect import insort

from benchmarks.arms_messages import Told
from robot.registers import GOAL_POSITION
from sim.fault_injector import FaultInjector
from sim.servo import BITS_A_BYTE, ServoBank

BAUD_HZ = 1_000_000
BYTE_S = BITS_A_BYTE / BAUD_HZ
_READ_BYTES = 4096
_TWO_BYTES_TOLD = 8  # FF FF id len error low high checksum
_SYNC_READ, _SYNC_WRITE = 0x82, 0x83


class PacedLine:
    """A bank behind a pty."""

    def __init__(self, bank: ServoBank) -> None:
        self.bank = bank
        self.faults = FaultInjector(bank)
        self.goals: list[tuple[float, bytes]] = []  # last byte on the wire, the parameters
        self.samples: list[float] = []  # when the servos took the values of a block read
        self._told: list[Told] = []
        self.pacing_s: list[float] = []  # how much later than due each reply left
        self._line_free_s = 0.0
        self._outgoing: list[tuple[float, bytes]] = []  # when to send what, by time
        self._master, self._slave = os.openpty()
        mode = termios.tcgetattr(self._slave)
        tty.cfmakeraw(mode)
        mode[4] = mode[5] = termios.B1000000
        termios.tcsetattr(self._slave, termios.TCSANOW, mode)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)

    def fileno(self) -> int:
        """Return the master's descriptor."""
        return self._master

    @property
    def due_s(self) -> float | None:
        """When the next reply must leave."""
        return self._outgoing[0][0] if self._outgoing else None

    def take(self, now_s: float) -> None:
        """Let the servos hear what came; `now_s` is when it came."""
        try:
            packet = os.read(self._master, _READ_BYTES)
        except (BlockingIOError, OSError):
            return
        end_s = max(now_s, self._line_free_s) + len(packet) * BYTE_S
        self._line_free_s = end_s
        self._note(packet, end_s)
        for reply in self.faults.handle(packet, now_s, BAUD_HZ):
            self._line_free_s = end_s + reply.delay_s
            due_s = self._line_free_s + reply.late_s
            insort(self._outgoing, (due_s, reply.data), key=lambda one: one[0])

    def send_due(self) -> None:
        """Send the replies that are due, each at its time or as soon after it as possible."""
        while self._outgoing:
            due_s, data = self._outgoing[0]
            now_s = time.monotonic()
            if now_s < due_s:
                return
            self._outgoing.pop(0)
            with contextlib.suppress(BlockingIOError):  # nobody reads: an adapter loses bytes too
                os.write(self._master, data)
            self.pacing_s.append(now_s - due_s)

    def forget(self) -> None:
        """Begin a new window: drop what was noted."""
        self.goals, self.samples, self.pacing_s = [], [], []

    def keep_told(self) -> None:
        """Keep what every status packet says from now on, until `take_told`."""

        def keep(time_s: float, place: int, packet: bytes) -> None:
            if len(packet) >= _TWO_BYTES_TOLD:
                self._told.append(Told(time_s, place, packet[5] | packet[6] << 8))

        self.bank.on_status = keep

    def take_told(self) -> list[Told]:
        """Return what was kept, and forget it."""
        told, self._told = self._told, []
        return told

    def allow_anyone(self) -> None:
        """Undo a client's TIOCEXCL, which would outlive it here because our end stays open."""
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._slave, termios.TIOCNXCL)

    def follow_cable(self, now_s: float) -> None:
        """Let faults go on; the adapter that a fault pulls does not come back."""
        self.faults.advance(now_s)
        if not self.faults.is_plugged:
            self.close()

    def close(self) -> None:
        """Close both ends, as pulling the cable does; may be called twice."""
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1
        self._outgoing.clear()

    def _note(self, packet: bytes, end_s: float) -> None:
        """Keep goals and reads of present values; a write of the host holds whole frames."""
        at = 0
        while (at := packet.find(b"\xff\xff", at)) >= 0 and at + 6 < len(packet):
            frame_end = at + 4 + packet[at + 3]
            instruction, address = packet[at + 4], packet[at + 5]
            if instruction == _SYNC_WRITE and address == GOAL_POSITION.address:
                behind_s = (len(packet) - frame_end) * BYTE_S
                self.goals.append((end_s - behind_s, packet[at + 7 : frame_end - 1]))
            elif instruction == _SYNC_READ:
                self.samples.append(end_s)
            at = max(frame_end, at + 1)


def goal_ticks(parameters: bytes) -> list[int]:
    """Return the six goals of a goal packet's `id low high` triples, in order of the ids."""
    triples = sorted(
        (parameters[at], parameters[at + 1] | parameters[at + 2] << 8)
        for at in range(0, len(parameters) - 2, 3)
    )
    return [ticks for _, ticks in triples]
