"""What can be refused before torch and LeRobot are loaded, which takes seconds: a wrong folder.

Standard library only. The command calls this first, and the trainer for who calls it directly.
"""

import json
from pathlib import Path
from typing import Any

from robot.errors import ConfigError

FORMAT = "v3."  # LeRobot 0.4 to 0.6 write v3.0


def refuse_unreadable(root: Path) -> None:
    """Check by hand what LeRobot would answer with a download; raises ConfigError."""
    info_file = root / "meta" / "info.json"
    try:
        info: dict[str, Any] = json.loads(info_file.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"no dataset at {root}: {info_file} does not exist; record one with so101 record, "
            "or name the folder that holds meta/, data/ and videos/"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {info_file}: {first_line(error)}; export the dataset again"
        ) from error
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if not isinstance(version, str) or not version.startswith(FORMAT):
        raise ConfigError(
            f"{info_file}: the dataset format is {version!r}, this program reads v3.0; "
            "convert it with LeRobot's convert_dataset_v21_to_v30"
        )
    if not info.get("total_episodes"):
        raise ConfigError(
            f"the dataset {root} has no finished episode; record at least one with so101 record"
        )


def refuse_used_output(output: Path) -> None:
    """Refuse to begin a run where another has left checkpoints; raises ConfigError."""
    if (output / "checkpoints").exists():
        raise ConfigError(
            f"{output} already holds checkpoints; name another --output, or go on with --resume"
        )


def first_line(error: BaseException) -> str:
    """Return what an error says on its first line, else its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
