"""The bus on a pty: pyserial and the SDK open it as the device it pretends to be."""

import contextlib
import errno
import os
import select
import termios
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import scservo_sdk
import serial

from robot.bus import ServoBus
from robot.clock import MonotonicClock
from robot.joints import SERVO_IDS
from robot.packets import BlockRead
from robot.port import ServoPort
from robot.registers import STATE_BLOCK
from sim.pty_port import PtyPort
from sim.servo import ServoBank

READ_1 = bytes.fromhex("ff ff 01 04 02 38 02 be")
REPLY_1 = bytes.fromhex("ff ff 01 04 00 00 08 f2")


@pytest.fixture
def port() -> Iterator[PtyPort]:
    bank = ServoBank(mount_ticks=(0,) * 6)
    bank.step(np.zeros(6), np.zeros(6))
    with contextlib.closing(PtyPort(bank)) as opened:
        yield opened


def read_all(descriptor: int) -> bytes:
    """Return what the client's end holds, without waiting."""
    if not select.select([descriptor], [], [], 0)[0]:
        return b""
    return os.read(descriptor, 4096)


@contextlib.contextmanager
def client_of(port: PtyPort) -> Iterator[int]:
    descriptor = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_paced_replies_are_held_until_they_are_due(port: PtyPort) -> None:
    with client_of(port) as client:
        assert port.due_s is None
        os.write(client, READ_1)
        port.serve_ready(5.0)

        assert read_all(client) == b""
        assert port.due_s == pytest.approx(5.0 + 16 * 10e-6 + 10e-6)
        port.serve_ready(5.0001)
        assert read_all(client) == b""
        port.serve_ready(5.0002)
        assert read_all(client) == REPLY_1
        assert port.due_s is None


def test_unpaced_replies_come_at_once() -> None:
    bank = ServoBank(mount_ticks=(0,) * 6)
    with contextlib.closing(PtyPort(bank, is_paced=False)) as port, client_of(port) as client:
        os.write(client, READ_1[:3])
        port.serve_ready(5.0)
        os.write(client, READ_1[3:])
        port.serve_ready(5.001)

        assert read_all(client) == REPLY_1


@pytest.mark.parametrize("baud", [1_000_000, 115_200, 76_800, 250_000])
def test_the_clients_speed_is_seen(port: PtyPort, baud: int) -> None:
    with serial.Serial(port.path, baud, timeout=0):
        assert port.baud_hz == baud


def test_a_client_at_another_speed_meets_silence(port: PtyPort) -> None:
    with serial.Serial(port.path, 500_000, timeout=0) as client:
        client.write(READ_1)
        port.serve_ready(5.0)
        assert port.due_s is None
        client.baudrate = 1_000_000
        client.write(READ_1)
        port.serve_ready(6.0)
        assert port.due_s is not None


def test_bytes_pass_unchanged(port: PtyPort) -> None:
    # No echo, no newline translation, no control characters: the line is raw before it is named.
    with client_of(port) as client:
        os.write(client, bytes(range(256)))
        port.serve_ready(5.0)
        port.serve_ready(6.0)

        assert read_all(client) == b""
        flags = termios.tcgetattr(client)
        assert not flags[0] & (termios.ICRNL | termios.IXON)
        assert not flags[3] & (termios.ECHO | termios.ICANON | termios.ISIG)


def test_the_name_survives_between_clients(port: PtyPort) -> None:
    for now_s in (5.0, 6.0):
        with client_of(port) as client:
            os.write(client, READ_1)
            port.serve_ready(now_s)
            port.serve_ready(now_s + 0.1)
            assert read_all(client) == REPLY_1
        port.serve_ready(now_s + 0.2)


def test_a_client_that_never_reads_does_not_block_the_emulator(port: PtyPort) -> None:
    with client_of(port) as client:
        for turn in range(3000):
            os.write(client, READ_1)
            port.serve_ready(float(turn))

        assert port.due_s is not None


def test_closing_is_an_unplugged_cable_to_the_client(port: PtyPort) -> None:
    with client_of(port) as client:
        port.close()
        port.close()

        with pytest.raises(OSError, match="error") as caught:
            os.write(client, READ_1)
        assert caught.value.errno == errno.EIO


@contextlib.contextmanager
def served(port: PtyPort) -> Iterator[None]:
    """Serve the port from a thread, as the twin does."""
    clock = MonotonicClock()
    stop_read, stop_write = os.pipe()

    def run() -> None:
        while True:
            due_s = port.due_s
            wait_s = None if due_s is None else max(0.0, due_s - clock.now_s())
            if stop_read in select.select([port.fileno(), stop_read], [], [], wait_s)[0]:
                return
            port.serve_ready(clock.now_s())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        os.write(stop_write, b".")
        thread.join()
        os.close(stop_read)
        os.close(stop_write)


@pytest.mark.realtime
def test_the_unmodified_sdk_works_on_it(port: PtyPort) -> None:
    with served(port):
        sdk, handler = scservo_sdk.PortHandler(port.path), scservo_sdk.PacketHandler(0)
        assert sdk.openPort()
        try:
            assert handler.ping(sdk, 6) == (777, 0, 0)
            assert handler.write2ByteTxRx(sdk, 2, 42, 2100) == (0, 0)
            reader = scservo_sdk.GroupSyncRead(sdk, handler, 42, 2)
            for servo_id in SERVO_IDS:
                reader.addParam(servo_id)
            assert reader.txRxPacket() == 0
            assert reader.getData(2, 42, 2) == 2100
        finally:
            sdk.closePort()


@pytest.mark.realtime
def test_this_projects_bus_works_on_it(port: PtyPort) -> None:
    clock = MonotonicClock()
    with served(port), ServoBus(ServoPort.open(port.path, clock), clock) as bus:
        block = BlockRead(STATE_BLOCK, SERVO_IDS)
        start_s = clock.now_s()
        replies = [bus.read_block(block) for _ in range(20)]

        assert all(set(reply.data) == set(SERVO_IDS) for reply in replies)
        # Paced: 140 bytes a turn cannot pass faster than 1 Mbps lets them.
        assert clock.now_s() - start_s > 20 * 140 * 10e-6
