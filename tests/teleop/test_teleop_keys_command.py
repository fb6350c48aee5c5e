"""`so101 teleop --keys`: real keys, the real command, an emulated follower on a pty."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from xvfb_desktop import Desktop

from calibration.sweep import store_in_servos
from robot.bus import ServoBus
from robot.calibration_store import CalibrationSidecar, save_calibration
from robot.clock import MonotonicClock
from robot.joints import SERVO_IDS, Calibration, JointCalibration
from robot.port import ServoPort
from robot.registers import PRESENT_POSITION, TORQUE_ENABLE, Register

CHECKOUT = Path(__file__).resolve().parents[2]
WRIST_ROLL, GRIPPER = 5, 6  # servo ids; neither falls when torque goes off


def rig_text(leader_port: str, follower_port: str, folder: Path) -> str:
    arms = {"leader": leader_port, "follower": follower_port}
    tables = [
        f'[{arm}]\nport = "{port}"\nid = "{arm}"\ncalibration_dir = "{folder}"'
        for arm, port in arms.items()
    ]
    return "\n".join(['schema = 1\nname = "keys"', *tables, ""])


def read_all(port: str, register: Register) -> list[int]:
    clock = MonotonicClock()
    with ServoBus(ServoPort.open(port, clock), clock) as bus:
        return [bus.read(servo_id, register) for servo_id in SERVO_IDS]


def calibrate(port: str, path: Path) -> None:
    """Make each joint's present position the middle of a wide range."""
    present = read_all(port, PRESENT_POSITION)
    joints = tuple(
        JointCalibration(servo_id, 0, max(-2047, ticks - 2048), 1048, 3048)
        for servo_id, ticks in zip(SERVO_IDS, present, strict=True)
    )
    clock = MonotonicClock()
    with ServoBus(ServoPort.open(port, clock), clock) as bus:
        store_in_servos(bus, Calibration(joints))
    sidecar = CalibrationSidecar(1, Calibration(joints).sha256, "", {}, port)
    save_calibration(path, Calibration(joints), sidecar)


@pytest.fixture
def arms(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Run a twin; gives the profile of its two arms, and the follower's port."""
    twin = tmp_path / "twin.toml"
    twin.write_text(rig_text("twin:leader", "twin:follower", tmp_path) + "[twin]\nseed = 0\n")
    command = [sys.executable, "-m", "scripts", "twin", "--rig", str(twin), "--json"]
    with subprocess.Popen(
        [*command, "--until-stdin-closes"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            addresses = json.loads(process.stdout.readline())
            ports = {arm: addresses[arm]["port"] for arm in ("leader", "follower")}
            for arm, port in ports.items():
                calibrate(port, tmp_path / f"{arm}.json")
            rig = tmp_path / "rig.toml"
            rig.write_text(rig_text(ports["leader"], ports["follower"], tmp_path))
            yield rig, ports["follower"]
        finally:
            process.terminate()
            process.wait(10.0)


@pytest.mark.realtime
@pytest.mark.parametrize(("keys", "code"), [(("q",), 0), (("Shift_L", "1"), 130)])
def test_keys_move_the_follower_and_a_key_leaves_it_without_torque(
    desktop: Desktop, arms: tuple[Path, str], keys: tuple[str, ...], code: int
) -> None:
    """Esc or q walk to rest, where the gripper stays as it is; ! lets go where the arm is."""
    rig, port = arms
    before = read_all(port, PRESENT_POSITION)
    environment = {**os.environ, "DISPLAY": desktop.name, "PYTHONUNBUFFERED": "1"}
    environment.pop("WAYLAND_DISPLAY", None)
    with subprocess.Popen(
        [sys.executable, "-m", "scripts", "teleop", "--keys", "--rig", str(rig)],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            while "keys live" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            with desktop.hold("o", "v"):  # roll right, open
                time.sleep(1.0)
            with desktop.hold(*keys):
                time.sleep(0.05)
            rest, errors = process.communicate(timeout=20.0)
        finally:
            process.kill()
    moved = [b - a for a, b in zip(before, read_all(port, PRESENT_POSITION), strict=True)]

    assert process.returncode == code, errors
    assert "follower torque: off (read back)" in rest
    assert read_all(port, TORQUE_ENABLE) == [0] * 6
    if code:
        assert abs(moved[WRIST_ROLL - 1]) > 200  # 60 degrees a second, 11 ticks a degree
    assert moved[GRIPPER - 1] > 200  # 80 percent a second of 2000 ticks
