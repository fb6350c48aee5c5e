"""What the incumbent's driver makes of faults: why this project's own must do better.

The SDK (feetech-servo-sdk 1.0.0) on the same line in memory; its answers are facts of a third-party
library, and these tests say when they change.
"""

import numpy as np
import pytest
import scservo_sdk

from robot import registers
from robot.joints import SERVO_IDS
from sim.faults import Fault
from sim.memory_serial import MemorySerial
from sim.servo import ServoBank

OK, TIMEOUT, CORRUPT = 0, -6, -7  # the SDK's COMM_SUCCESS, COMM_RX_TIMEOUT, COMM_RX_CORRUPT
POSITION, POSITION_BYTES = registers.PRESENT_POSITION.address, registers.PRESENT_POSITION.size


class Clock:
    """Virtual time without a world."""

    def __init__(self) -> None:
        self.time_s = 1.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, deadline_s: float) -> None:
        self.time_s = max(self.time_s, deadline_s)


class Sdk:
    """The SDK's own handlers on a line in memory."""

    def __init__(self) -> None:
        clock = Clock()
        self.bank = ServoBank(mount_ticks=(1, 2, 3, 4, 5, 6))
        self.bank.step(np.zeros(6), np.zeros(6))
        self.line = MemorySerial(self.bank, clock)
        self.port = scservo_sdk.PortHandler("memory")
        self.port.ser, self.port.is_open, self.port.tx_time_per_byte = self.line, True, 0.01
        self.port.getCurrentTime = lambda: clock.time_s * 1000
        self.handler = scservo_sdk.PacketHandler(0)

    def fail(self, fault: Fault) -> None:
        self.line.faults.add(fault)

    def read(self, servo_id: int) -> tuple[int, int, int]:
        count, result, error = self.handler.read2ByteTxRx(self.port, servo_id, POSITION)
        return int(count), int(result), int(error)

    def read_all(self) -> tuple[int, list[int]]:
        reader = scservo_sdk.GroupSyncRead(self.port, self.handler, POSITION, POSITION_BYTES)
        for servo_id in SERVO_IDS:
            reader.addParam(servo_id)
        result = reader.txRxPacket()
        counts = [int(reader.getData(i, POSITION, POSITION_BYTES)) for i in SERVO_IDS]
        return int(result), counts


@pytest.fixture
def sdk() -> Sdk:
    return Sdk()


def test_a_stale_reply_is_taken_for_the_new_one(sdk: Sdk) -> None:
    sdk.fail(Fault("stale", servo=2, count=1))

    assert sdk.read(2)[1] == TIMEOUT
    goal = sdk.handler.read2ByteTxRx(sdk.port, 2, registers.ACCELERATION.address)
    assert goal[:2] == (2050, OK)  # the position, in answer to a question about acceleration


def test_a_late_reply_leaves_every_later_read_one_behind(sdk: Sdk) -> None:
    sdk.fail(Fault("delay", servo=1, delay_s=0.06, count=1))

    assert sdk.read(1)[1] == TIMEOUT
    sdk.line._clock.sleep_until(1.2)
    count, result, _ = sdk.handler.read2ByteTxRx(sdk.port, 1, registers.TORQUE_LIMIT.address)
    assert (count, result) == (2049, OK)
    count, result, _ = sdk.handler.read2ByteTxRx(sdk.port, 1, registers.GOAL_POSITION.address)
    assert (count, result) == (1000, OK)  # the torque limit


def test_an_echo_is_read_as_data(sdk: Sdk) -> None:
    sdk.fail(Fault("echo"))

    # 0x0238: the request's own address and length; error 2: its instruction.
    assert sdk.read(1) == (0x0238, OK, 2)


def test_an_overload_is_invisible_in_a_sync_read(sdk: Sdk) -> None:
    sdk.fail(Fault("error", servo=6, error_bits=0x20))

    result, counts = sdk.read_all()
    assert (result, counts[5]) == (OK, 2054)


@pytest.mark.parametrize("text", ["drop", "mute"])
def test_one_missing_reply_loses_those_behind_it(sdk: Sdk, text: str) -> None:
    sdk.fail(Fault("drop" if text == "drop" else "mute", servo=3))

    result, counts = sdk.read_all()
    assert result == TIMEOUT
    assert counts == [2049, 2050, 0, 0, 0, 0]


def test_a_flipped_bit_leaves_the_rest_in_the_buffer(sdk: Sdk) -> None:
    sdk.fail(Fault("flip", servo=3, at=5, bit=0, count=1))

    result, counts = sdk.read_all()
    assert result == CORRUPT
    assert counts == [2049, 2050, 0, 0, 0, 0]
    sdk.line._clock.sleep_until(2.0)
    assert sdk.line.in_waiting == 24


def test_a_wrong_length_costs_a_whole_timeout(sdk: Sdk) -> None:
    sdk.fail(Fault("length", servo=3, value=40))
    start_s = sdk.line._clock.now_s()

    assert sdk.read_all()[0] == CORRUPT
    assert sdk.line._clock.now_s() - start_s > 0.03


def test_a_reply_without_data_is_an_exception(sdk: Sdk) -> None:
    sdk.fail(Fault("length", value=2, is_well_formed=True))

    with pytest.raises(IndexError):
        sdk.read(1)


def test_a_duplicate_id_is_a_corrupt_packet(sdk: Sdk) -> None:
    sdk.fail(Fault("duplicate", servo=2, other=5))

    assert sdk.read(2)[1] == CORRUPT
