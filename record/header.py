"""The head of a journal: which arm, which software, which task, and whose clock."""

import importlib.metadata
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from robot.errors import ConfigError, UnsupportedSchema
from robot.joints import JOINTS

SCHEMA = 1
METADATA_NAME = "so101"
CLOCK_NAME = "so101.clock"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux; other systems have none
_PACKAGES = ("so101-stack", "lerobot", "mujoco", "feetech-servo-sdk", "pyserial", "numpy", "mcap")


class CameraHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera as it was asked to deliver."""

    width: int
    height: int
    fps: int


class JournalHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that holds for a whole episode; strings are kept as they are, everything else as JSON."""

    schema: int = SCHEMA
    episode: int
    task: str
    rig_name: str
    rig_toml: str  # the profile's text
    robot_type: str = "so_follower"  # LeRobot's name of this arm
    joints: tuple[str, ...] = JOINTS
    control_rate_hz: float
    cameras: dict[str, CameraHeader] = {}
    calibration_sha256: dict[str, str] = {}  # by arm: follower, leader
    gains: dict[str, list[int]] = {}  # register name → value of each of the six servos
    software: dict[str, str] = {}
    boot_id: str = ""
    started_s: float = 0.0  # monotonic clock, at the same moment as
    started_utc: str = ""  # ISO 8601
    seed: int | None = None  # of the twin's task, None on a real arm
    task_start: str = ""  # JSON of the twin's start, empty on a real arm


def software_versions() -> dict[str, str]:
    """Return versions of Python, the system and the main packages as far as installed."""
    versions = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def boot_id() -> str:
    """Identify this boot: monotonic times compare only within one; empty where unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def utc_now() -> str:
    """Return wall-clock time in ISO 8601; for metadata only."""
    return datetime.now(UTC).isoformat()


def header_to_metadata(header: JournalHeader) -> dict[str, str]:
    """Flatten a header into the string map that MCAP keeps."""
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in (
            (field.name, getattr(header, field.name)) for field in msgspec.structs.fields(header)
        )
    }


def header_from_metadata(metadata: dict[str, str], path: Path) -> JournalHeader:
    """Read a header back.

    Raises:
        UnsupportedSchema: written by a newer version, or with keys this one does not know.
        ConfigError: a value is missing or malformed.
    """
    fields = {field.name: field for field in msgspec.structs.fields(JournalHeader)}
    try:
        schema = int(metadata.get("schema", ""))
    except ValueError as error:
        raise ConfigError(
            f"{path}: the journal's header has no schema number; it is not a journal of so101"
        ) from error
    unknown = sorted(set(metadata) - set(fields))
    if schema > SCHEMA or unknown:
        what = f"schema {schema}" if schema > SCHEMA else f"the unknown key {unknown[0]!r}"
        raise UnsupportedSchema(
            f"{path}: the journal has {what}; this version reads up to schema {SCHEMA}: "
            "update so101"
        )
    try:
        values = {
            name: text if fields[name].type is str else msgspec.json.decode(text.encode())
            for name, text in metadata.items()
        }
        return msgspec.convert(values, JournalHeader)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: the journal's header is damaged: {error}") from error
