import os
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator

import pytest
from arm_bench import ArmBench

from robot.clock import MonotonicClock
from robot.errors import NotConnected, PortBusy
from robot.packets import BYTE_S, LONGEST_RETURN_DELAY_S, TURNAROUND_S
from robot.port import EEPROM_MARGIN_S, SINGLE_MARGIN_S, ServoPort
from robot.posix_line import WRITE_STALL_S, PosixLine

CLOCK = MonotonicClock()


class Cable:
    """A pty: `far` is the servos' end, `path` the device that a program opens."""

    def __init__(self) -> None:
        self.far, self.near = os.openpty()
        tty.setraw(self.near)
        self.path = os.ttyname(self.near)

    def pull(self) -> None:
        """Close both of our ends: the cable comes out; may be called twice."""
        for descriptor in (self.far, self.near):
            if descriptor >= 0:
                os.close(descriptor)
        self.far = self.near = -1


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.pull()


@pytest.fixture
def port(cable: Cable) -> Iterator[ServoPort]:
    opened = ServoPort.open(cable.path, CLOCK)
    yield opened
    opened.closePort()


# What a wrong path and a missing permission answer is shown in tests/test_bad_input.py.


def test_a_closed_line_never_writes_to_what_got_its_descriptor(cable: Cable) -> None:
    line = PosixLine(cable.path, 1_000_000)
    number = line.fileno()
    reader, writer = os.pipe()
    line.close()
    os.set_blocking(reader, False)
    os.dup2(writer, number)  # as the kernel does with the next file that is opened
    try:
        for use in (
            lambda: line.write(b"goal"),
            lambda: line.read(1),
            lambda: line.in_waiting,
            line.reset_input_buffer,
            line.fileno,
        ):
            with pytest.raises(OSError, match="was closed"):
                use()
        with pytest.raises(BlockingIOError):
            os.read(reader, 4)
    finally:
        for each in {reader, writer, number}:
            os.close(each)


def test_a_closed_port_is_gone(port: ServoPort) -> None:
    port.closePort()
    assert not port.is_there()
    with pytest.raises(NotConnected, match="went away"):
        port.send(b"goal")


def test_a_port_is_held_alone_until_it_is_closed(cable: Cable) -> None:
    first = ServoPort.open(cable.path, CLOCK)

    with pytest.raises(PortBusy, match=f"{cable.path} is in use by another program"):
        ServoPort.open(cable.path, CLOCK)
    first.closePort()

    ServoPort.open(cable.path, CLOCK).closePort()


HOLD = """
import sys
from robot.clock import MonotonicClock
from robot.port import ServoPort
port = ServoPort.open(sys.argv[1], MonotonicClock())
print("held", flush=True)
sys.stdin.read()
"""


def test_a_killed_program_leaves_the_port_free(cable: Cable) -> None:
    command = [sys.executable, "-c", HOLD, cable.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(PortBusy):
            ServoPort.open(cable.path, CLOCK)

        holder.send_signal(signal.SIGKILL)
        holder.wait()

    ServoPort.open(cable.path, CLOCK).closePort()


def test_a_pulled_cable_is_one_error_everywhere_and_leaves_no_port_in_use(
    cable: Cable, port: ServoPort
) -> None:
    cable.pull()

    for use in (
        lambda: port.send(b"\xff"),
        lambda: port.receive(1, CLOCK.now_s() + 5.0),
        port.discard_input,
    ):
        port.is_using = True
        with pytest.raises(NotConnected, match=r"went away.*cut the power"):
            use()
        assert not port.is_using
    port.closePort()
    port.closePort()


def test_received_bytes_come_at_once_and_never_more_than_asked(
    cable: Cable, port: ServoPort
) -> None:
    os.write(cable.far, b"abc")
    started_s = CLOCK.now_s()

    assert port.receive(2, started_s + 5.0) == b"ab"
    assert port.receive(1, started_s + 5.0) == b"c"
    assert CLOCK.now_s() - started_s < 2.5


def test_what_came_before_the_deadline_is_returned_at_it(cable: Cable, port: ServoPort) -> None:
    os.write(cable.far, b"abc")

    assert port.receive(300, CLOCK.now_s() + 0.05) == b"abc"


def test_more_bytes_than_the_kernel_can_be_told_to_wait_for(cable: Cable, port: ServoPort) -> None:
    os.write(cable.far, bytes(700))

    assert port.receive(700, CLOCK.now_s() + 5.0) == bytes(700)


def test_flushing_throws_away_what_was_received_and_not_what_comes_later(
    cable: Cable, port: ServoPort
) -> None:
    os.write(cable.far, b"late reply")
    select.select([cable.near], [], [], 5.0)

    assert port.discard_input() == b"late reply"
    os.write(cable.far, b"new")

    assert port.receive(3, CLOCK.now_s() + 5.0) == b"new"


def test_a_packet_longer_than_the_kernels_buffer_is_sent_whole(
    cable: Cable, port: ServoPort
) -> None:
    packet = bytes(range(256)) * 400
    arrived = bytearray()

    def read_all() -> None:
        while len(arrived) < len(packet):
            arrived.extend(os.read(cable.far, 4096))

    reader = threading.Thread(target=read_all)
    reader.start()
    sent = port.send(packet)
    reader.join(10.0)

    assert sent == len(packet)
    assert arrived == packet


@pytest.mark.realtime
def test_a_line_that_takes_no_bytes_is_an_error_and_not_a_hang(port: ServoPort) -> None:
    started_s = CLOCK.now_s()

    with pytest.raises(NotConnected, match="takes no more bytes"):
        port.send(bytes(1_000_000))

    assert CLOCK.now_s() - started_s < 10 * WRITE_STALL_S


@pytest.mark.realtime
def test_waiting_sleeps_until_the_deadline(port: ServoPort) -> None:
    started_s, spent_s = CLOCK.now_s(), time.thread_time()

    data = port.receive(1, started_s + 0.2)

    assert data == b""
    assert CLOCK.now_s() - started_s >= 0.199
    assert time.thread_time() - spent_s < 0.02


@pytest.mark.parametrize("margin_s", [SINGLE_MARGIN_S, EEPROM_MARGIN_S])
def test_a_reply_may_take_wire_time_turnaround_and_margin(bench: ArmBench, margin_s: float) -> None:
    port = bench.bus.port
    port.margin_s = margin_s

    port.setPacketTimeout(8)

    allowed_s = 8 * BYTE_S + LONGEST_RETURN_DELAY_S + TURNAROUND_S + margin_s
    started_s = bench.clock.now_s()
    bench.clock.sleep_until(started_s + allowed_s - 1e-6)
    assert not port.isPacketTimeout()
    bench.clock.sleep_until(started_s + allowed_s + 1e-6)
    assert port.isPacketTimeout()
