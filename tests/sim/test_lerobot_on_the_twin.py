"""Unmodified LeRobot on the twin: arms and cameras connect, read, move and disconnect.

The only module that imports lerobot for this: it takes seconds.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lerobot.cameras.zmq import ZMQCameraConfig
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.teleoperators.so_leader import SO101Leader, SO101LeaderConfig

from robot.bus import ServoBus
from robot.clock import MonotonicClock
from robot.joints import JOINTS, SERVO_IDS
from robot.port import ServoPort
from robot.registers import (
    HOMING_OFFSET,
    LOCK,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    PRESENT_POSITION,
    TORQUE_ENABLE,
)
from robot.run_folder import TwinManifest, read_manifest
from sim.twin_control import connect_control

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(180)]

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CLOCK = MonotonicClock()
RANGE_TICKS = dict.fromkeys(JOINTS, (800, 3300)) | {"wrist_roll": (0, 4095)}

PROFILE = """
schema = 1
name = "lerobot"
leader = { port = "twin:leader", id = "my_leader" }
follower = { port = "twin:follower", id = "my_follower" }
[cameras.wrist]
address = "twin:wrist"
width = 320
height = 240
[cameras.front]
address = "twin:front"
width = 160
height = 120
[twin]
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwinManifest]:
    rig = tmp_path_factory.mktemp("rig") / "rig.toml"
    rig.write_text(PROFILE)
    runtime = Path(tempfile.mkdtemp(prefix="so101r-"))
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "scripts",
            "twin",
            "--json",
            "--until-stdin-closes",
            "--rig",
            str(rig),
        ],
        cwd=CHECKOUT,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0], "the twin says nothing"
        assert process.stdout.readline()
        yield read_manifest(runtime / "so101" / f"lerobot-{process.pid}" / "manifest.json")
        process.stdin.close()
        assert process.wait(10) == 0
    shutil.rmtree(runtime)


def calibrate(port: str, file: Path) -> None:
    """Make the present pose each range's middle, in the servos and in LeRobot's file."""
    entries: dict[str, dict[str, int]] = {}
    with ServoBus(ServoPort.open(port, CLOCK), CLOCK) as bus:
        bus.port.margin_s = 0.3
        for servo_id, name in zip(SERVO_IDS, JOINTS, strict=True):
            low, high = RANGE_TICKS[name]
            bus.write(servo_id, LOCK, 0)
            bus.write(servo_id, HOMING_OFFSET, 0)
            offset = bus.read(servo_id, PRESENT_POSITION) - (low + high) // 2
            for register, value in (
                (HOMING_OFFSET, offset),
                (MIN_POSITION_LIMIT, low),
                (MAX_POSITION_LIMIT, high),
            ):
                bus.write(servo_id, register, value)
                assert bus.read(servo_id, register) == value
            entries[name] = {
                "id": servo_id,
                "drive_mode": 0,
                "homing_offset": offset,
                "range_min": low,
                "range_max": high,
            }
    file.write_text(json.dumps(entries, indent=4))


def torque_of(port: str) -> list[int]:
    with ServoBus(ServoPort.open(port, CLOCK), CLOCK) as bus:
        bus.port.margin_s = 0.3
        return [bus.read(servo_id, TORQUE_ENABLE) for servo_id in SERVO_IDS]


def test_lerobots_own_classes_teleoperate_the_twin(manifest: TwinManifest, tmp_path: Path) -> None:
    control = connect_control(manifest.control)
    control.reset(0)  # both arms in the same pose, held
    calibrate(manifest.leader.port, tmp_path / "my_leader.json")
    calibrate(manifest.follower.port, tmp_path / "my_follower.json")
    cameras = {
        name: ZMQCameraConfig(
            server_address=entry.zmq.server_address,
            port=entry.zmq.port,
            camera_name=entry.zmq.camera_name,
            width=entry.width,
            height=entry.height,
            fps=entry.fps,
        )
        for name, entry in manifest.cameras.items()
    }
    leader = SO101Leader(
        SO101LeaderConfig(port=manifest.leader.port, id="my_leader", calibration_dir=tmp_path)
    )
    follower = SO101Follower(
        SO101FollowerConfig(
            port=manifest.follower.port,
            id="my_follower",
            calibration_dir=tmp_path,
            cameras=dict(cameras),
        )
    )
    leader.connect()
    follower.connect()
    assert leader.is_calibrated
    assert follower.is_calibrated
    first = follower.get_observation()
    control.set_hand("leader", "sweep")
    action = leader.get_action()
    end_s = time.monotonic() + 2.0
    while time.monotonic() < end_s:
        action = leader.get_action()
        follower.send_action(action)
        time.sleep(0.03)
    last = follower.get_observation()
    follower.disconnect()
    leader.disconnect()
    control.close()

    assert first["wrist"].shape == (240, 320, 3)
    assert first["front"].shape == (120, 160, 3)
    assert np.std(first["front"]) > 5  # a picture of something
    assert np.any(first["wrist"] != last["wrist"])
    joints = [f"{name}.pos" for name in JOINTS]
    assert abs(last["shoulder_lift.pos"] - first["shoulder_lift.pos"]) > 20
    assert [last[joint] for joint in joints] == pytest.approx(
        [action[joint] for joint in joints], abs=15
    )
    assert torque_of(manifest.follower.port) == [0] * 6
