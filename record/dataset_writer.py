"""A LeRobotDataset v3.0 that grows by whole episodes.

LeRobot's writer keeps Parquet footers and episode metadata in memory until the session ends: a
crash loses everything. Here each episode is its own files, each written beside, synced and renamed,
and `meta/info.json` is renamed last: it is the commit. What a killed export left beyond the last
committed episode is removed when the dataset is opened next.

`so101/` in the dataset's root is ours: the journal behind each episode, its calibration hash and
task start, the asked goals and the time of every row. LeRobot ignores it and uploads it with the
rest.
"""

import shutil
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from record.dataset_format import (
    IMAGE_PREFIX,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    DatasetInfo,
    Place,
    describe_difference,
    make_features,
    stats_to_plain,
    video_keys,
)
from record.episode_encoder import EncodedEpisode
from record.feature_stats import NAMES, Stats, aggregate, number_stats
from record.tables import columns_parquet, read_rows, row_parquet, rows_parquet, tasks_parquet
from record.video import Encoder
from robot.errors import ConfigError, UnsupportedSchema
from robot.files import move_whole, write_whole

SIDECAR_SCHEMA = 1
_MARKER = Path("so101/dataset.json")


class Marker(msgspec.Struct, forbid_unknown_fields=True):
    """`so101/dataset.json`: says that this folder is ours to append to."""

    schema: int
    repo_id: str


class EpisodeSidecar(msgspec.Struct):
    """`so101/episodes/episode_000000.json`, the part read back."""

    identity: str
    journal: str


class DatasetWriter:
    """Appends episodes to a dataset, new or existing."""

    def __init__(self, root: Path, repo_id: str) -> None:
        """Open or begin the dataset; removes what an interrupted export left."""
        self.root = root
        self._repo_id = repo_id
        self._info: DatasetInfo | None = None
        self._tasks: list[str] = []
        self._stats: dict[str, Stats] = {}
        self._last: Place | None = None
        self._identities: set[str] = set()
        if root.exists() and any(root.iterdir()):
            self._open()
        self._sweep()

    @property
    def staging(self) -> Path:
        """Return the folder in which workers prepare videos, on the dataset's file system."""
        return self.root / "so101" / "staging"

    @property
    def total_episodes(self) -> int:
        """Return the number of committed episodes."""
        return self._info.total_episodes if self._info else 0

    @property
    def total_frames(self) -> int:
        """Return the number of committed rows."""
        return self._info.total_frames if self._info else 0

    def holds(self, identity: str) -> bool:
        """Say whether the journal with this identity is in the dataset already."""
        return identity in self._identities

    def check_encoding(self, fps: int, encoder: Encoder) -> None:
        """Raise ConfigError, before anything is encoded, when rate or codec differ."""
        if self._info is None:
            return
        cameras = {
            key.removeprefix(IMAGE_PREFIX): (feature.shape[1], feature.shape[0])
            for key, feature in self._info.features.items()
            if feature.dtype == "video"
        }
        features = make_features(cameras, fps, encoder)
        self.check_fits(msgspec.structs.replace(self._info, fps=fps, features=features))

    def check_fits(self, info: DatasetInfo) -> None:
        """Raise ConfigError, naming each differing field, when such episodes do not belong here."""
        if self._info is None:
            return
        lines = describe_difference(self._info, info)
        if lines:
            raise ConfigError(
                f"{self.root} holds a different dataset: {'; '.join(lines)}. "
                "Export into another folder, or with --rebuild"
            )

    def commit(self, episode: EncodedEpisode, info: DatasetInfo) -> None:
        """Add one encoded episode; when this returns it is on disk and complete."""
        self.check_fits(info)
        if self._info is None:
            marker = Marker(schema=SIDECAR_SCHEMA, repo_id=self._repo_id)
            write_whole(self.root / _MARKER, msgspec.json.encode(marker))
            self._info = info
        index, first_row = self._info.total_episodes, self._info.total_frames
        place = self._last.next() if self._last else Place(0, 0)
        tasks = self._tasks if episode.task in self._tasks else [*self._tasks, episode.task]
        columns = _columns(episode, self._info.fps, index, first_row, tasks.index(episode.task))
        stats = episode.stats | {key: number_stats(values) for key, values in columns.items()}
        stats = {key: stats[key] for key in self._info.features}
        total = aggregate([self._stats, stats]) if self._stats else stats

        for key, staged in episode.videos.items():
            move_whole(staged, place.video(self.root, key))
        write_whole(place.data(self.root), rows_parquet(columns))
        self._write_sidecar(index, episode)
        if tasks != self._tasks:
            write_whole(self.root / TASKS_PATH, tasks_parquet(tasks))
        row = _episode_row(episode, self._info, place, index, first_row, stats)
        write_whole(place.episodes(self.root), row_parquet(row))
        write_whole(
            self.root / STATS_PATH,
            _json({key: stats_to_plain(value) for key, value in total.items()}),
        )
        committed = msgspec.structs.replace(
            self._info,
            total_episodes=index + 1,
            total_frames=first_row + episode.length,
            total_tasks=len(tasks),
            splits={"train": f"0:{index + 1}"},
        )
        write_whole(self.root / INFO_PATH, _json(committed))
        self._info, self._tasks, self._stats, self._last = committed, tasks, total, place
        self._identities.add(episode.identity)

    def close(self) -> None:
        """Remove what belongs to no committed episode; the whole folder when none was committed."""
        if self.total_episodes == 0:
            shutil.rmtree(self.root, ignore_errors=True)
        else:
            self._sweep()

    def _write_sidecar(self, index: int, episode: EncodedEpisode) -> None:
        folder = self.root / "so101"
        content = {"schema": SIDECAR_SCHEMA, "identity": episode.identity, **episode.sidecar}
        write_whole(folder / "episodes" / f"episode_{index:06d}.json", _json(content))
        write_whole(
            folder / "timing" / f"episode_{index:06d}.parquet", columns_parquet(episode.timing)
        )

    def _open(self) -> None:
        marker_path = self.root / _MARKER
        if not marker_path.is_file():
            raise ConfigError(
                f"{self.root} is not empty and was not written by so101: choose another folder "
                "(datasets can be merged with lerobot-edit-dataset)"
            )
        try:
            marker = msgspec.json.decode(marker_path.read_bytes(), type=Marker)
            if marker.schema > SIDECAR_SCHEMA:
                raise UnsupportedSchema(
                    f"{marker_path}: schema {marker.schema} is newer than this version; "
                    "update so101"
                )
            if not (self.root / INFO_PATH).is_file():
                return  # killed before the first episode was whole
            self._info = msgspec.json.decode((self.root / INFO_PATH).read_bytes(), type=DatasetInfo)
        except (msgspec.DecodeError, OSError) as error:
            raise ConfigError(
                f"{self.root}: the dataset's description cannot be read: {error}"
            ) from error
        self._read_episodes(self._info)
        tasks = sorted(
            read_rows(self.root / TASKS_PATH), key=lambda row: int(str(row["task_index"]))
        )
        self._tasks = [str(row["task"]) for row in tasks][: self._info.total_tasks]

    def _read_episodes(self, info: DatasetInfo) -> None:
        """Check that episodes are contiguous, and gather what appending needs."""
        rows: list[dict[str, object]] = []
        for path in sorted((self.root / "meta/episodes").glob("*/*.parquet")):
            rows.extend(read_rows(path))
        rows = rows[: info.total_episodes]
        first_row = 0
        parts: list[dict[str, Stats]] = []
        for index, row in enumerate(rows):
            if row["episode_index"] != index or row["dataset_from_index"] != first_row:
                raise ConfigError(
                    f"{self.root}: episode {index} is missing or out of order; "
                    "export again with --rebuild"
                )
            first_row = int(str(row["dataset_to_index"]))
            parts.append({key: _stats_of_row(row, key) for key in info.features})
            kinds = (
                "data",
                "meta/episodes",
                *(f"videos/{key}" for key in video_keys(info.features)),
            )
            self._last = max(_place(row, kind) for kind in kinds)
            sidecar = self.root / "so101" / "episodes" / f"episode_{index:06d}.json"
            self._identities.add(
                msgspec.json.decode(sidecar.read_bytes(), type=EpisodeSidecar).identity
            )
        if len(rows) != info.total_episodes or first_row != info.total_frames:
            raise ConfigError(
                f"{self.root}: info.json counts {info.total_episodes} episodes and "
                f"{info.total_frames} rows, the files hold "
                f"{len(rows)} and {first_row}; export again with --rebuild"
            )
        self._stats = aggregate(parts) if parts else {}

    def _sweep(self) -> None:
        """Remove files of episodes that were never committed."""
        shutil.rmtree(self.staging, ignore_errors=True)
        for part in self.root.glob("**/.*.part"):
            part.unlink()
        for pattern in ("data/*/*.parquet", "meta/episodes/*/*.parquet", "videos/*/*/*.mp4"):
            for path in self.root.glob(pattern):
                place = Place(
                    int(path.parent.name.removeprefix("chunk-")),
                    int(path.stem.removeprefix("file-")),
                )
                if self._last is None or place > self._last:
                    path.unlink()
        for path in self.root.glob("so101/*/episode_*"):
            if int(path.stem.removeprefix("episode_")) >= self.total_episodes:
                path.unlink()


