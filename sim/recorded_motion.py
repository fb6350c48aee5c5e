"""A person's motion for the leader's hand: from a CSV, or an episode of a LeRobot dataset.

CSV: a column `timestamp_s` (seconds, increasing) and six columns of what the leader did, either
`action.JOINT` in LeRobot's normalised units (-100..100 over each joint's calibrated range, gripper
0..100) or `JOINT_deg` in degrees (`gripper_pct` for the gripper). Dataset: the folder of a
LeRobotDataset v3.0, its `action` in degrees and gripper percent as LeRobot 0.6 records it;
`FOLDER#N` takes episode N.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot.errors import ConfigError
from robot.joints import JOINTS, FloatVector
from robot.kinematics import deg_to_model_rad
from sim.hands import RecordedHand

# Normalised 100 in degrees: half of each joint's nominal range (of an SO-101 calibrated by hand;
# within a few per cent).
NOMINAL_HALF_RANGE_DEG = np.array([110.0, 100.0, 96.8, 95.0, 180.0])

TIME_COLUMN = "timestamp_s"
ACTION_COLUMNS = tuple(f"action.{name}" for name in JOINTS)
DEGREE_COLUMNS = (*(f"{name}_deg" for name in JOINTS[:-1]), f"{JOINTS[-1]}_pct")


@dataclass(frozen=True, slots=True)
class Motion:
    """What a leader did: times from 0, shape (N,); degrees and gripper percent, shape (N, 6)."""

    times_s: FloatVector
    leader_deg: NDArray[np.float64]


def load_hand(source: str) -> RecordedHand:
    """Return a hand that repeats a recorded motion; raises ConfigError when the file is not one."""
    motion = load_motion(source)
    return RecordedHand(
        motion.times_s, np.array([deg_to_model_rad(row) for row in motion.leader_deg])
    )


def load_motion(source: str) -> Motion:
    """Read a motion from a CSV file or a dataset's folder (`FOLDER` or `FOLDER#N`).

    Raises:
        ConfigError: there is no such file, or it lacks columns, rows or numbers; says which.
    """
    name, _, number = source.partition("#")
    path = Path(name)
    if path.is_dir():
        if number and not number.isdigit():
            raise ConfigError(
                f"{source}: the episode after '#' must be a number, for example {name}#0"
            )
        motion = _read_dataset(path, int(number or 0))
    elif path.is_file():
        motion = _read_csv(path)
    else:
        raise ConfigError(
            f"there is no recording {source}; name a CSV file or a LeRobot dataset's folder "
            "(or none, sweep, demonstrator)"
        )
    if len(motion.times_s) < 2 or not np.all(np.diff(motion.times_s) > 0):
        raise ConfigError(
            f"{source}: a motion needs at least two rows with increasing times; record it again"
        )
    if not np.all(np.isfinite(motion.leader_deg)):
        raise ConfigError(
            f"{source}: a joint's value is not a number; repair that row or record it again"
        )
    return motion


def _read_csv(path: Path) -> Motion:
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            header = tuple(reader.fieldnames or ())
            columns = _columns_of(path, header)
            rows = [[float(row[column]) for column in (TIME_COLUMN, *columns)] for row in reader]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}; every value must be a number") from error
    except (OSError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as CSV: {error}") from error
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(JOINTS))
    scale = np.ones(len(JOINTS))
    if columns == ACTION_COLUMNS:
        scale[:-1] = NOMINAL_HALF_RANGE_DEG / 100.0  # the gripper is in percent in both units
    return Motion(table[:, 0] - (table[0, 0] if len(table) else 0.0), table[:, 1:] * scale)


def _columns_of(path: Path, header: tuple[str, ...]) -> tuple[str, ...]:
    if TIME_COLUMN in header:
        for columns in (ACTION_COLUMNS, DEGREE_COLUMNS):
            if all(column in header for column in columns):
                return columns
    raise ConfigError(
        f"{path} lacks columns: it needs {TIME_COLUMN} and either "
        f"{', '.join(ACTION_COLUMNS)} (normalised units) "
        f"or {', '.join(DEGREE_COLUMNS)}"
    )


def _read_dataset(path: Path, episode: int) -> Motion:
    from sim.dataset_file import read_actions  # here: pyarrow takes long to import

    info = path / "meta" / "info.json"
    try:
        names = json.loads(info.read_text())["features"]["action"]["names"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no LeRobot dataset (meta/info.json: {error}); name its root folder"
        ) from error
    if tuple(names) != tuple(f"{name}.pos" for name in JOINTS):
        raise ConfigError(
            f"{path} has the actions {names}, not those of an SO-101; use a dataset of this arm"
        )
    try:
        rows = read_actions(path, episode)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"a data file of {path} cannot be read ({error}); export it again"
        ) from error
    if rows is None:
        raise ConfigError(f"{path} has no episode {episode}; name another, for example {path}#0")
    return Motion(*rows)
