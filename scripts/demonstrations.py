"""Where the blocks stood in the training episodes: what an evaluation keeps away from."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from record.journal import list_journals
from record.journal_reader import read_journal
from robot.errors import ConfigError
from robot.joints import FloatVector
from sim.tasks.pick_red import TaskStart


@dataclass(frozen=True)
class Demonstration:
    """A training episode and where its red block stood."""

    journal: Path
    start: TaskStart

    @property
    def red_m(self) -> FloatVector:
        """Where the red block stood, shape (2,)."""
        return red_position_m(self.start)


def read_demonstrations(folder: Path) -> tuple[Demonstration, ...]:
    """Return the training episodes below a folder of journals, with their starts.

    Raises:
        ConfigError: no journal, or one that does not say where the blocks stood.
    """
    found: list[Demonstration] = []
    journals = (
        folder / "journals" if (folder / "journals").is_dir() else folder
    )  # so101 record's own layout
    if not journals.is_dir():
        raise ConfigError(
            f"there is no folder {journals}; name the folder that so101 record wrote to"
        )
    for path in list_journals(journals):
        header = read_journal(path).header
        if not header.task_start:
            raise ConfigError(
                f"{path} does not say where the blocks stood, so nearness to it cannot be judged; "
                "name a folder of journals recorded on the twin"
            )
        try:
            found.append(
                Demonstration(path, msgspec.json.decode(header.task_start, type=TaskStart))
            )
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{path}: its start is damaged or of another task: {error}; leave it out"
            ) from error
    if not found:
        raise ConfigError(
            f"there is no finished journal in {journals}; name the folder that so101 record wrote "
            "to"
        )
    return tuple(found)


def red_position_m(start: TaskStart) -> FloatVector:
    """Return where the red block stands, shape (2,), base frame."""
    return np.array([start.red.x_m, start.red.y_m])


def start_numbers(start: TaskStart) -> dict[str, float]:
    """Return the numbers of a start that the task's difficulty depends on."""
    numbers = {"red_x_m": start.red.x_m, "red_y_m": start.red.y_m, "red_yaw_rad": start.red.yaw_rad}
    for block in start.others:
        numbers[f"{block.colour}_x_m"] = block.x_m
        numbers[f"{block.colour}_y_m"] = block.y_m
    return numbers
