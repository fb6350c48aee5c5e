"""The bus in memory: the SDK's and this project's own drivers on it, in virtual time."""

import numpy as np
import pytest
import scservo_sdk

from robot import registers
from robot.arm import Follower, Leader
from robot.bus import ServoBus
from robot.errors import NotConnected
from robot.joints import SERVO_IDS, Calibration, JointCalibration
from robot.packets import BlockRead
from robot.port import ServoPort
from robot.registers import STATE_BLOCK
from sim.memory_serial import MemorySerial
from sim.servo import TURNAROUND_S, ServoBank

BYTE_S = 10e-6


class ManualClock:
    """Virtual time without a world."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, deadline_s: float) -> None:
        self.time_s = max(self.time_s, deadline_s)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def line(clock: ManualClock) -> MemorySerial:
    bank = ServoBank(mount_ticks=(0, 1, 2, 3, 4, 5))
    bank.step(np.zeros(6), np.zeros(6))
    return MemorySerial(bank, clock)


READ_1 = bytes.fromhex("ff ff 01 04 02 38 02 be")
REPLY_1 = bytes.fromhex("ff ff 01 04 00 00 08 f2")


def test_a_read_waits_for_wire_time_and_turnaround(line: MemorySerial, clock: ManualClock) -> None:
    line.timeout = 0.05
    line.write(READ_1)

    assert line.read(8) == REPLY_1
    assert clock.time_s - 100.0 == pytest.approx(16 * BYTE_S + TURNAROUND_S)


def test_a_read_takes_a_reply_in_pieces(line: MemorySerial) -> None:
    line.timeout = 0.05
    line.write(READ_1)

    assert [line.read(3), line.read(3), line.read(2)] == [REPLY_1[:3], REPLY_1[3:6], REPLY_1[6:]]


def test_a_request_may_come_byte_by_byte(line: MemorySerial) -> None:
    line.timeout = 0.05
    for byte in READ_1:
        line.write([byte])

    assert line.read(8) == REPLY_1


def test_a_timeout_advances_the_clock_and_returns_what_came(
    line: MemorySerial, clock: ManualClock
) -> None:
    line.timeout = 0.01
    line.write(READ_1)

    assert line.read(20) == REPLY_1
    assert clock.time_s - 100.0 == pytest.approx(0.01)
    assert line.read(1) == b""
    assert clock.time_s - 100.0 == pytest.approx(0.02)


def test_a_poll_returns_at_once_and_time_moves_on(line: MemorySerial, clock: ManualClock) -> None:
    line.write(READ_1)

    assert line.read(8) == b""
    polls = 0
    while not line.in_waiting:
        polls += 1
    assert 50 < polls < 200
    assert line.read(8) == REPLY_1


def test_requests_share_one_line(line: MemorySerial, clock: ManualClock) -> None:
    line.timeout = 0.05
    line.write(READ_1)
    line.write(READ_1)

    assert line.read(16) == REPLY_1 * 2
    assert clock.time_s - 100.0 == pytest.approx(2 * (16 * BYTE_S + TURNAROUND_S))


def test_flushing_drops_what_has_come_but_not_what_is_on_the_wire(
    line: MemorySerial, clock: ManualClock
) -> None:
    line.timeout = 0.05
    line.write(READ_1)
    line.reset_input_buffer()
    assert line.read(8) == REPLY_1

    line.write(READ_1)
    clock.time_s += 0.01
    line.reset_input_buffer()
    assert line.read(8) == b""


def test_the_wrong_baud_rate_meets_silence(line: MemorySerial) -> None:
    line.timeout = 0.05
    line.baudrate = 500_000
    line.write(READ_1)

    assert line.read(8) == b""


def test_a_blocking_read_that_nothing_can_end_is_an_error(line: MemorySerial) -> None:
    line.timeout = None

    with pytest.raises(RuntimeError, match="no servo"):
        line.read(1)


def test_a_closed_port_refuses(line: MemorySerial) -> None:
    line.close()
    line.close()

    with pytest.raises(OSError, match="closed"):
        line.write(READ_1)


# -- the SDK and this project's driver ----------------------------------------------------------


def sdk_port(line: MemorySerial, clock: ManualClock) -> scservo_sdk.PortHandler:
    """Put the SDK's own handler on the line, as its setupPort does; its deadlines in our time."""
    port = scservo_sdk.PortHandler("memory")
    port.ser, port.is_open, port.tx_time_per_byte = line, True, 0.01
    port.getCurrentTime = lambda: clock.time_s * 1000
    return port


