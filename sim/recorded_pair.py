"""A person's motion in a file, and the one measure by which a follower's answer to it is judged.

The file is a CSV with `timestamp_s` and, for each joint, `action.<joint>` (what the leader read and
the follower was sent) and `state.<joint>` (what the follower read in the same iteration), in
LeRobot's normalised units: -100..100 over the calibrated range, gripper 0..100.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot.errors import ConfigError
from robot.joints import JOINTS, FloatVector

Samples = NDArray[np.float64]  # shape (N, 6), normalised units

MAX_DELAY_S = 0.3
DELAY_STEP_S = 0.001


@dataclass(frozen=True, slots=True)
class Recording:
    """One teleoperated motion; `times_s` of shape (N,) starts at 0."""

    name: str
    times_s: FloatVector
    action: Samples
    state: Samples


@dataclass(frozen=True, slots=True)
class Fit:
    """How a joint follows: the best constant delay, and what no delay explains."""

    delay_s: float
    residual: float  # root mean square after the delay, normalised units
    undelayed: float  # root mean square without any delay


def load_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        ConfigError: the file is missing, lacks a column, holds something that is not a number, or
            its times do not increase; names the column or the line.
    """
    columns = ["timestamp_s", *(f"{part}.{j}" for part in ("action", "state") for j in JOINTS)]
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(
                    f"{path} has no column {', '.join(missing)}; a recording has timestamp_s, "
                    "action.<joint> and state.<joint> of all six joints"
                )
            rows = [_numbers(path, reader.line_num, row, columns) for row in reader]
    except OSError as error:
        raise ConfigError(
            f"cannot read the recording {path}: {error.strerror}; name a CSV file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file; name a CSV file") from error
    table = np.array(rows)
    if len(rows) < 2 or table[-1, 0] - table[0, 0] < 2 * MAX_DELAY_S:
        raise ConfigError(f"{path} is shorter than {2 * MAX_DELAY_S} s; record a longer motion")
    backward = np.flatnonzero(np.diff(table[:, 0]) <= 0)
    if backward.size:
        raise ConfigError(f"{path}: timestamp_s does not increase at data row {backward[0] + 2}")
    times_s = table[:, 0] - table[0, 0]
    return Recording(path.stem, times_s, table[:, 1:7], table[:, 7:13])


def _numbers(path: Path, line: int, row: dict[str, str], columns: list[str]) -> list[float]:
    numbers: list[float] = []
    for name in columns:
        try:
            number = float(row[name])
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            raise ConfigError(f"{path}, line {line}: {name} is not a number ({row[name]!r})")
        numbers.append(number)
    return numbers


def fit_delay(runs: list[tuple[FloatVector, FloatVector, FloatVector]]) -> Fit:
    """Find the constant delay that explains most of a joint's state by its action.

    Args:
        runs: (times_s, action, state) of one joint in each recording, shape (N,) each; they are
            fitted together. The first `MAX_DELAY_S` of each is left out: what was sent before the
            file begins is unknown.
    """

    def residual(delay_s: float, start_s: float) -> float:
        errors = [
            (state - np.interp(times_s - delay_s, times_s, action))[times_s >= start_s]
            for times_s, action, state in runs
        ]
        return float(np.sqrt(np.mean(np.square(np.concatenate(errors)))))

    delays_s = np.arange(0.0, MAX_DELAY_S + DELAY_STEP_S / 2, DELAY_STEP_S)
    residuals = [residual(float(delay_s), MAX_DELAY_S) for delay_s in delays_s]
    best = int(np.argmin(residuals))
    return Fit(float(delays_s[best]), residuals[best], residual(0.0, 0.0))
