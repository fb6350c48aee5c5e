"""What a bus hears besides the replies it waits for: late ones, echoes, and other programs.

Nothing may be taken for the answer to a request that was sent after it. So what has arrived is
thrown away, sorted and counted before each request, what did not arrive is remembered as owed, and
an adapter that repeats what it sends is found out before the first transaction.
"""

from robot.bus_faults import BusCounters, OwedReplies, Strangers
from robot.clock import Clock
from robot.packets import (
    BYTE_S,
    OVERHEAD_BYTES,
    READ,
    Decoded,
    SizedRead,
    frame,
    valid_packets,
)
from robot.port import ServoPort
from robot.registers import PRESENT_POSITION

ECHO_MARGIN_S = 0.005  # of USB and scheduler, for the answer to the first question of all
_PROBE_BYTES = 3


class BusInput:
    """The unasked side of one bus."""

    def __init__(self, port: ServoPort, clock: Clock) -> None:
        self.owed = OwedReplies(clock)
        self.counters = BusCounters()
        self.status: dict[int, int] = {}  # error byte of each servo's newest reply
        self._port = port
        self._clock = clock
        self._strangers = Strangers()

    def clear(self) -> None:
        """Throw away what came since the last transaction, and count it."""
        found = self._port.discard_input()
        if not found:
            return
        late, is_foreign = self.owed.sort_out(found)
        self.counters.late_bytes += late
        self.counters.unasked_bytes += len(found) - late
        if is_foreign:
            self._strangers.note(self._clock.now_s())

    def look_through(self, sized: SizedRead, received: bytes, decoded: Decoded) -> None:
        """Note what an answer that was not exact lacks, and what it holds of others."""
        self.counters.resyncs += 1
        if self.owed.has_foreign(received, sized.size, decoded.data):
            self._strangers.note(self._clock.now_s())
        for servo_id in sized.ids:
            if servo_id in decoded.data:
                continue
            self.owed.owe(servo_id, sized.size)
            self.owed.note_silent(servo_id)
            if servo_id in decoded.corrupt:
                self.counters.note_corrupt(servo_id)
            else:
                self.counters.note_timeout(servo_id)

    def refuse_strangers(self) -> None:
        """Look whether somebody else talks on this bus: packets nobody here asked for, and many.

        Raises:
            PortBusy: so it is; names who has the port open.
        """
        if self._strangers.are_sure:
            self._strangers = Strangers()
            self._port.refuse_sharing()

    def find_echo(self, servo_id: int) -> None:
        """Find out whether the adapter repeats what it sends: first of all, and after a bad echo.

        By a READ of three bytes: its echo has another length (4) than its reply (5).
        """
        if self._port.is_echo_known:
            return
        request = frame(servo_id, READ, bytes((PRESENT_POSITION.address, _PROBE_BYTES)))
        self._port.discard_input()
        self._port.send(request)
        reply_bytes = OVERHEAD_BYTES + _PROBE_BYTES
        wait_s = (2 * len(request) + reply_bytes) * BYTE_S + self._port.latency.latency_s
        deadline_s = self._clock.now_s() + wait_s + ECHO_MARGIN_S
        received = self._port.receive(len(request), deadline_s)
        is_echo = received == request
        if is_echo:
            received = self._port.receive(reply_bytes, deadline_s)
        elif len(received) == len(request):
            received += self._port.receive(reply_bytes - len(request), deadline_s)
        is_reply = (servo_id, _PROBE_BYTES) in valid_packets(received)
        if not is_reply:
            self.owed.owe(servo_id, _PROBE_BYTES)
        # Without either, nobody is there yet: asked again before the next transaction.
        self._port.is_echoing = is_echo
        self._port.is_echo_known = is_echo or is_reply
