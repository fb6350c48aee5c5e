"""The servo bus: single transactions through the SDK, block transactions by a fast path.

A block read is one write of a precomputed frame, one deadline and a decode at fixed stride; a
corrupt or missing reply never returns an old value: after it the bus keeps quiet until every late
reply has come, and those ticks have no data. Every reply's error byte is kept. Facts of the
protocol: docs/provenance.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import scservo_sdk

from robot.clock import Clock
from robot.errors import ServoTimeout
from robot.joints import JOINTS, SERVO_IDS
from robot.port import (
    BLOCK_MARGIN_S,
    BYTE_S,
    EEPROM_MARGIN_S,
    SINGLE_MARGIN_S,
    TURNAROUND_S,
    ServoPort,
)
from robot.registers import (
    BROADCAST_ID,
    GOAL_POSITION,
    MODEL_NUMBER,
    TORQUE_ENABLE,
    Register,
    decode_sign_magnitude,
    encode_sign_magnitude,
)

_SYNC_READ = 0x82
_SYNC_WRITE = 0x83
_WRITE = 0x03
# Quiet after a missing reply, longer than any reply seen to be late: a status packet has no number,
# so that a late one passes for the answer to the next request.
QUARANTINE_S = 0.02
_REPLY_OVERHEAD = 6  # FF FF id len error ... checksum


def frame(servo_id: int, instruction: int, parameters: bytes) -> bytes:
    """Build an instruction packet: FF FF id len instruction parameters checksum."""
    body = bytes((servo_id, len(parameters) + 2, instruction)) + parameters
    return b"\xff\xff" + body + bytes((~sum(body) & 0xFF,))


def joint_name(servo_id: int) -> str:
    """Name the joint of a servo id for a message."""
    return (
        f"{JOINTS[servo_id - 1]} (servo {servo_id})"
        if servo_id in SERVO_IDS
        else f"servo {servo_id}"
    )


@dataclass
class BusCounters:
    """What went wrong on a bus so far, per servo id."""

    timeouts: dict[int, int] = field(default_factory=dict[int, int])
    resyncs: int = 0

    def note_timeout(self, servo_id: int) -> None:
        """Count one missing reply."""
        self.timeouts[servo_id] = self.timeouts.get(servo_id, 0) + 1


@dataclass(frozen=True, slots=True)
class BlockReply:
    """The replies to one block read: data and error byte a servo that answered, and when."""

    data: dict[int, bytes]
    status: dict[int, int]
    time_s: float  # middle of the transaction


class BlockRead:
    """A sync-read whose request and whose expected reply are computed once."""

    def __init__(self, register: Register, ids: Sequence[int]) -> None:
        self.ids = tuple(ids)
        self.size = register.size
        self.request = frame(
            BROADCAST_ID, _SYNC_READ, bytes((register.address, register.size, *ids))
        )
        self.stride = _REPLY_OVERHEAD + register.size
        self.reply_bytes = self.stride * len(self.ids)
        self.wire_s = (len(self.request) + self.reply_bytes) * BYTE_S
        self.deadline_s = self.wire_s + len(self.ids) * TURNAROUND_S + BLOCK_MARGIN_S
        self._prefixes = [
            b"\xff\xff" + bytes((servo_id, register.size + 2)) for servo_id in self.ids
        ]

    def decode(self, received: bytes) -> tuple[dict[int, bytes], dict[int, int], bool]:
        """Return data and error byte a servo, and whether every byte was where it should be."""
        data: dict[int, bytes] = {}
        status: dict[int, int] = {}
        stride = self.stride
        if len(received) == self.reply_bytes:
            for index, servo_id in enumerate(self.ids):
                packet = received[index * stride : (index + 1) * stride]
                if packet[:4] != self._prefixes[index] or sum(packet[2:]) & 0xFF != 0xFF:
                    break
                data[servo_id] = packet[5:-1]
                status[servo_id] = packet[4]
            else:
                return data, status, True
        return *self._resync(received), False

    def _resync(self, received: bytes) -> tuple[dict[int, bytes], dict[int, int]]:
        """Find each whole valid reply among corrupt bytes; the header alone is never trusted."""
        data: dict[int, bytes] = {}
        status: dict[int, int] = {}
        for prefix, servo_id in zip(self._prefixes, self.ids, strict=True):
            start = received.find(prefix)
            while start >= 0:
                packet = received[start : start + self.stride]
                if len(packet) == self.stride and sum(packet[2:]) & 0xFF == 0xFF:
                    data[servo_id] = packet[5:-1]
                    status[servo_id] = packet[4]
                    break
                start = received.find(prefix, start + 1)
        return data, status


class ServoBus:
    """One adapter and its servos. Owned by one thread."""

    def __init__(self, port: ServoPort, clock: Clock, ids: Sequence[int] = SERVO_IDS) -> None:
        self.port = port
        self.clock = clock
        self.ids = tuple(ids)
        self.counters = BusCounters()
        self._sdk = scservo_sdk.PacketHandler(0)
        self._quiet_until_s = -math.inf  # late replies may still come until then
        self._is_asked = False  # a block request is out
        self._sent_s = 0.0
        self._goal_prefix = bytes((GOAL_POSITION.address, GOAL_POSITION.size))

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
        for _ in range(tries):
            data, result, _ = self._call(
                lambda: self._sdk.readTxRx(self.port, servo_id, register.address, register.size)
            )
            if result == scservo_sdk.COMM_SUCCESS and len(data) == register.size:
                value = int.from_bytes(bytes(data), "little")
                return (
                    value
                    if register.sign_bit is None
                    else decode_sign_magnitude(value, register.sign_bit)
                )
            self._let_late_replies_pass(servo_id)
        raise self._timeout(servo_id, "read", register, tries)

    def write(self, servo_id: int, register: Register, value: int, *, tries: int = 3) -> None:
        """Write one register and await the acknowledgement; raises ServoTimeout after `tries`."""
        encoded = (
            value if register.sign_bit is None else encode_sign_magnitude(value, register.sign_bit)
        )
        data = list(encoded.to_bytes(register.size, "little"))
        self.port.margin_s = EEPROM_MARGIN_S if register.is_eeprom else SINGLE_MARGIN_S
        try:
            for _ in range(tries):
                result, _ = self._call(
                    lambda: self._sdk.writeTxRx(
                        self.port, servo_id, register.address, register.size, data
                    )
                )
                if result == scservo_sdk.COMM_SUCCESS:
                    return
                self._let_late_replies_pass(servo_id)
        finally:
            self.port.margin_s = SINGLE_MARGIN_S
        raise self._timeout(servo_id, "write", register, tries)

    def write_verified(self, servo_id: int, register: Register, value: int) -> None:
        """Write and read back: an acknowledgement proves receipt only.

        Raises:
            ServoTimeout: the value did not take.
        """
        for _ in range(2):
            self.write(servo_id, register, value)
            if self.read(servo_id, register) == value:
                return
        raise ServoTimeout(
            f"{joint_name(servo_id)} did not keep {value} at address {register.address}: "
            "power the arm off and on, then try again"
        )

    # Block transactions: the control loop ---------------------------------------------------------

    def request(self, block: BlockRead) -> bool:
        """Send a block request and return at once; `collect` waits for the replies.

        Sends nothing and returns False while late replies of an earlier one may still come.
        """
        now_s = self.clock.now_s()
        self._is_asked = now_s >= self._quiet_until_s
        if not self._is_asked:
            return False
        self.port.flush_input()
        self._sent_s = now_s
        self.port.send(block.request)
        return True

    def collect(self, block: BlockRead) -> BlockReply:
        """Wait for the replies to `request` until its deadline; silent servos are left out.

        Empty, and at once, when `request` sent nothing.
        """
        if not self._is_asked:
            return BlockReply({}, {}, self.clock.now_s())
        self._is_asked = False
        deadline_s = self._sent_s + block.deadline_s
        received = b""
        while len(received) < block.reply_bytes:
            part = self.port.receive(block.reply_bytes - len(received), deadline_s)
            if not part:
                break
            received += part
        now_s = self.clock.now_s()
        data, status, is_exact = block.decode(received)
        if not is_exact:
            self._quiet_until_s = now_s + QUARANTINE_S
            self.counters.resyncs += 1
            for servo_id in block.ids:
                if servo_id not in data:
                    self.counters.note_timeout(servo_id)
        return BlockReply(data, status, (self._sent_s + now_s) / 2)

    def read_block(self, block: BlockRead) -> BlockReply:
        """Wait out the quiet time, request and collect; not for the control loop."""
        self.clock.sleep_until(self._quiet_until_s)
        self.request(block)
        return self.collect(block)

    def write_goals(self, ticks: Sequence[int]) -> None:
        """Send one goal position a servo in one packet; nothing answers."""
        parameters = bytearray(self._goal_prefix)
        for servo_id, tick in zip(self.ids, ticks, strict=True):
            encoded = encode_sign_magnitude(int(tick), 15)
            parameters += bytes((servo_id, encoded & 0xFF, encoded >> 8))
        self.port.send(frame(BROADCAST_ID, _SYNC_WRITE, bytes(parameters)))

    def broadcast_torque_off(self) -> None:
        """Tell every servo to let go, twice; nothing answers, so read back afterwards."""
        packet = frame(BROADCAST_ID, _WRITE, bytes((TORQUE_ENABLE.address, 0)))
        self.port.send(packet)
        self.port.send(packet)

    def _let_late_replies_pass(self, servo_id: int) -> None:
        """Count a missing reply and keep quiet.

        What still comes is flushed before the next request.
        """
        self.counters.note_timeout(servo_id)
        self._quiet_until_s = self.clock.now_s() + QUARANTINE_S

    def _call[T](self, transaction: Callable[[], T]) -> T:
        """Run an SDK transaction in its turn; its "in use" flag never survives an exception."""
        self.clock.sleep_until(self._quiet_until_s)
        try:
            return transaction()
        finally:
            self.port.is_using = False

    def _timeout(self, servo_id: int, verb: str, register: Register, tries: int) -> ServoTimeout:
        return ServoTimeout(
            f"{joint_name(servo_id)} on {self.port.name} did not answer a {verb} of "
            f"address {register.address} ({tries} tries): "
            "check the arm's power and the plug before this servo"
        )
