"""The servo bus: single transactions through the SDK, block transactions by a fast path.

A block read is one write of a precomputed frame, one sleeping wait and a decode at fixed stride; a
corrupt or missing reply costs that servo this sample and no other. It never returns an old value:
what arrives unasked is thrown away before each request, and as long as a reply is owed, the next
request asks for a length that it cannot have. Every reply's error byte is kept, every fault
counted per servo. Facts of the protocol: docs/provenance.md.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import scservo_sdk

from robot.bus_faults import BusCounters
from robot.bus_input import BusInput
from robot.clock import Clock
from robot.errors import ServoTimeout
from robot.joints import JOINTS, SERVO_IDS
from robot.packets import (
    BLOCK_MARGIN_S,
    BLOCK_PATIENCE_S,
    OVERHEAD_BYTES,
    READ,
    WRITE,
    BlockRead,
    Decoded,
    SizedRead,
    SyncWrite,
    block_margin_s,
    frame,
)
from robot.port import EEPROM_MARGIN_S, ServoPort
from robot.registers import (
    BROADCAST_ID,
    GOAL_POSITION,
    MODEL_NUMBER,
    TORQUE_ENABLE,
    Register,
    decode_sign_magnitude,
    encode_sign_magnitude,
)

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
    # When the request was handed to the line. Not later than when a servo took its values, whether
    # it takes them when it is asked or when its turn in the chain comes [unpublished].
    time_s: float


class ServoBus:
    """One adapter and its servos. Owned by one thread."""

    def __init__(self, port: ServoPort, clock: Clock, ids: Sequence[int] = SERVO_IDS) -> None:
        self.port = port
        self.clock = clock
        self.ids = tuple(ids)
        self._sdk = scservo_sdk.PacketHandler(0)
        self._input = BusInput(port, clock)
        self._quiet_until_s = -math.inf  # an acknowledgement may still come until then
        self._asked: SizedRead | None = None  # the block request that is out
        self._asked_block: BlockRead | None = None  # and what it is a form of
        self._margin_s = BLOCK_MARGIN_S
        self._requested_s = -math.inf
        self._doubtful: list[int] = []  # servos whose reply could be an earlier one
        self._sent_s = 0.0
        self._goals = SyncWrite(GOAL_POSITION, self.ids)
        self._torque_off = frame(BROADCAST_ID, WRITE, bytes((TORQUE_ENABLE.address, 0)))

    @property
    def counters(self) -> BusCounters:
        """What went wrong so far."""
        return self._input.counters

    @property
    def status(self) -> dict[int, int]:
        """Error byte of each servo's newest reply, by servo id."""
        return self._input.status

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

        Asks for the model at once: the SDK's own ping asks twice and mixes up late replies.
        """
        try:
            return self.read(servo_id, MODEL_NUMBER)
        except ServoTimeout:
            return None

    def read(self, servo_id: int, register: Register, *, tries: int = 3) -> int:
        """Read one register; raises ServoTimeout after `tries` silent tries."""
        data = self.read_bytes(servo_id, register.address, register.size, tries=tries)
        value = int.from_bytes(data, "little")
        sign_bit = register.sign_bit
        return value if sign_bit is None else decode_sign_magnitude(value, sign_bit)

    def read_bytes(self, servo_id: int, address: int, size: int, *, tries: int = 3) -> bytes:
        """Read bytes of a servo's table; raises ServoTimeout after `tries` silent tries."""
        for _ in range(tries):
            self._begin(servo_id)
            asked = self._input.owed.free_size(servo_id, size)
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
                self.clock.sleep_until(self._quiet_until_s)
                self._begin(servo_id)
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

    def request(self, block: BlockRead) -> None:
        """Send a block request and return at once; `collect` waits for the replies.

        For the loop, which asks over and over: servos that stay mute are asked only now and then.
        """
        now_s = self.clock.now_s()
        self._margin_s = block_margin_s(now_s - self._requested_s)
        self._requested_s = now_s
        self._ask(block, self._input.owed.worth_asking(block.ids))

    def _ask(self, block: BlockRead, ids: tuple[int, ...]) -> None:
        self._begin(block.ids[0])
        self._sent_s = self.clock.now_s()
        if not ids:
            return
        sized = self._input.owed.free_read(block, ids)
        self._doubtful = self._input.owed.doubtful(sized)
        self._asked, self._asked_block = sized, block
        self.port.send(sized.request)

    def collect(self, block: BlockRead) -> BlockReply:
        """Wait for the replies to `request` until its deadline; silent servos are left out.

        Empty, and at once, when nobody was asked, or something else in between.
        """
        sized = self._asked
        if sized is None or self._asked_block is not block:
            return BlockReply({}, {}, self.clock.now_s())
        decoded = self._receive(sized)
        self._asked = None
        for servo_id in self._doubtful:
            decoded.data.pop(servo_id, None)
            decoded.status.pop(servo_id, None)
        self._input.owed.note_heard(decoded.data)
        self._input.status.update(decoded.status)
        return BlockReply(decoded.data, decoded.status, self._sent_s)

    def read_block(self, block: BlockRead) -> BlockReply:
        """Ask all servos of the block and collect."""
        self._ask(block, block.ids)
        return self.collect(block)

    def refuse_strangers(self) -> None:
        """Look, once a tick, whether others talk on this bus; raises PortBusy if so."""
        self._input.refuse_strangers()

    def write_goals(self, ticks: Sequence[int], ids: Collection[int] | None = None) -> None:
        """Send one goal position a servo, or some of them, in one packet; nothing answers."""
        if ids is None or len(ids) == len(self.ids):
            self.port.send(self._goals.fill(ticks))
        elif ids:
            some = [(i, tick) for i, tick in zip(self.ids, ticks, strict=True) if i in ids]
            packet = SyncWrite(GOAL_POSITION, [servo_id for servo_id, _ in some])
            self.port.send(packet.fill([tick for _, tick in some]))

    def send(self, packet: SyncWrite, values: Sequence[int]) -> None:
        """Send one value a servo of a prepared packet; nothing answers."""
        self.port.send(packet.fill(values))

    def broadcast_torque_off(self) -> None:
        """Tell every servo to let go, twice; nothing answers, so read back afterwards."""
        asked = self._asked
        if asked is not None:  # replies on the one wire would spoil it
            self.clock.sleep_until(self._sent_s + asked.longest_s)
        self.port.send(self._torque_off)
        self.port.send(self._torque_off)

    # Inside ---------------------------------------------------------------------------------------

    def _begin(self, servo_id: int) -> None:
        """Prepare a transaction: nothing that is there, or still comes, passes for its reply."""
        asked, self._asked = self._asked, None
        if asked is not None:  # interrupted between request and replies
            for each in asked.ids:
                self._input.owed.owe(each, asked.size)
        self._input.find_echo(servo_id)
        self._input.clear()

    def _receive(self, sized: SizedRead) -> Decoded:
        due_s = self._sent_s + sized.longest_s + self.port.latency.latency_s
        received = self.port.receive(sized.reply_bytes, due_s + BLOCK_PATIENCE_S)
        decoded = sized.decode(received)
        if decoded.is_exact:
            return decoded
        if received.startswith(sized.request):  # an adapter that only now begins to echo
            self.port.is_echoing = self.port.is_echo_known = True
            received = received[len(sized.request) :]
        while len(received) < _LONGEST_ANSWER * sized.reply_bytes:
            missing = sized.still_due(received)
            if missing == 0:
                break
            part = self.port.receive(missing, due_s + self._margin_s)
            received += part
            if len(part) < missing:
                break
        decoded = sized.decode(received)
        if not decoded.is_exact:
            self._input.look_through(sized, received, decoded)
        return decoded

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
                self._input.owed.owe(servo_id, size)

    def _timeout(self, servo_id: int, verb: str, address: int, tries: int) -> ServoTimeout:
        return ServoTimeout(
            f"{joint_name(servo_id)} on {self.port.name} did not answer a {verb} of "
            f"address {address} ({tries} tries): "
            "check the arm's power and the plug before this servo"
        )
