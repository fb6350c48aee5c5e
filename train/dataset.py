"""A LeRobotDataset v3.0 on disk as arrays: joints, goals, episodes, and where the images lie.

LeRobot's own metadata class does the reading; what is added here is that a missing or damaged
dataset ends in one clear sentence instead of an attempt to download it, and one content hash for
the cache and the checkpoint.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot.datasets import LeRobotDatasetMetadata
from numpy.typing import NDArray

from robot.errors import ConfigError
from train.inputs import first_line, refuse_unreadable

STATE = "observation.state"
ACTION = "action"

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class Episode:
    """Rows [start, stop) of the dataset, and for each camera its video file and begin in it."""

    start: int
    stop: int
    task: str
    videos: dict[str, tuple[Path, float]]


@dataclass(frozen=True)
class Dataset:
    """One dataset: N rows of joints and goals, its episodes, its cameras (sorted feature names)."""

    root: Path
    meta: LeRobotDatasetMetadata
    state: FloatArray
    action: FloatArray
    episodes: tuple[Episode, ...]
    cameras: tuple[str, ...]
    sha256: str

    @property
    def fps(self) -> int:
        """Rows a second."""
        return int(self.meta.fps)


def open_dataset(root: Path) -> Dataset:
    """Read everything but the images.

    Raises:
        ConfigError: no dataset at `root`, damaged, or of another format; says what to do.
    """
    refuse_unreadable(root)
    try:
        meta = LeRobotDatasetMetadata(f"local/{root.resolve().name}", root=root)
        for key in (STATE, ACTION):
            if key not in meta.features:
                raise ConfigError(f"the dataset {root} has no {key}; record it with so101 record")
        episodes = _episodes(meta, root)
        rows = _rows(meta, root)
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise ConfigError(
            f"the dataset {root} is damaged ({type(error).__name__}: {first_line(error)}); "
            "export it again from its journals with so101 export"
        ) from error
    state, action, counted = rows
    if counted != [episode.stop - episode.start for episode in episodes]:
        raise ConfigError(
            f"the dataset {root} is damaged: its rows do not match the lengths in meta/episodes; "
            "export it again from its journals with so101 export"
        )
    if not (np.isfinite(state).all() and np.isfinite(action).all()):
        raise ConfigError(
            f"the dataset {root} holds joint values that are not numbers; record it again"
        )
    return Dataset(
        root=root,
        meta=meta,
        state=state,
        action=action,
        episodes=episodes,
        cameras=tuple(sorted(meta.camera_keys)),
        sha256=_content_hash(root),
    )


def _episodes(meta: LeRobotDatasetMetadata, root: Path) -> tuple[Episode, ...]:
    episodes = []
    table = meta.episodes
    for row in table.to_list() if table is not None else []:
        videos = {}
        for key in meta.video_keys:
            path = root / meta.get_video_file_path(row["episode_index"], key)
            videos[key] = (path, float(row[f"videos/{key}/from_timestamp"]))
        tasks = row["tasks"]
        episodes.append(
            Episode(
                start=int(row["dataset_from_index"]),
                stop=int(row["dataset_to_index"]),
                task=str(tasks[0]) if tasks else "",
                videos=videos,
            )
        )
    return tuple(episodes)


def data_files(meta: LeRobotDatasetMetadata, root: Path) -> list[Path]:
    """Return the parquet files of the rows, in order, each once."""
    paths = (root / meta.get_data_file_path(index) for index in range(meta.total_episodes))
    return list(dict.fromkeys(paths))


def _rows(meta: LeRobotDatasetMetadata, root: Path) -> tuple[FloatArray, FloatArray, list[int]]:
    """Return all states, all actions, and each episode's number of rows as found in the files."""
    files = data_files(meta, root)
    table = pa.concat_tables(
        pq.read_table(path, columns=[STATE, ACTION, "episode_index"]) for path in files
    )
    _, lengths = np.unique(table["episode_index"].to_numpy(), return_counts=True)
    return _matrix(table[STATE]), _matrix(table[ACTION]), [int(length) for length in lengths]


def _matrix(column: pa.ChunkedArray) -> FloatArray:
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat.reshape(len(column), -1), dtype=np.float32)


def _content_hash(root: Path) -> str:
    """Hash names and contents of every file the training depends on."""
    digest = hashlib.sha256()
    for folder in ("meta", "data", "videos"):
        for path in sorted(p for p in (root / folder).rglob("*") if p.is_file()):
            digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
