"""The bus on a real serial device name: emulated servos behind a pty, in real time."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import scservo_sdk

from robot.bus import ServoBus
from robot.clock import MonotonicClock
from robot.errors import NotConnected, PortBusy
from robot.joints import SERVO_IDS
from robot.packets import BlockRead
from robot.port import ServoPort
from robot.registers import GOAL_POSITION, PRESENT_POSITION, STATE_BLOCK, TORQUE_ENABLE
from robot.torque import release_torque
from sim.faults import Fault
from sim.pty_port import PtyPort
from sim.servo import ServoBank

CLOCK = MonotonicClock()
POSITIONS = BlockRead(PRESENT_POSITION, SERVO_IDS)
pytestmark = pytest.mark.realtime


class Served:
    """A bank behind a pty, served by a thread that sleeps until something is due."""

    def __init__(self) -> None:
        self.bank = ServoBank(mount_ticks=[0] * 6)
        self.port = PtyPort(self.bank)
        self._is_running = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while self._is_running:
            due_s = self.port.due_s
            wait_s = 0.02 if due_s is None else max(0.0, due_s - CLOCK.now_s())
            select.select([self.port], [], [], min(wait_s, 0.02))
            self.port.serve_ready(CLOCK.now_s())

    def stop(self) -> None:
        self._is_running = False
        self._thread.join()
        self.port.close()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.stop()


@pytest.fixture
def bus(served: Served) -> Iterator[ServoBus]:
    with ServoBus(ServoPort.open(served.port.path, CLOCK), CLOCK) as opened:
        yield opened


def test_blocks_goals_and_single_registers_go_through_one_port(bus: ServoBus) -> None:
    for goal in range(1000, 1050):
        bus.write_goals([goal] * 6)
        data = bus.read_block(BlockRead(GOAL_POSITION, SERVO_IDS)).data
        assert {int.from_bytes(each, "little") for each in data.values()} <= {goal}
        assert bus.read(3, GOAL_POSITION) == goal
    assert len(bus.read_block(BlockRead(STATE_BLOCK, SERVO_IDS)).data) == 6


def test_waiting_for_a_reply_takes_no_processor_time(bus: ServoBus) -> None:
    bus.read_block(POSITIONS)
    spent_s = time.thread_time()
    for _ in range(100):
        bus.read_block(POSITIONS)

    assert (time.thread_time() - spent_s) / 100 < 5 * 100e-6


def read_for(bus: ServoBus, seconds: float) -> None:
    """Do what the loop does, at 100 Hz."""
    end_s = CLOCK.now_s() + seconds
    while CLOCK.now_s() < end_s:
        bus.refuse_strangers()
        bus.read_block(POSITIONS)
        time.sleep(0.01)


INTRUDER = """
import os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
print("in", flush=True)
for _ in range(2000):
    os.write(descriptor, bytes.fromhex("fffffe0a82380301020304050625"))
    time.sleep(0.003)
    if sys.argv[2] == "reads":
        try:
            os.read(descriptor, 54)
        except BlockingIOError:
            pass
    time.sleep(0.007)
"""


@pytest.mark.parametrize("what", ["writes", "reads"])
def test_a_program_that_opens_the_port_later_and_talks_is_found_and_named(
    bus: ServoBus, served: Served, what: str
) -> None:
    """A pty has no exclusive mode; on an adapter root can do the same."""
    command = ["sh", "-c", '"$0" -c "$1" "$2" "$3" & echo $!', sys.executable, INTRUDER]
    with subprocess.Popen([*command, served.port.path, what], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        said = [shell.stdout.readline().strip() for _ in range(2)]
        pid = int(next(word for word in said if word != b"in"))
        try:
            with pytest.raises(PortBusy, match=f"process {pid} .*stop it"):
                read_for(bus, 5.0)
        finally:
            os.kill(pid, signal.SIGKILL)


def test_an_echoing_adapter_is_found_on_a_pty(served: Served) -> None:
    served.port.faults.add(Fault("echo"))
    with ServoBus(ServoPort.open(served.port.path, CLOCK), CLOCK) as bus:
        for goal in range(1000, 1020):
            bus.write_goals([goal] * 6)
            data = bus.read_block(BlockRead(GOAL_POSITION, SERVO_IDS)).data
            assert {int.from_bytes(each, "little") for each in data.values()} <= {goal}
        assert bus.port.is_echoing
        assert release_torque(bus).is_off
    assert [served.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6


def test_the_sdk_runs_on_the_port_unchanged(served: Served) -> None:
    port = ServoPort.open(served.port.path, CLOCK)
    handler = scservo_sdk.PacketHandler(0)
    group = scservo_sdk.GroupSyncRead(port, handler, 56, 2)
    for servo_id in SERVO_IDS:
        assert group.addParam(servo_id)
    tries = [group.txRxPacket() for _ in range(5)]

    assert scservo_sdk.COMM_SUCCESS in tries
    assert handler.read2ByteTxRx(port, 1, 56)[1] == scservo_sdk.COMM_SUCCESS
    port.closePort()


def test_a_cable_that_is_pulled_while_a_reply_is_awaited_ends_the_wait(
    bus: ServoBus, served: Served
) -> None:
    bus.read_block(POSITIONS)
    bus.request(POSITIONS)
    served.stop()

    with pytest.raises(NotConnected, match="went away"):
        read_for(bus, 5.0)
    assert not bus.port.is_there()
