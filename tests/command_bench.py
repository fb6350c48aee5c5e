"""A calibrated twin profile, commands as programs on it, and everything that they may leave behind.

Loaded by path from conftest.py, for tests/ is no package.
"""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from robot.bus import ServoBus
from robot.calibration_store import load_calibration
from robot.clock import MonotonicClock
from robot.joints import SERVO_IDS, FloatVector, ticks_to_deg
from robot.port import ServoPort
from robot.registers import PRESENT_POSITION, TORQUE_ENABLE

CHECKOUT = Path(__file__).resolve().parent.parent
START_S = 60.0
GONE_WITHIN_S = 12.0  # the walk to rest takes up to 3 s; the rest is for two busy cores
PROFILE = """
schema = 1
name = "{name}"
[leader]
port = "twin:leader"
id = "leader"
calibration_dir = "{folder}"
[follower]
port = "twin:follower"
id = "follower"
calibration_dir = "{folder}"
[cameras.wrist]
address = "{camera}"
width = 160
height = 120
fps = 15
[twin]
eeprom_file = "{folder}/eeprom.json"
"""


@dataclass(frozen=True)
class Bench:
    """A folder with a calibrated rig; commands run in it as programs."""

    folder: Path
    rig: Path
    environment: dict[str, str]
    ports: set[str] = field(default_factory=set[str])  # on which anything here ever listened

    def command(self, *words: str, rig: Path | None = None) -> "subprocess.Popen[str]":
        """Start a command of this project on this bench's rig."""
        return self.bare_command(*words, "--rig", str(rig or self.rig))

    def bare_command(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command of this project without naming the rig."""
        return self.start("-m", "scripts", *words)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start Python in this bench's folder."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def write_rig(self, name: str, camera: str) -> Path:
        """Write another profile of the same arms, with its camera at this address."""
        path = self.folder / f"{name}.toml"
        path.write_text(PROFILE.format(name="wayout", folder=self.folder, camera=camera))
        return path

    def torque(self, follower_port: str) -> list[int]:
        """Read the follower's torque registers from outside."""
        clock = MonotonicClock()
        with ServoBus(ServoPort.open(follower_port, clock), clock) as bus:
            return [bus.read(servo_id, TORQUE_ENABLE) for servo_id in SERVO_IDS]

    def position_deg(self, follower_port: str) -> FloatVector:
        """Read where the follower stands from outside."""
        clock = MonotonicClock()
        calibration = load_calibration(self.folder / "follower.json")
        with ServoBus(ServoPort.open(follower_port, clock), clock) as bus:
            ticks = [bus.read(servo_id, PRESENT_POSITION) for servo_id in SERVO_IDS]
        return ticks_to_deg(ticks, calibration)

    def processes(self) -> dict[int, str]:
        """Return the live processes that carry this bench's runtime folder in their environment."""
        marker = f"XDG_RUNTIME_DIR={self.folder}\0".encode()
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                is_dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not is_dead and marker in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found

    def process_of(self, words: str) -> int:
        """Return the id of the one process whose command line has these words."""
        (pid,) = (pid for pid, line in self.processes().items() if words in line)
        return pid

    def traces(self) -> set[str]:
        """Name everything that a process tree may leave."""
        processes = self.processes()
        files = {name for pid in processes for name in open_files(pid)}
        listening = {
            f"socket:[{row[9]}]"
            for table in ("tcp", "tcp6")
            for row in map(str.split, Path("/proc/net", table).read_text().splitlines()[1:])
            if row[3] == "0A"
        }
        self.ports.update(files & listening)
        sockets = [
            row for row in Path("/proc/net/unix").read_text().split() if str(self.folder) in row
        ]
        return {
            *(f"process {pid}" for pid in processes),
            *(name for name in files if name.startswith("/dev/pt")),
            *(f"listening {name}" for name in self.ports & listening),
            *sockets,
            *(f"run folder {path.name}" for path in (self.folder / "so101").glob("*")),
            *(f"/dev/shm/{name}" for name in os.listdir("/dev/shm")),
        }

    def left_since(self, before: set[str]) -> set[str]:
        """Wait until nothing more is there than before; returns what stays."""
        wait_for(lambda: self.traces() <= before)
        return self.traces() - before


@dataclass(frozen=True)
class RunningTwin:
    """Where a twin's devices are."""

    follower_port: str
    camera: str  # of its one camera, over HTTP


@contextmanager
def calibrated_bench() -> Iterator[Bench]:
    """Make a bench; everything in it goes afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="so101w-"))  # short: a socket's address has 108 bytes
    try:
        (folder / "configs").symlink_to(CHECKOUT / "configs")
        environment = {"XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": str(CHECKOUT)}
        environment["PYTHONUNBUFFERED"] = "1"  # what was said shows when it was said
        bench = Bench(folder, folder / "rig.toml", {**os.environ, **environment})
        bench.write_rig("rig", "twin:wrist")
        calibrated = bench.command("calibrate", "--virtual")
        said = calibrated.communicate(timeout=START_S)[0]
        assert calibrated.returncode == 0, said
        yield bench
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_twin(bench: Bench) -> Iterator[RunningTwin]:
    """Run the bench's twin."""
    twin = bench.command("twin", "--json")
    addresses = json.loads(read_until(twin, "follower"))
    try:
        yield RunningTwin(addresses["follower"]["port"], addresses["cameras"]["wrist"]["http"])
    finally:
        twin.terminate()
        twin.communicate(timeout=GONE_WITHIN_S)


@contextmanager
def breakable(address: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Pass an HTTP stream on; gives the new address and what breaks it off, as a pulled plug."""
    target = urlsplit(address)
    listener = socket.create_server(("127.0.0.1", 0))
    lines: list[socket.socket] = [listener]

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                camera = socket.create_connection((target.hostname, target.port))
                lines.extend((client, camera))
                for pair in ((client, camera), (camera, client)):
                    threading.Thread(target=pass_on, args=pair, daemon=True).start()

    def break_off() -> None:
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}{target.path}", break_off
    finally:
        break_off()


def open_files(pid: int) -> set[str]:
    """Return what the descriptors of a process lead to; nothing when it has just gone."""
    found: set[str] = set()
    try:
        for link in Path("/proc", str(pid), "fd").iterdir():
            found.add(os.readlink(link))
    except OSError:
        return found
    return found


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


def wait_for(condition: Callable[[], bool], within_s: float = GONE_WITHIN_S) -> bool:
    """Wait until it is so; False when it is not in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True
