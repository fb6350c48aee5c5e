"""Find out before the work, not after it, that its result cannot be written."""

import os
from pathlib import Path

from robot.errors import ConfigError


def refuse_unwritable(path: Path, option: str) -> None:
    """Refuse a file or folder that could not be made; makes nothing itself.

    Raises:
        ConfigError: names the option and what stands in the way.
    """
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if existing != path and not existing.is_dir():
        raise ConfigError(f"{option} {path}: {existing} is a file; name another place")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"{option} {path}: you may not write to {existing}; name another place")
