"""Calibrations on disk: LeRobot's exact file, and a sibling that LeRobot never sees.

LeRobot 0.6 refuses a calibration file with any extra key, so date, spans and hash live in
`<id>.so101.json` beside it. Both are written to a temporary file, synced and renamed: a crash
leaves the old pair.
"""

import json
from pathlib import Path

import msgspec

from robot.errors import CalibrationMismatch, ConfigError, UnsupportedSchema
from robot.files import write_together
from robot.joints import JOINTS, Calibration, JointCalibration
from robot.rig import ArmProfile, RigProfile, lerobot_calibration_root

SIDECAR_SCHEMA = 1
LEROBOT_FOLDERS = {
    "follower": Path("robots/so_follower"),
    "leader": Path("teleoperators/so_leader"),
}


class CalibrationSidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What LeRobot's file has no room for."""

    schema: int
    sha256: str  # of the calibration, see Calibration.sha256
    made_utc: str
    span_deg: dict[str, float]  # swept by hand, per joint, degrees of the shaft
    port: str


def calibration_path(profile: ArmProfile, role: str) -> Path:
    """Return where the calibration of an arm lies; `role` is "leader" or "follower"."""
    if profile.calibration_dir:
        return Path(profile.calibration_dir) / f"{profile.id}.json"
    return lerobot_calibration_root() / LEROBOT_FOLDERS[role] / f"{profile.id}.json"


def load_calibration(path: Path) -> Calibration:
    """Read a LeRobot calibration file.

    Raises:
        ConfigError: missing or malformed; says what to do next.
    """
    try:
        table = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            f"no calibration at {path}: run './so101 calibrate' for this rig first"
        ) from error
    except (OSError, ValueError) as error:  # not JSON, or not text
        raise ConfigError(
            f"{path} cannot be read as a calibration ({error}): calibrate this arm again"
        ) from error
    try:
        joints = tuple(
            msgspec.convert(table[name], JointCalibrationFile).to_joint() for name in JOINTS
        )
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{path} is not a calibration of six joints ({error}): calibrate this arm again"
        ) from error
    return Calibration(joints)


def stored_calibration(profile: RigProfile, role: str) -> Calibration:
    """Load the calibration of a rig's "leader" or "follower".

    Raises:
        ConfigError: missing or malformed.
        CalibrationMismatch: the file is not the one that so101 calibrate wrote.
    """
    path = calibration_path(profile.leader if role == "leader" else profile.follower, role)
    calibration = load_calibration(path)
    sidecar = load_sidecar(path)
    if sidecar is not None and sidecar.sha256 != calibration.sha256:
        raise CalibrationMismatch(
            f"{path} was edited by hand or by another tool: calibrate again, "
            f"or delete {path.with_suffix('.so101.json')} to accept it"
        )
    return calibration


class JointCalibrationFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One joint as LeRobot writes it."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int

    def to_joint(self) -> JointCalibration:
        """Check and convert."""
        return JointCalibration(
            self.id, self.drive_mode, self.homing_offset, self.range_min, self.range_max
        )


def load_sidecar(path: Path) -> CalibrationSidecar | None:
    """Read the sibling of a calibration file; None when there is none, as LeRobot makes none."""
    sidecar = _sidecar_path(path)
    if not sidecar.exists():
        return None
    try:
        data = sidecar.read_bytes()
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
        if schema > SIDECAR_SCHEMA:
            raise UnsupportedSchema(
                f"{sidecar} (schema {schema}) was written by a newer version: update so101"
            )
        return msgspec.json.decode(data, type=CalibrationSidecar)
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise ConfigError(
            f"{sidecar} cannot be read as notes on a calibration ({error}): "
            "delete it, or calibrate this arm again"
        ) from error


class _SchemaOnly(msgspec.Struct):
    schema: int


def save_calibration(path: Path, calibration: Calibration, sidecar: CalibrationSidecar) -> None:
    """Write both files or neither, durably; raises StorageFull, ConfigError."""
    table = {
        name: {
            "id": joint.id,
            "drive_mode": joint.drive_mode,
            "homing_offset": joint.homing_offset,
            "range_min": joint.range_min,
            "range_max": joint.range_max,
        }
        for name, joint in zip(JOINTS, calibration.joints, strict=True)
    }
    files = {
        _sidecar_path(path): msgspec.json.format(msgspec.json.encode(sidecar), indent=4),
        path: json.dumps(table, indent=4).encode(),
    }
    write_together(files, name=f"the calibration {path}", elsewhere="name another calibration_dir")


def _sidecar_path(path: Path) -> Path:
    return path.with_suffix(".so101.json")
