"""The instruction a policy is run with: the one it was trained on, unless somebody names another.

A policy that reads its instruction does something else, or nothing, with an empty one.
"""

from pathlib import Path
from typing import Final

import msgspec

from deploy.checkpoint import Checkpoint
from deploy.sidecar import read_json
from record.dataset_format import TASKS_PATH
from record.tables import read_rows
from robot.errors import ConfigError

TRAINING: Final = "so101_training.json"  # beside the weights, when this project trained them


class _Training(msgspec.Struct):
    tasks: list[str] = []


def choose_instruction(named: str, checkpoint: Checkpoint, dataset_root: Path | None) -> str:
    """Return the instruction named, else the only one of the training data; empty: none is known.

    Raises:
        ConfigError: the data has several, or its files are damaged.
    """
    if named:
        return named
    known = _trained_tasks(checkpoint, dataset_root)
    if len(known) > 1:
        raise ConfigError(
            f"{checkpoint.path} was trained on {len(known)} tasks: name one with --task, of "
            + ", ".join(f"'{task}'" for task in known)
        )
    return known[0] if known else ""


def _trained_tasks(checkpoint: Checkpoint, dataset_root: Path | None) -> list[str]:
    training = checkpoint.path / TRAINING
    tasks = read_json(training, _Training).tasks if training.is_file() else []
    roots = [dataset_root, Path(checkpoint.dataset) if checkpoint.dataset else None]
    for root in roots:
        if not tasks and root is not None and (root / TASKS_PATH).is_file():
            tasks = _dataset_tasks(root / TASKS_PATH)
    return sorted({task for task in tasks if task})


def _dataset_tasks(path: Path) -> list[str]:
    """Return the tasks of a dataset; LeRobot's own writer leaves the column's name to pandas."""
    try:
        rows = read_rows(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise ConfigError(
            f"{path} cannot be read: {error}; copy the dataset again, or name the --task"
        ) from error
    texts = [row.get("task", row.get("__index_level_0__")) for row in rows]
    return [text for text in texts if isinstance(text, str)]
