"""Real processes for the tests of control and guard: arms on ptys, a rig, a session to kill."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robot.bus import ServoBus
from robot.calibration_store import CalibrationSidecar, save_calibration
from robot.clock import MonotonicClock
from robot.control_client import ControlClient, start_control
from robot.joints import SERVO_IDS, Calibration, JointCalibration
from robot.messages import SourceName
from robot.port import ServoPort
from robot.registers import HOMING_OFFSET, LOCK, MAX_POSITION_LIMIT, MIN_POSITION_LIMIT
from robot.run_folder import open_run_folder

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
ON, OFF = [1] * 6, [0] * 6
FOLDED = (0.0, -95.5, 94.5, 38.0, 0.0, 0.0)  # the rest pose: from there the walk is short
FAR = (100.0,) * 6  # almost 200° from it
# The middle of each range is the middle of the turn, so that 0° is where the shafts begin.
CALIBRATION = Calibration(tuple(JointCalibration(i, 0, 0, 700, 3396) for i in SERVO_IDS))
CONTROL = ("-m", "scripts.control_host")
PROFILE = """
schema = 1
name = "bench"
[leader]
port = "{folder}/leader.tty"
id = "leader"
calibration_dir = "{folder}"
[follower]
port = "{folder}/follower.tty"
id = "follower"
calibration_dir = "{folder}"
"""


def wait_for(is_so: Callable[[], bool], within_s: float) -> float:
    """Wait until something is so; returns how long it took, fails when it takes too long."""
    began_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - began_s < within_s, f"still not so after {within_s} s"
        time.sleep(0.01)
    return time.monotonic() - began_s


def is_alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        text = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


@dataclass(frozen=True)
class ArmsBench:
    """Two calibrated arms that run in a process of their own, and the rig that names them."""

    process: "subprocess.Popen[str]"
    folder: Path

    @property
    def rig(self) -> Path:
        """The rig's profile."""
        return self.folder / "rig.toml"

    def ask(self, *words: object) -> list[int]:
        """Make a request; returns the follower's torque registers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer: list[int] = json.loads(self.process.stdout.readline())
        return answer

    def torque(self) -> list[int]:
        """Return the follower's torque registers, from the servos themselves."""
        return self.ask("torque")

    def put(self, arm: str, degrees: Sequence[float]) -> None:
        """Put the shafts of "leader" or "follower" six degrees from their middle."""
        self.ask(arm, *degrees)

    @contextmanager
    def control(
        self, source: SourceName = "leader", program: Sequence[str] = CONTROL
    ) -> Generator[tuple[ControlClient, Path]]:
        """Run a control process; gives its run folder too."""
        self.put("leader", FOLDED)
        self.put("follower", FOLDED)
        with (
            open_run_folder("bench") as folder,
            start_control(
                self.rig, source=source, run_folder=folder.path, program=program
            ) as client,
        ):
            yield client, folder.path

    def session(self, *words: str) -> "subprocess.Popen[str]":
        """Start a session in a process of its own (`control_session.py`)."""
        return subprocess.Popen(
            [sys.executable, str(HERE / "control_session.py"), str(self.rig), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            text=True,
        )


@contextmanager
def open_arms(folder: Path) -> Generator[ArmsBench]:
    """Start the arms, calibrate them and write the rig."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "arms_on_ptys.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        for role in ("leader", "follower"):
            path = str(folder / f"{role}.tty")
            _calibrate(path)
            sidecar = CalibrationSidecar(1, CALIBRATION.sha256, "2026-01-01T00:00:00", {}, path)
            save_calibration(folder / f"{role}.json", CALIBRATION, sidecar)
        (folder / "rig.toml").write_text(PROFILE.format(folder=folder))
        yield ArmsBench(process, folder)
    finally:
        process.communicate()  # closes its input


def _calibrate(path: str) -> None:
    clock = MonotonicClock()
    with ServoBus(ServoPort.open(path, clock), clock) as bus:
        for joint in CALIBRATION.joints:
            bus.write(joint.id, LOCK, 0)
            bus.write(joint.id, HOMING_OFFSET, joint.homing_offset)
            bus.write(joint.id, MIN_POSITION_LIMIT, joint.range_min)
            bus.write(joint.id, MAX_POSITION_LIMIT, joint.range_max)
            bus.write(joint.id, LOCK, 1)
