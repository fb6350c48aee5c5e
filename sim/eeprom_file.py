"""The servos' EEPROM on disk, so that a calibrated twin stays calibrated when its process ends.

A JSON file with a schema: arm name to hexadecimal text of that arm's image. Replaced in one step; a
half-written file cannot occur. A twin of another seed has other servos (other horn mountings), so
the seed is kept with the images.
"""

from pathlib import Path

import msgspec

from robot.errors import ConfigError, UnsupportedSchema
from robot.files import write_whole

SCHEMA = 1


class EepromFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is on disk."""

    schema: int
    seed: int
    arms: dict[str, str]


def load_eeproms(path: Path, seed: int) -> dict[str, bytes]:
    """Return the images by arm; none when there is no file yet, or it is of another seed.

    Raises:
        UnsupportedSchema: written by a newer version.
        ConfigError: not such a file.
    """
    if not path.exists():
        return {}
    remedy = "delete it to get factory-new servos, then calibrate again"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=EepromFile)
        if found.schema > SCHEMA:
            raise UnsupportedSchema(
                f"{path} has schema {found.schema}, this version reads up to {SCHEMA}; {remedy}"
            )
        arms = {name: bytes.fromhex(text) for name, text in found.arms.items()}
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise ConfigError(f"{path} does not hold the twin's EEPROM ({error}); {remedy}") from error
    return arms if found.seed == seed else {}


def save_eeproms(path: Path, seed: int, arms: dict[str, bytes]) -> None:
    """Write the images, whole or not at all; raises StorageFull, ConfigError."""
    content = EepromFile(SCHEMA, seed, {name: image.hex() for name, image in sorted(arms.items())})
    write_whole(
        path,
        msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n",
        name=f"the twin's EEPROM {path}",
        elsewhere="correct `eeprom_file` in the profile, then calibrate again",
    )
