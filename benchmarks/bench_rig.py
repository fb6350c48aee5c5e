"""The rig of all measurements: one calibration in both arms' servos, in LeRobot's file format.

Both contestants read the same files, and both find the servos' EEPROM to agree with them, so that
neither asks a person anything.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from robot.joints import JOINTS, SERVO_IDS

HOMING_OFFSET_TICKS = 0
# Within the model's ranges; the wrist roll turns all the way, as LeRobot's calibration leaves it.
RANGE_TICKS = dict.fromkeys(JOINTS, (1000, 3000)) | {"wrist_roll": (0, 4095)}
MIDDLE_TICKS = [sum(RANGE_TICKS[name]) // 2 for name in JOINTS]

LEADER_ID, FOLLOWER_ID = "bench_leader", "bench_follower"
CAMERAS = ("wrist", "front")
WIDTH, HEIGHT, FPS = 640, 480, 30


def write_calibrations(folder: Path) -> None:
    """Write the two files."""
    entries = {
        name: {
            "id": servo_id,
            "drive_mode": 0,
            "homing_offset": HOMING_OFFSET_TICKS,
            "range_min": RANGE_TICKS[name][0],
            "range_max": RANGE_TICKS[name][1],
        }
        for servo_id, name in zip(SERVO_IDS, JOINTS, strict=True)
    }
    for arm in (LEADER_ID, FOLLOWER_ID):
        (folder / f"{arm}.json").write_text(json.dumps(entries, indent=4))


def write_profile(
    path: Path, leader: str, follower: str, cameras: Mapping[str, str], rate_hz: float
) -> None:
    """Write this project's rig profile of the emulated arms.

    Args:
        path: of the TOML file; the calibrations lie beside it.
        leader: the leader's serial device.
        follower: the follower's.
        cameras: the address of each camera's stream.
        rate_hz: of the control loop.
    """
    lines = [
        "schema = 1",
        'name = "bench"',
        f"control_rate_hz = {rate_hz}",
        "max_speed_deg_s = 270.0",
    ]
    for role, port, arm in (("leader", leader, LEADER_ID), ("follower", follower, FOLLOWER_ID)):
        lines += [
            f"[{role}]",
            f'port = "{port}"',
            f'id = "{arm}"',
            f'calibration_dir = "{path.parent}"',
        ]
    for name, address in cameras.items():
        lines += [
            f"[cameras.{name}]",
            f'address = "{address}"',
            f"width = {WIDTH}",
            f"height = {HEIGHT}",
            f"fps = {FPS}",
        ]
    path.write_text("\n".join(lines) + "\n")
