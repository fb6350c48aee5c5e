"""A rig profile: which arms and cameras stand on one table, as a TOML file with a schema.

Addresses are strings: a serial path (`/dev/serial/by-id/...`), a camera path (`/dev/v4l/by-
path/...`), a stream (`http://...`), or `twin:NAME`, which `devices` looks up in the manifest of a
running twin. No code but `devices` asks which kind an address is.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from robot.errors import ConfigError, UnsupportedSchema

SCHEMA = 1

# Names become file names, run folders and keys of the dataset: letters, digits, _ - . alone.
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
Pixels = Annotated[int, msgspec.Meta(ge=16, le=8192)]
FramesPerSecond = Annotated[int, msgspec.Meta(ge=1, le=240)]
Degrees = Annotated[float, msgspec.Meta(ge=-180.0, le=180.0)]


class ArmProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One arm: where its bus is, and the id under which its calibration is stored."""

    port: Annotated[str, msgspec.Meta(min_length=1)]
    id: Name
    # Folder of `<id>.json`; empty: LeRobot's own place, so that LeRobot's commands find it.
    calibration_dir: str = ""


class CameraProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera: address, the size and rate to ask for, and how it is mounted."""

    address: str
    width: Pixels = 640
    height: Pixels = 480
    fps: FramesPerSecond = 30
    rotation_deg: Literal[0, 180] = 0


class TwinProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the digital twin behind `twin:` addresses is made of; absent for a real rig."""

    seed: int = 0
    task: str = "pick_red"
    eeprom_file: str = (
        ""  # where the servos' EEPROM outlives the process; empty: factory values each time
    )


class RigProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole rig."""

    schema: Annotated[int, msgspec.Meta(ge=1)]
    name: Name
    leader: ArmProfile
    follower: ArmProfile
    cameras: dict[Name, CameraProfile] = {}
    control_rate_hz: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 100.0
    dataset_fps: FramesPerSecond = 30
    # Default: no-load speed of the servo, so that nothing asks for more.
    max_speed_deg_s: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 270.0
    # Height of the table over the plane that the follower's foot stands on; no goal goes far below.
    # Absent: goals may go anywhere the joints can.
    table_height_m: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)] | None = None
    # Where the arm walks to after a stop, the five joints before the gripper, which keeps what it
    # holds. Absent: folded up.
    rest_deg: tuple[Degrees, Degrees, Degrees, Degrees, Degrees] | None = None
    twin: TwinProfile | None = None


def load_rig(path: Path) -> RigProfile:
    """Read a profile.

    Raises:
        ConfigError: the file is missing, is not TOML, or a value is wrong; names the key and the
        line. UnsupportedSchema: written by a newer version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not a text file; "
            "name a rig profile with --rig, for example configs/twin.toml"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read the rig profile {path}: {error.strerror}; "
            "name one with --rig, for example configs/twin.toml"
        ) from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; mend that line") from error
    schema = table.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        line = _line_of(text, "schema")
        raise UnsupportedSchema(
            f"{path}, line {line}: schema {schema} was written by a newer version "
            f"(this one reads up to {SCHEMA}); update so101"
        )
    try:
        profile = msgspec.convert(table, RigProfile)
    except msgspec.ValidationError as error:
        where = f", line {_line_of(text, _faulty_key(str(error)))}"
        raise ConfigError(
            f"{path}{where}: {error}; mend the profile (configs/twin.toml shows every key)"
        ) from error
    if profile.leader.port == profile.follower.port:
        raise ConfigError(
            f"{path}, line {_line_of(text, 'port')}: leader and follower have the same port "
            f"{profile.leader.port}; mend the profile: each arm has its own USB adapter"
        )
    return profile


def _faulty_key(message: str) -> str:
    """Return the key that a msgspec message is about.

    That is the unknown field it names, else the end of its path.
    """
    unknown = re.search(r"unknown field `(\w+)`", message)
    path = re.search(r"`\$([^`]*)`", message)
    if unknown:
        return unknown.group(1)
    keys = re.findall(r"[A-Za-z_][\w-]*", path.group(1)) if path else []
    return keys[-1] if keys else "schema"


def _line_of(text: str, key: str) -> int:
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"\s*\[?[\w.]*\b{re.escape(key)}\b", line):
            return number
    return 1


def lerobot_calibration_root() -> Path:
    """Return where LeRobot 0.6 keeps calibrations, by its own environment variables."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    lerobot_home = Path(os.environ.get("HF_LEROBOT_HOME", home / "lerobot")).expanduser()
    return Path(os.environ.get("HF_LEROBOT_CALIBRATION", lerobot_home / "calibration")).expanduser()
