"""What is done about an adapter's latency timer, on a folder that looks like /sys."""

import os
import tempfile
from pathlib import Path

import pytest
from other_user import as_nobody

from robot.clock import MonotonicClock
from robot.port import ServoPort
from robot.serial_latency import LineLatency, shorten_latency


def folder_with_timer(sysfs: Path, text: str) -> Path:
    device = sysfs / "class" / "tty" / "ttyUSB0" / "device"
    device.mkdir(parents=True)
    timer = device / "latency_timer"
    timer.write_text(text)
    return timer


@pytest.fixture
def descriptor() -> int:
    far, near = os.openpty()
    os.close(far)
    return near


def test_a_timer_that_may_be_written_is_set_to_one_millisecond(
    tmp_path: Path, descriptor: int
) -> None:
    timer = folder_with_timer(tmp_path, "16\n")

    found = shorten_latency(descriptor, "/dev/ttyUSB0", tmp_path)

    assert timer.read_text() == "1\n"
    assert found == LineLatency("latency timer of ttyUSB0: 1 ms", 0.001)


def test_a_link_by_id_leads_to_its_timer(tmp_path: Path, descriptor: int) -> None:
    timer = folder_with_timer(tmp_path, "16\n")
    link = tmp_path / "usb-FTDI_board"
    link.symlink_to(tmp_path / "ttyUSB0")

    shorten_latency(descriptor, str(link), tmp_path)

    assert timer.read_text() == "1\n"


def test_a_timer_that_is_short_already_is_not_written(tmp_path: Path, descriptor: int) -> None:
    timer = folder_with_timer(tmp_path, "1\n")
    timer.chmod(0o444)
    before = timer.stat().st_mtime_ns

    assert shorten_latency(descriptor, "/dev/ttyUSB0", tmp_path).latency_s == 0.001
    assert timer.stat().st_mtime_ns == before


def test_a_timer_that_stays_is_said_with_the_lines_that_permit_it(descriptor: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        timer = folder_with_timer(Path(folder), "16\n")
        timer.chmod(0o444)

        with as_nobody():
            found = shorten_latency(descriptor, "/dev/ttyUSB0", Path(folder))

    assert found.latency_s == 0.016
    assert "stays at 16 ms" in found.sentence
    assert f"echo 1 | sudo tee {timer}" in found.sentence
    assert 'ATTR{latency_timer}="1"' in found.sentence


def test_a_device_without_a_timer_is_said_to_have_none(tmp_path: Path, descriptor: int) -> None:
    found = shorten_latency(descriptor, "/dev/ttyACM0", tmp_path)

    assert found == LineLatency("no latency setting on this device", 0.0)


def test_a_timer_that_is_no_number_is_none(tmp_path: Path, descriptor: int) -> None:
    folder_with_timer(tmp_path, "fast\n")

    assert shorten_latency(descriptor, "/dev/ttyUSB0", tmp_path).latency_s == 0.0


def test_a_pty_is_opened_without_one() -> None:
    far, near = os.openpty()
    port = ServoPort.open(os.ttyname(near), MonotonicClock())

    assert port.latency.sentence == "no latency setting on this device"
    port.closePort()
    os.close(far)
    os.close(near)
