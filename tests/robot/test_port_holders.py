"""Who else has the port: kept out, or found by an open handle and named."""

import fcntl
import os
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator

import pytest
from other_user import as_nobody, holder

from robot.clock import MonotonicClock
from robot.errors import NoPermission, PortBusy
from robot.port import ServoPort
from robot.port_holders import find_holders, name_holders
from sim.pty_port import PtyPort
from sim.servo import ServoBank

CLOCK = MonotonicClock()


@pytest.fixture
def path() -> Iterator[str]:
    """A device that any user may open."""
    far, near = os.openpty()
    tty.setraw(near)
    name = os.ttyname(near)
    os.chmod(name, 0o666)
    yield name
    os.close(far)
    os.close(near)


def test_a_program_that_asks_for_nothing_is_found_and_named(path: str) -> None:
    with holder(path) as pid, pytest.raises(PortBusy) as caught:
        ServoPort.open(path, CLOCK)

    message = str(caught.value)
    assert message.startswith(f"{path} is in use by another program: process {pid} (sleep 60)")
    assert message.endswith("; stop it, then try again")


def test_once_it_is_gone_the_port_is_free(path: str) -> None:
    with holder(path):
        pass

    ServoPort.open(path, CLOCK).closePort()


def test_all_holders_are_named(path: str) -> None:
    with holder(path) as one, holder(path) as other:
        found = find_holders(path)

    assert {each.pid for each in found} == {one, other}
    assert " and process " in name_holders(found)


def test_this_process_and_its_children_are_no_holders(path: str) -> None:
    """A guard gets a copy of the handle."""
    port = ServoPort.open(path, CLOCK)
    with subprocess.Popen(["sleep", "30"], pass_fds=[port.fileno()]) as child:
        found = find_holders(path)
        child.kill()
    port.closePort()

    assert found == ()


def test_another_user_is_kept_out_by_the_lock(path: str) -> None:
    port = ServoPort.open(path, CLOCK)

    with as_nobody(), pytest.raises(PortBusy, match=f"{path} is in use by another program"):
        ServoPort.open(path, CLOCK)
    port.closePort()
    with as_nobody():
        ServoPort.open(path, CLOCK).closePort()


def test_another_user_is_kept_out_by_the_exclusive_mode(path: str) -> None:
    """As a real adapter has it; the port leaves it out on ptys (see `PosixLine`)."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(descriptor, termios.TIOCEXCL)

    with as_nobody(), pytest.raises(PortBusy, match="in use"):
        ServoPort.open(path, CLOCK)
    os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_a_program_of_another_user_is_said_to_be_one(path: str) -> None:
    port = ServoPort.open(path, CLOCK)

    with as_nobody(), pytest.raises(PortBusy, match=rf"of another user: 'sudo lsof {path}'"):
        ServoPort.open(path, CLOCK)
    port.closePort()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_a_users_own_program_is_named_to_that_user(path: str) -> None:
    with (
        holder(path, is_nobody=True) as pid,
        as_nobody(),
        pytest.raises(PortBusy, match=f"process {pid} "),
    ):
        ServoPort.open(path, CLOCK)


@pytest.mark.skipif(os.geteuid() != 0, reason="root may open everything")
def test_a_device_of_others_alone_is_no_busy_port(path: str) -> None:
    os.chmod(path, 0o600)

    with as_nobody(), pytest.raises(NoPermission):
        ServoPort.open(path, CLOCK)


def test_what_is_no_device_has_no_holders(tmp_path: object) -> None:
    assert find_holders(f"{tmp_path}/none") == ()
    assert find_holders(sys.executable) == ()


def test_a_twins_own_server_is_the_device_and_no_holder() -> None:
    """From another process, as a command sees it."""
    served = PtyPort(ServoBank(mount_ticks=[0] * 6))
    code = (
        "import sys; from robot.port_holders import find_holders; print(find_holders(sys.argv[1]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, served.path], capture_output=True, text=True, check=True
    )
    served.close()

    assert said.stdout == "()\n"
