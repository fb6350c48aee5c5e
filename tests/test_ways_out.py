"""Every way out of a command that drives an arm: torque off, read back, and nothing left behind."""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from robot.arm import TORQUE_OFF, release_torque
from robot.bus import ServoBus
from robot.clock import MonotonicClock
from robot.joints import SERVO_IDS
from robot.port import ServoPort
from robot.registers import TORQUE_ENABLE

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

CHECKOUT = Path(__file__).resolve().parent.parent
START_S = 40.0
GONE_WITHIN_S = 5.0
PROFILE = """
schema = 1
name = "wayout"
[leader]
port = "twin:leader"
id = "leader"
calibration_dir = "{folder}"
[follower]
port = "twin:follower"
id = "follower"
calibration_dir = "{folder}"
[cameras.wrist]
address = "twin:wrist"
width = 160
height = 120
fps = 15
[twin]
eeprom_file = "{folder}/eeprom.json"
"""


@dataclass(frozen=True)
class Bench:
    """A calibrated twin that runs beside the command under test."""

    folder: Path
    rig: Path
    environment: dict[str, str]

    def command(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command of this project."""
        return subprocess.Popen(
            [sys.executable, "-m", "scripts", *words, "--rig", str(self.rig)],
            cwd=CHECKOUT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def torque(self, follower_port: str) -> list[int]:
        """Read the follower's torque registers from outside."""
        clock = MonotonicClock()
        with ServoBus(ServoPort.open(follower_port, clock), clock) as bus:
            return [bus.read(servo_id, TORQUE_ENABLE) for servo_id in SERVO_IDS]

    def processes(self) -> set[int]:
        """Return the live processes that carry this bench's runtime folder in their environment."""
        marker = f"XDG_RUNTIME_DIR={self.folder}\0".encode()
        found: set[int] = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                is_dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not is_dead and marker in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
        return found

    def traces(self) -> tuple[set[int], list[str], list[str], list[str]]:
        """Count what a process tree may leave: processes, ptys, sockets, shared memory."""
        sockets = [
            row for row in Path("/proc/net/unix").read_text().split() if str(self.folder) in row
        ]
        folders = sorted(path.name for path in (self.folder / "so101").iterdir())
        ptys = sorted(
            os.readlink(link)
            for pid in self.processes()
            for link in (Path("/proc") / str(pid) / "fd").iterdir()
            if os.path.lexists(link) and os.readlink(link).startswith("/dev/pt")
        )
        shm = sorted(name for name in os.listdir("/dev/shm") if "so101" in name or "psm_" in name)
        return self.processes(), sorted(sockets) + folders, ptys, shm


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="so101w-"))
    rig = folder / "rig.toml"
    rig.write_text(PROFILE.format(folder=folder))
    one = Bench(folder, rig, {**os.environ, "XDG_RUNTIME_DIR": str(folder)})
    calibrated = one.command("calibrate", "--virtual")
    said = calibrated.communicate(timeout=START_S)[0]
    assert calibrated.returncode == 0, said
    yield one
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def follower_port(bench: Bench) -> Iterator[str]:
    """Run the twin and give its follower's device."""
    twin = bench.command("twin", "--json")
    assert twin.stdout is not None
    line = read_until(twin, "follower")
    yield line.split('"follower":{"port":"')[1].split('"')[0]
    twin.send_signal(signal.SIGTERM)
    twin.communicate(timeout=GONE_WITHIN_S)


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """Return the first line with these words; fails when the process ends or stays silent."""
    assert process.stdout is not None
    said = ""
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if select.select([process.stdout], [], [], 0.2)[0]:
            line = process.stdout.readline()
            said += line
            if words in line:
                return line
            if not line:
                break
    raise AssertionError(f"'{words}' was never said:\n{said}")


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


COMMANDS = {
    "teleop": (["teleop", "--demonstrator"], "torque on"),
    "record": (
        ["record", "--demonstrator", "--no-export", "--output", "{folder}/data"],
        "recording episode",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_in_torque_off_read_back_and_shown(
    bench: Bench, follower_port: str, name: str, number: signal.Signals
) -> None:
    words, ready = COMMANDS[name]
    before = bench.traces()
    process = bench.command(*[word.format(folder=bench.folder) for word in words])
    read_until(process, ready)

    process.send_signal(number)
    said = process.communicate(timeout=GONE_WITHIN_S)[0]

    assert process.returncode == 0, said
    assert f"follower torque: {TORQUE_OFF}" in said
    assert bench.torque(follower_port) == [0] * 6
    assert wait_for(lambda: bench.traces() == before), (before, bench.traces())


def test_a_killed_command_leaves_no_process_behind(bench: Bench, follower_port: str) -> None:
    before = bench.traces()
    process = bench.command("teleop", "--demonstrator")
    read_until(process, "torque on")

    process.kill()
    process.communicate()

    assert wait_for(lambda: bench.traces() == before), (before, bench.traces())
    clock = MonotonicClock()
    with ServoBus(ServoPort.open(follower_port, clock), clock) as bus:
        assert release_torque(bus) == TORQUE_OFF


def test_a_twin_that_a_command_started_goes_with_it_even_when_it_is_killed(bench: Bench) -> None:
    process = bench.command("teleop", "--demonstrator")
    read_until(process, "torque on")
    assert len(bench.processes()) >= 2

    process.kill()
    process.communicate()

    assert wait_for(lambda: not bench.processes())
