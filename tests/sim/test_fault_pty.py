"""Faults on a pty: the same bytes as in memory, and an adapter that goes and comes back."""

import contextlib
import os
import select
import termios
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from sim.fault_injector import FaultInjector
from sim.faults import Fault, parse_fault
from sim.memory_serial import MemorySerial
from sim.pty_port import PtyPort
from sim.servo import ServoBank

READ_1 = bytes.fromhex("ff ff 01 04 02 38 02 be")
REPLY_1 = bytes.fromhex("ff ff 01 04 00 00 08 f2")
READ_ALL = bytes.fromhex("ff ff fe 0a 82 38 02 01 02 03 04 05 06 26")
# Each says the same of every run of the host's bytes: no dice but the seed's.
TEXTS = (
    "drop servo=3", "delay servo=2", "stale servo=1", "flip", "insert", "lose", "truncate",
    "length servo=4", "error servo=5", "deaf servo=6", "echo", "mute servo=1",
    "duplicate servo=1", "baud servo=2", "overload forced=true", "voltage", "brownout servo=1",
)  # fmt: skip


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time_s = 5.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, deadline_s: float) -> None:
        self.time_s = max(self.time_s, deadline_s)


def new_bank() -> ServoBank:
    bank = ServoBank(mount_ticks=(0,) * 6)
    bank.step(np.zeros(6), np.zeros(6))
    return bank


def heard(descriptor: int) -> bytes:
    """Return what the client's end holds; the kernel hands it over a moment after the write."""
    data = b""
    while select.select([descriptor], [], [], 0.02)[0]:
        data += os.read(descriptor, 4096)
    return data


@pytest.fixture
def port() -> Iterator[PtyPort]:
    with contextlib.closing(PtyPort(new_bank())) as opened:
        yield opened


@contextlib.contextmanager
def client_of(port: PtyPort) -> Iterator[int]:
    descriptor = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_bytes_as_in_memory(port: PtyPort, text: str) -> None:
    """Three reads, 0.1 s apart: what a host hears on a pty is what it hears in memory."""
    clock = Time()
    line = MemorySerial(new_bank(), clock)
    for injector in (port.faults, line.faults):
        injector.add(parse_fault(text)[1])
    in_memory: list[bytes] = []
    on_pty: list[bytes] = []
    line.timeout = 0.1
    with client_of(port) as client:
        for _ in range(3):
            now_s = clock.now_s()
            os.write(client, READ_ALL)
            port.serve_ready(now_s)
            port.serve_ready(now_s + 0.0999)
            on_pty.append(heard(client))
            line.write(READ_ALL)
            in_memory.append(line.read(1000))

    assert on_pty == in_memory
    assert any(on_pty)


def test_a_late_reply_leaves_late_and_others_pass_it(port: PtyPort) -> None:
    port.faults.add(Fault("delay", servo=1, delay_s=0.05, count=1))
    with client_of(port) as client:
        os.write(client, READ_1)
        port.serve_ready(5.0)
        assert port.due_s == pytest.approx(5.0 + 17 * 10e-6 + 0.05)
        os.write(client, READ_1.replace(b"\x01\x04", b"\x02\x04").replace(b"\xbe", b"\xbd"))
        port.serve_ready(5.01)
        port.serve_ready(5.02)
        assert heard(client)[2] == 2
        port.serve_ready(5.06)

        assert heard(client) == REPLY_1


def test_an_unpaced_port_delays_what_is_delayed() -> None:
    with contextlib.closing(PtyPort(new_bank(), is_paced=False)) as port, client_of(port) as client:
        port.faults.add(Fault("delay", delay_s=0.05))
        os.write(client, READ_1)
        port.serve_ready(5.0)

        assert heard(client) == b""
        assert port.due_s == pytest.approx(5.05)


def test_a_pulled_adapter_is_gone_for_its_client_and_comes_back_under_another_name(
    port: PtyPort,
) -> None:
    first = port.path
    with client_of(port) as client:
        assert not port.follow_cable(5.0)
        port.faults.add(Fault("unplug", duration_s=1.0))
        assert port.follow_cable(5.01)

        assert port.path == ""
        port.serve_ready(5.02)  # nothing to serve, and no error
        for call in (
            lambda: os.write(client, READ_1),
            lambda: termios.tcflush(client, termios.TCIFLUSH),
        ):
            with pytest.raises((OSError, termios.error)):
                call()
        assert os.read(client, 1) == b""
        assert not os.path.exists(first)
        assert not port.follow_cable(5.9)
        assert port.follow_cable(6.1)
        with pytest.raises(OSError, match="error"):
            os.write(client, READ_1)
    assert port.path not in ("", first)
    with client_of(port) as client:
        os.write(client, READ_1)
        port.serve_ready(6.2)
        port.serve_ready(6.3)
        assert heard(client) == REPLY_1


def test_the_new_name_differs_even_when_nobody_held_the_old_one(port: PtyPort) -> None:
    names = [port.path]
    for turn in range(3):
        port.faults.add(Fault("unplug", duration_s=1.0))
        assert port.follow_cable(10.0 * turn)
        assert port.follow_cable(10.0 * turn + 2.0)
        names.append(port.path)

    assert all(old != new != "" for old, new in pairwise(names))


def test_one_injector_serves_the_port_before_and_after() -> None:
    injector = FaultInjector(new_bank())
    with contextlib.closing(PtyPort(injector.bank, faults=injector)) as port:
        injector.add(Fault("unplug", duration_s=1.0))
        injector.add(Fault("mute", servo=1))
        assert port.follow_cable(5.0)
        assert port.follow_cable(6.1)
        with client_of(port) as client:
            os.write(client, READ_1)
            port.serve_ready(6.2)
            port.serve_ready(6.3)

            assert heard(client) == b""
