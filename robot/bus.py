"""The servo bus: single transactions through the SDK, block transactions by a fast path.

A block read is one write of a precomputed frame, one sleeping wait and a decode at fixed stride; a
corrupt or missing reply costs that servo this sample and no other. It never returns an old value:
what arrives unasked is thrown away before each request, and as long as a reply is owed, the next
request asks for a length that it cannot have. Every reply's error byte is kept, every fault
counted per servo. Facts of the protocol: docs/provenance.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import scservo_sdk

from robot.bus_faults import BusCounters, OwedReplies, Strangers
from robot.clock import Clock
from robot.errors import ServoTimeout
from robot.joints import JOINTS, SERVO_IDS
from robot.packets import (
    BYTE_S,
    OVERHEAD_BYTES,
    READ,
    WRITE,
    BlockRead,
    Decoded,
    SizedRead,
    SyncWrite,
    frame,
    valid_packets,
)
from robot.port import EEPROM_MARGIN_S, ServoPort
from robot.registers import (
    BROADCAST_ID,
    GOAL_POSITION,
    MODEL_NUMBER,
    PRESENT_POSITION,
    TORQUE_ENABLE,
    Register,
    decode_sign_magnitude,
    encode_sign_magnitude,
)

# USB and scheduler, beyond wire time, in the loop: after the first, what has come is looked at (a
# servo that is mute costs this much); until the second, the rest is waited for.
BLOCK_PATIENCE_S = 0.0015
BLOCK_MARGIN_S = 0.005
# Quiet after a missing acknowledgement, longer than any seen to be late: it has no length to tell
# it by. What it acknowledges is read back wherever it matters.
QUIET_S = 0.02
_LONGEST_ANSWER = 4  # a line that babbles is left after this many times the bytes asked for


def joint_name(servo_id: int) -> str:
    """Name the joint of a servo id for a message."""
    return (
        f"{JOINTS[servo_id - 1]} (servo {servo_id})"
        if servo_id in SERVO_IDS
        else f"servo {servo_id}"
    )


@dataclass(frozen=True, slots=True)
class BlockReply:
    """The replies to one block read, by servo id, of those that answered."""

    data: dict[int, bytes]
    status: dict[int, int]
    # Not later than when the servo began to answer: from the request's last byte on the wire and
    # the servo's place in the chain.
    time_s: dict[int, float] = field(default_factory=dict[int, float])


_NOTHING = BlockReply({}, {})


class ServoBus:
    """One adapter and its servos. Owned by one thread."""

    def __init__(self, port: ServoPort, clock: Clock, ids: Sequence[int] = SERVO_IDS) -> None:
        self.port = port
        self.clock = clock
        self.ids = tuple(ids)
        self.counters = BusCounters()
        self.status: dict[int, int] = {}  # error byte of each servo's newest reply
        self._sdk = scservo_sdk.PacketHandler(0)
        self._owed = OwedReplies(clock)
        self._strangers = Strangers()
        self._quiet_until_s = -math.inf  # an acknowledgement may still come until then
        self._asked: SizedRead | None = None  # the block request that is out
        self._sent_s = 0.0
        self._is_echo_known = False
        self._goals = SyncWrite(GOAL_POSITION, self.ids)

    def close(self) -> None:
        """Close the port; may be called twice."""
        self.port.closePort()

    def __enter__(self) -> "ServoBus":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Single transactions: set-up, calibration, EEPROM ---------------------------------------------

    def ping(self, servo_id: int) -> int | None:
        """Return the servo's model number, None when nothing answers.

        Asks for the model at once: the SDK's own ping fails with an IndexError when a late reply
        meets its second question.
        """
        try:
            return self.read(servo_id, MODEL_NUMBER)
        except ServoTimeout:
            return None

    def read(self, servo_id: int, register: Register, *, tries: int = 3) -> int:
        """Read one register; raises ServoTimeout after `tries` silent tries."""
        data = self.read_bytes(servo_id, register.address, register.size, tries=tries)
        value = int.from_bytes(data, "little")
        return (
            value if register.sign_bit is None else decode_sign_magnitude(value, register.sign_bit)
        )

    def read_bytes(self, servo_id: int, address: int, size: int, *, tries: int = 3) -> bytes:
        """Read bytes of a servo's table; raises ServoTimeout after `tries` silent tries."""
        for _ in range(tries):
            self._find_echo(servo_id)
            asked = self._owed.free_size(servo_id, size)
            data = self._transact(servo_id, READ, bytes((address, asked)), asked)
            if data is not None:
                return data[:size]
        raise self._timeout(servo_id, "read", address, tries)

    def write(self, servo_id: int, register: Register, value: int, *, tries: int = 3) -> None:
        """Write one register and await the acknowledgement; raises ServoTimeout after `tries`."""
        encoded = (
            value if register.sign_bit is None else encode_sign_magnitude(value, register.sign_bit)
        )
        parameters = bytes((register.address,)) + encoded.to_bytes(register.size, "little")
        margin_s = self.port.margin_s
        if register.is_eeprom:
            self.port.margin_s = EEPROM_MARGIN_S
        try:
            for _ in range(tries):
                self._find_echo(servo_id)
                self.clock.sleep_until(self._quiet_until_s)
                if self._transact(servo_id, WRITE, parameters, 0) is not None:
                    return
                self._quiet_until_s = self.clock.now_s() + QUIET_S
        finally:
            self.port.margin_s = margin_s
        raise self._timeout(servo_id, "write", register.address, tries)

    def write_verified(
        self, servo_id: int, register: Register, value: int, *, tries: int = 3
    ) -> None:
        """Write and read back: an acknowledgement proves receipt only.

        Raises:
            ServoTimeout: the value did not take.
        """
        for _ in range(2):
            self.write(servo_id, register, value, tries=tries)
            if self.read(servo_id, register, tries=tries) == value:
                return
        raise ServoTimeout(
            f"{joint_name(servo_id)} did not keep {value} at address {register.address}: "
            "power the arm off and on, then try again"
        )

    # Block transactions: the control loop ---------------------------------------------------------

    def request(self, block: BlockRead) -> bool:
        """Send a block request and return at once; `collect` waits for the replies.

        Sends nothing and returns False while replies of every length are owed.
        """
        self._find_echo(block.ids[0])
        sized = self._owed.free_read(block)
        if sized is None:
            return False
        self._discard_input()
        self._sent_s = self.clock.now_s()
        self._asked = sized
        self.port.send(sized.request)
        return True

    def collect(self, block: BlockRead) -> BlockReply:
        """Wait for the replies to `request` until its deadline; silent servos are left out.

        Empty, and at once, when `request` sent nothing.
        """
        sized = self._asked
        if sized is None or sized.ids != block.ids:
            return _NOTHING
        decoded = self._receive(sized)
        self._asked = None
        if not decoded.is_exact:
            self._note_faults(sized, decoded)
        self.status.update(decoded.status)
        sent_s = self._sent_s
        times_s = zip(sized.ids, sized.answers_s, strict=True)
        return BlockReply(
            decoded.data,
            decoded.status,
            {servo_id: sent_s + answer_s for servo_id, answer_s in times_s},
        )

    def read_block(self, block: BlockRead) -> BlockReply:
        """Request and collect; waits for a free length, so not for the control loop."""
        if not self.request(block):
            self.clock.sleep_until(self._owed.all_paid_s)
            self.request(block)
        return self.collect(block)

    def refuse_strangers(self) -> None:
        """Look whether somebody else talks on this bus: packets nobody here asked for, and many.

        Raises:
            PortBusy: so it is; names who has the port open.
        """
        if self._strangers.are_sure:
            self._strangers = Strangers()
            self.port.refuse_sharing()

    def write_goals(self, ticks: Sequence[int]) -> None:
        """Send one goal position a servo in one packet; nothing answers."""
        self.port.send(self._goals.fill(ticks))

    def send(self, packet: SyncWrite, values: Sequence[int]) -> None:
        """Send one value a servo of a prepared packet; nothing answers."""
        self.port.send(packet.fill(values))

    def broadcast_torque_off(self) -> None:
        """Tell every servo to let go, twice; nothing answers, so read back afterwards."""
        asked = self._asked
        if asked is not None:  # replies on the one wire would spoil it
            self.clock.sleep_until(self._sent_s + asked.longest_s)
        packet = frame(BROADCAST_ID, WRITE, bytes((TORQUE_ENABLE.address, 0)))
        self.port.send(packet)
        self.port.send(packet)

    # Inside ---------------------------------------------------------------------------------------

    def _receive(self, sized: SizedRead) -> Decoded:
        due_s = self._sent_s + sized.longest_s + self.port.latency.latency_s
        received = self.port.receive(sized.reply_bytes, due_s + BLOCK_PATIENCE_S)
        decoded = sized.decode(received)
        while not decoded.is_exact and len(received) < _LONGEST_ANSWER * sized.reply_bytes:
            missing = sized.still_due(received)
            if missing == 0:
                break
            part = self.port.receive(missing, due_s + BLOCK_MARGIN_S)
            received += part
            decoded = sized.decode(received)
            if len(part) < missing:
                break
        if not decoded.is_exact and self._owed.has_foreign(received, sized.size, decoded.data):
            self._strangers.note(self.clock.now_s())
        return decoded

    def _note_faults(self, sized: SizedRead, decoded: Decoded) -> None:
        self.counters.resyncs += 1
        for servo_id in sized.ids:
            if servo_id in decoded.data:
                continue
            self._owed.owe(servo_id, sized.size)
            if servo_id in decoded.corrupt:
                self.counters.note_corrupt(servo_id)
            else:
                self.counters.note_timeout(servo_id)

    def _discard_input(self) -> None:
        """Throw away what came since the last transaction; ends what the last one left open."""
        asked, self._asked = self._asked, None
        if asked is not None:  # interrupted between request and replies
            for servo_id in asked.ids:
                self._owed.owe(servo_id, asked.size)
        found = self.port.discard_input()
        if not found:
            return
        late, is_foreign = self._owed.sort_out(found)
        self.counters.late_bytes += late
        self.counters.unasked_bytes += len(found) - late
        if is_foreign:
            self._strangers.note(self.clock.now_s())

    def _transact(
        self, servo_id: int, instruction: int, parameters: bytes, size: int
    ) -> bytes | None:
        """Send one packet to one servo and return the data of its reply; None without a valid one.

        Other lengths than the one asked for are late replies and passed over. The SDK's "in use"
        flag never survives an exception, and what an exception left unread is owed.
        """
        packet = [0, 0, servo_id, len(parameters) + 2, instruction, *parameters, 0]
        is_answered = False
        try:
            self._discard_input()
            if self._sdk.txPacket(self.port, packet) != scservo_sdk.COMM_SUCCESS:
                return None
            self.port.setPacketTimeout(OVERHEAD_BYTES + size)
            while True:
                reply, result = self._sdk.rxPacket(self.port)
                if result != scservo_sdk.COMM_SUCCESS:
                    if reply:
                        self.counters.note_corrupt(servo_id)
                    else:
                        self.counters.note_timeout(servo_id)
                    return None
                if reply[2] == servo_id and reply[3] == size + 2:
                    is_answered = True
                    self.status[servo_id] = reply[4]
                    return bytes(reply[5:-1])
        finally:
            self.port.is_using = False
            if not is_answered:
                self._owed.owe(servo_id, size)

    def _find_echo(self, servo_id: int) -> None:
        """Find out once, before the first transaction, whether the adapter repeats what it sends.

        By a READ of three bytes: its echo has another length (4) than its reply (5).
        """
        if self._is_echo_known:
            return
        request = frame(servo_id, READ, bytes((PRESENT_POSITION.address, 3)))
        self.port.discard_input()
        self.port.send(request)
        wait_s = (2 * len(request) + 1) * BYTE_S + BLOCK_MARGIN_S + self.port.latency.latency_s
        deadline_s = self.clock.now_s() + wait_s
        received = self.port.receive(len(request), deadline_s)
        is_echo = received == request
        if is_echo:
            received = self.port.receive(OVERHEAD_BYTES + 3, deadline_s)
        elif len(received) == len(request):
            received += self.port.receive(1, deadline_s)
        is_reply = (servo_id, 3) in valid_packets(received)
        if not is_reply:
            self._owed.owe(servo_id, 3)
        # Without either, nobody is there yet: asked again before the next transaction.
        self.port.is_echoing = is_echo
        self._is_echo_known = is_echo or is_reply

    def _timeout(self, servo_id: int, verb: str, address: int, tries: int) -> ServoTimeout:
        return ServoTimeout(
            f"{joint_name(servo_id)} on {self.port.name} did not answer a {verb} of "
            f"address {address} ({tries} tries): "
            "check the arm's power and the plug before this servo"
        )