def test_the_sdk_pings_reads_and_writes(line: MemorySerial, clock: ManualClock) -> None:
    port, handler = sdk_port(line, clock), scservo_sdk.PacketHandler(0)

    assert [handler.ping(port, servo_id)[:2] for servo_id in SERVO_IDS] == [(777, 0)] * 6
    assert handler.write2ByteTxRx(port, 3, 42, 2500) == (0, 0)
    assert handler.read2ByteTxRx(port, 3, 42) == (2500, 0, 0)
    assert handler.read1ByteTxRx(port, 3, 40) == (1, 0, 0)


def test_the_sdk_reads_and_writes_in_groups(line: MemorySerial, clock: ManualClock) -> None:
    port, handler = sdk_port(line, clock), scservo_sdk.PacketHandler(0)
    writer = scservo_sdk.GroupSyncWrite(port, handler, 42, 2)
    reader = scservo_sdk.GroupSyncRead(port, handler, 42, 2)
    goals = {servo_id: 2000 + 100 * servo_id for servo_id in SERVO_IDS}
    for servo_id, goal in goals.items():
        writer.addParam(servo_id, [goal & 0xFF, goal >> 8])
        reader.addParam(servo_id)

    assert writer.txPacket() == 0
    assert reader.txRxPacket() == 0
    assert {servo_id: reader.getData(servo_id, 42, 2) for servo_id in SERVO_IDS} == goals


def test_the_bus_reads_a_block_in_the_time_of_the_wire(
    line: MemorySerial, clock: ManualClock
) -> None:
    bus = ServoBus(ServoPort(line, "memory", clock), clock)
    bus.ping(1)  # the first transaction also looks for an echo
    start_s = clock.time_s

    reply = bus.read_block(BlockRead(STATE_BLOCK, SERVO_IDS))

    assert set(reply.data) == set(SERVO_IDS)
    assert [int.from_bytes(reply.data[i][:2], "little") for i in SERVO_IDS] == [*range(2048, 2054)]
    assert clock.time_s - start_s == pytest.approx((14 + 6 * 21) * BYTE_S + 6 * TURNAROUND_S)


def test_an_unplugged_servo_is_missed_alone(line: MemorySerial, clock: ManualClock) -> None:
    line._bank.unplugged.add(2)
    bus = ServoBus(ServoPort(line, "memory", clock), clock)

    reply = bus.read_block(BlockRead(STATE_BLOCK, SERVO_IDS))

    assert set(reply.data) == {1, 3, 4, 5, 6}


def test_follower_and_leader_open_on_it(line: MemorySerial, clock: ManualClock) -> None:
    calibration = Calibration(tuple(JointCalibration(i, 0, 0, 100, 4000) for i in SERVO_IDS))
    bus = ServoBus(ServoPort(line, "memory", clock), clock)
    for servo_id in SERVO_IDS:
        bus.write(servo_id, registers.MIN_POSITION_LIMIT, 100)
        bus.write(servo_id, registers.MAX_POSITION_LIMIT, 4000)

    assert np.isfinite(Leader.open(bus, calibration).read().position_deg).all()
    with Follower.open(bus, calibration, clock) as follower:
        follower.torque_on()
        follower.send_deg(follower.read().position_deg)
        assert line._bank.register(1, registers.TORQUE_ENABLE) == 1
        assert line._bank.register(1, registers.P_COEFFICIENT) == 16
    assert [line._bank.register(i, registers.TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
    line._bank.unplugged.update(SERVO_IDS)
    with pytest.raises(NotConnected):
        Leader.open(bus, calibration)


def test_two_runs_give_the_same_bytes_at_the_same_times() -> None:
    def run() -> tuple[bytes, bytes, float]:
        clock = ManualClock()
        line = MemorySerial(ServoBank(seed=7), clock)
        bus = ServoBus(ServoPort(line, "memory", clock), clock)
        for tick in range(20):
            bus.read_block(BlockRead(STATE_BLOCK, SERVO_IDS))
            bus.write_goals([2000 + tick] * 6)
        return bytes(line.sent), bytes(line.received), clock.time_s

    assert run() == run()
