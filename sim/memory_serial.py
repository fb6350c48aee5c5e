"""An emulated bus as a serial port in memory, in virtual time.

Duck-types what this project and the SDK use of `serial.Serial`. Bytes take their time on the wire
(10 bits a byte, one half-duplex line), a read that has to wait lets the clock run, and nothing ever
waits for the wall: a run from one seed gives the same bytes at the same virtual times.
"""

import errno
from bisect import insort

from robot.clock import Clock
from sim.fault_injector import FaultInjector
from sim.servo import BITS_A_BYTE, ServoBank

# What an empty non-blocking read costs a real host (measured on a pty): who polls, moves time on.
POLL_S = 2.1e-6


class MemorySerial:
    """The port of one bank; use like an open `serial.Serial`.

    Once its adapter was pulled (`faults`), every call raises OSError (EIO), also after the adapter
    is back: that is another device then, opened as a new MemorySerial with the same `faults`.
    """

    def __init__(
        self,
        bank: ServoBank,
        clock: Clock,
        baudrate: int = 1_000_000,
        faults: FaultInjector | None = None,
    ) -> None:
        """Open the port; raises OSError (ENODEV) while its adapter is pulled."""
        self.baudrate = baudrate
        self.timeout: float | None = 0.0  # seconds; None waits for ever, 0 polls
        self.is_open = True
        self.sent = bytearray()  # every byte the host wrote, for tests that compare two runs
        self.received = bytearray()  # every byte the servos answered
        self.faults = FaultInjector(bank) if faults is None else faults
        self._bank = bank
        self._clock = clock
        self._line_free_s = 0.0
        # Arrival of the last byte and packet, by arrival.
        self._in_flight: list[tuple[float, bytes]] = []
        self._buffer = bytearray()
        self._is_gone = False
        self.faults.advance(clock.now_s())
        if not self.faults.is_plugged:
            raise OSError(errno.ENODEV, "the adapter of this line is unplugged")

    def write(self, data: bytes | bytearray | list[int]) -> int:
        """Put bytes on the wire; returns at once, as a driver with a buffer does."""
        self._require_open()
        packet = bytes(data)
        self.sent += packet
        now_s = self._clock.now_s()
        end_s = max(now_s, self._line_free_s) + len(packet) * BITS_A_BYTE / self.baudrate
        self._line_free_s = end_s
        for reply in self.faults.handle(packet, now_s, self.baudrate):
            self.received += reply.data
            self._line_free_s = end_s + reply.delay_s
            arrival = self._line_free_s + reply.late_s, reply.data
            insort(self._in_flight, arrival, key=_arrival_s)
        return len(packet)

    def read(self, size: int = 1) -> bytes:
        """Return `size` bytes, or what came before the timeout; waiting advances the clock."""
        self._require_open()
        self._receive()
        deadline_s = float("inf") if self.timeout is None else self._clock.now_s() + self.timeout
        while len(self._buffer) < size and self._in_flight and self._in_flight[0][0] <= deadline_s:
            self._clock.sleep_until(self._in_flight[0][0])
            self._require_open()
            self._receive()
        if len(self._buffer) < size and self.timeout != 0.0:
            if self.timeout is None:
                raise RuntimeError("read() without a timeout, and no servo will ever answer")
            self._clock.sleep_until(deadline_s)
            self._require_open()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        if not taken:
            self._let_poll_cost()
        return taken

    @property
    def in_waiting(self) -> int:
        """Number of bytes that have arrived."""
        self._require_open()
        self._receive()
        if not self._buffer:
            self._let_poll_cost()
        return len(self._buffer)

    def reset_input_buffer(self) -> None:
        """Drop what has arrived; what is still on the wire arrives later, as on a real port."""
        self._require_open()
        self._receive()
        self._buffer.clear()

    def reset_output_buffer(self) -> None:
        """Do nothing: what was written is on the wire."""

    def flush(self) -> None:
        """Return when everything written has left."""
        self._require_open()

    def close(self) -> None:
        """Close the port; may be called twice."""
        self.is_open = False

    def _receive(self) -> None:
        now_s = self._clock.now_s()
        while self._in_flight and self._in_flight[0][0] <= now_s:
            self._buffer += self._in_flight.pop(0)[1]

    def _let_poll_cost(self) -> None:
        if self.timeout == 0.0:
            self._clock.sleep_until(self._clock.now_s() + POLL_S)

    def _require_open(self) -> None:
        if not self.is_open:
            raise OSError("the port is closed")
        self.faults.advance(self._clock.now_s())
        if self._is_gone or not self.faults.is_plugged:
            self._is_gone = True
            raise OSError(errno.EIO, "the adapter of this line was unplugged")


def _arrival_s(arrival: tuple[float, bytes]) -> float:
    return arrival[0]
