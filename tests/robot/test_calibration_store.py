import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from arm_bench import CALIBRATION
from draccus.utils import DecodingError
from lerobot.motors import MotorCalibration
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.teleoperators.so_leader import SO101Leader
from lerobot.utils.constants import HF_LEROBOT_CALIBRATION

from robot.calibration_store import (
    SIDECAR_SCHEMA,
    CalibrationSidecar,
    calibration_path,
    load_calibration,
    load_sidecar,
    save_calibration,
)
from robot.errors import ConfigError, UnsupportedSchema
from robot.joints import JOINTS
from robot.rig import ArmProfile

SIDECAR = CalibrationSidecar(
    SIDECAR_SCHEMA, CALIBRATION.sha256, "2026-01-01T00:00:00+00:00", {"gripper": 95.0}, "/dev/arm"
)
SIDECAR_NAME = "arm.so101.json"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "sub" / "arm.json"
    save_calibration(path, CALIBRATION, SIDECAR)
    return path


def lerobots_arm(path: Path) -> SO101Follower:
    """Give LeRobot's follower, which loads its calibration file when it is made."""
    config = SO101FollowerConfig(port="/dev/arm", id=path.stem, calibration_dir=path.parent)
    return SO101Follower(config)


def motor_calibrations() -> dict[str, MotorCalibration]:
    return {
        name: MotorCalibration(
            joint.id, joint.drive_mode, joint.homing_offset, joint.range_min, joint.range_max
        )
        for name, joint in zip(JOINTS, CALIBRATION.joints, strict=True)
    }


def test_what_was_saved_is_loaded_and_nothing_else_is_left(saved: Path) -> None:
    assert load_calibration(saved) == CALIBRATION
    assert load_sidecar(saved) == SIDECAR
    assert sorted(path.name for path in saved.parent.iterdir()) == ["arm.json", SIDECAR_NAME]


def test_lerobots_own_loader_reads_our_file(saved: Path) -> None:
    assert lerobots_arm(saved).calibration == motor_calibrations()


def test_we_read_the_file_that_lerobots_own_writer_makes(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    arm = lerobots_arm(path)
    arm.calibration = motor_calibrations()
    arm._save_calibration()

    assert load_calibration(path) == CALIBRATION
    assert load_sidecar(path) is None


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_calibration_lies_where_lerobot_looks_for_it(role: str) -> None:
    arm = {
        "leader": Path("teleoperators") / SO101Leader.name,
        "follower": Path("robots") / SO101Follower.name,
    }

    path = calibration_path(ArmProfile(port="/dev/arm", id="bench"), role)

    assert path == HF_LEROBOT_CALIBRATION / arm[role] / "bench.json"


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_profile_may_name_another_folder(role: str, tmp_path: Path) -> None:
    profile = ArmProfile(port="/dev/arm", id="bench", calibration_dir=str(tmp_path))

    assert calibration_path(profile, role) == tmp_path / "bench.json"


def test_a_key_that_lerobot_would_refuse_is_refused(saved: Path) -> None:
    table = msgspec.json.decode(saved.read_bytes())
    table["gripper"]["date"] = "today"
    saved.write_bytes(msgspec.json.encode(table))

    with pytest.raises(ConfigError, match=r"not a calibration of six joints.*`date`"):
        load_calibration(saved)
    with pytest.raises(DecodingError):
        lerobots_arm(saved)


def test_a_sidecar_of_a_newer_version_is_refused_whatever_it_holds(saved: Path) -> None:
    table = {"schema": SIDECAR_SCHEMA + 1, "new": True}
    saved.with_name(SIDECAR_NAME).write_bytes(msgspec.json.encode(table))

    with pytest.raises(UnsupportedSchema, match="newer version: update so101"):
        load_sidecar(saved)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 1}', '{"schema": "one"}'])
def test_a_malformed_sidecar_is_refused(saved: Path, text: str) -> None:
    saved.with_name(SIDECAR_NAME).write_text(text)

    with pytest.raises(ConfigError, match=rf"{SIDECAR_NAME} .*calibrate this arm again"):
        load_sidecar(saved)


SAVE_AS_NOBODY = """
import os, sys
from pathlib import Path
from robot.calibration_store import CalibrationSidecar, load_calibration, save_calibration
from robot.errors import ConfigError
good, target = map(Path, sys.argv[1:])
calibration = load_calibration(good)
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
try:
    save_calibration(target, calibration, CalibrationSidecar(1, calibration.sha256, "", {}, ""))
except ConfigError as error:
    print(error)
"""


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """Give a folder that anybody may enter and nobody but root may write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("below", ["", "sub"])
def test_a_folder_that_may_not_be_written_is_a_sentence_and_stays_as_it_was(
    below: str, saved: Path, locked_folder: Path
) -> None:
    before = stat.S_IMODE(locked_folder.stat().st_mode)
    target = locked_folder / below / "arm.json"
    done = subprocess.run(
        [sys.executable, "-c", SAVE_AS_NOBODY, str(saved), str(target)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=30.0,
        check=False,
    )

    assert done.stderr == ""
    assert str(target) in done.stdout
    assert "Permission denied" in done.stdout
    assert stat.S_IMODE(locked_folder.stat().st_mode) == before
    assert list(locked_folder.iterdir()) == []