def _columns(
    episode: EncodedEpisode, fps: int, index: int, first_row: int, task_index: int
) -> dict[str, NDArray[np.generic]]:
    frames = np.arange(episode.length, dtype=np.int64)
    return {
        **episode.columns,
        "timestamp": (frames / fps).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full(episode.length, index, dtype=np.int64),
        "index": first_row + frames,
        "task_index": np.full(episode.length, task_index, dtype=np.int64),
    }


def _episode_row(
    episode: EncodedEpisode,
    info: DatasetInfo,
    place: Place,
    index: int,
    first_row: int,
    stats: dict[str, Stats],
) -> dict[str, object]:
    row: dict[str, object] = {
        "episode_index": index,
        "tasks": [episode.task],
        "length": episode.length,
        "data/chunk_index": place.chunk,
        "data/file_index": place.file,
        "dataset_from_index": first_row,
        "dataset_to_index": first_row + episode.length,
    }
    for key in video_keys(info.features):
        row |= {
            f"videos/{key}/chunk_index": place.chunk,
            f"videos/{key}/file_index": place.file,
            f"videos/{key}/from_timestamp": 0.0,
            f"videos/{key}/to_timestamp": episode.length / info.fps,
        }
    for key, value in stats.items():
        row |= {f"stats/{key}/{name}": figure for name, figure in stats_to_plain(value).items()}
    return row | {"meta/episodes/chunk_index": place.chunk, "meta/episodes/file_index": place.file}


def _place(row: dict[str, object], kind: str) -> Place:
    return Place(int(str(row[f"{kind}/chunk_index"])), int(str(row[f"{kind}/file_index"])))


def _stats_of_row(row: dict[str, object], key: str) -> Stats:
    return {name: np.array(row[f"stats/{key}/{name}"], dtype=np.float64) for name in NAMES}


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=4)
