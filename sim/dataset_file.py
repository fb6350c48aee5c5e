"""Rows of a LeRobot dataset's parquet files: the only importer of pyarrow in this room.

A module of its own because pyarrow takes as long to import as the rest of a twin.
"""

# pyright: basic
# pyarrow ships no types; nothing but arrays leaves this module.

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def read_actions(root: Path, episode: int) -> tuple[Rows, Rows] | None:
    """Return an episode's time stamps, shape (N,), and actions, shape (N, 6); None when not there.

    Raises:
        OSError: a file cannot be read.
        ValueError, KeyError: it is no parquet file, or lacks a column.
    """
    for file in sorted(root.glob("data/*/*.parquet")):
        table = parquet.read_table(file, columns=["action", "timestamp", "episode_index"])
        mine = np.asarray(table["episode_index"]) == episode
        if mine.any():
            times_s = np.asarray(table["timestamp"], dtype=np.float64)[mine]
            return times_s, np.array(table["action"].to_pylist(), dtype=np.float64)[mine]
    return None
