"""LeRobotDataset v3.0 on disk: names, tables and `info.json`.

The format was read off LeRobot 0.6.1's own writer (`dataset_writer.py`, `dataset_metadata.py`,
`datasets/utils.py`); a test opens what this module describes with LeRobot's loader. One episode a
file is legal: file indices just count up.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from record.feature_stats import NAMES, Stats
from record.video import GROUP_SIZE, PIXEL_FORMAT, Encoder
from robot.joints import JOINTS

CODEBASE_VERSION = "v3.0"
CHUNK_SIZE = 1000  # files a folder
ACTION, STATE, IMAGE_PREFIX = "action", "observation.state", "observation.images."
INFO_PATH = Path("meta/info.json")
STATS_PATH = Path("meta/stats.json")
TASKS_PATH = Path("meta/tasks.parquet")

type InfoValue = bool | int | float | str | dict[str, str]


class Feature(msgspec.Struct):
    """One column or camera."""

    dtype: str
    shape: list[int]
    names: list[str] | None
    info: dict[str, InfoValue] | msgspec.UnsetType = msgspec.UNSET


class DatasetInfo(msgspec.Struct, kw_only=True):
    """`meta/info.json`, keys in LeRobot's order; unknown keys are ignored, as LeRobot does."""

    codebase_version: str = CODEBASE_VERSION
    fps: int
    features: dict[str, Feature]
    total_episodes: int = 0
    total_frames: int = 0
    total_tasks: int = 0
    chunks_size: int = CHUNK_SIZE
    data_files_size_in_mb: int = 100
    video_files_size_in_mb: int = 200
    data_path: str = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    video_path: str | None = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    robot_type: str | None = None
    splits: dict[str, str] = {}


class Place(msgspec.Struct, frozen=True, order=True):
    """Where an episode's files are: chunk and file number."""

    chunk: int
    file: int

    def next(self) -> "Place":
        """Return the following place."""
        return (
            Place(self.chunk, self.file + 1)
            if self.file + 1 < CHUNK_SIZE
            else Place(self.chunk + 1, 0)
        )

    def data(self, root: Path) -> Path:
        """Return the path of the rows."""
        return root / f"data/chunk-{self.chunk:03d}/file-{self.file:03d}.parquet"

    def episodes(self, root: Path) -> Path:
        """Return the path of the episode's description."""
        return root / f"meta/episodes/chunk-{self.chunk:03d}/file-{self.file:03d}.parquet"

    def video(self, root: Path, key: str) -> Path:
        """Return the path of one camera's video."""
        return root / f"videos/{key}/chunk-{self.chunk:03d}/file-{self.file:03d}.mp4"


def make_features(
    cameras: Mapping[str, tuple[int, int]], fps: int, encoder: Encoder
) -> dict[str, Feature]:
    """Return the features of an SO-101 dataset; `cameras`: name → (width, height)."""
    names = [f"{joint}.pos" for joint in JOINTS]
    features = {
        ACTION: Feature("float32", [len(JOINTS)], names),
        STATE: Feature("float32", [len(JOINTS)], names),
    }
    for camera, (width, height) in sorted(cameras.items()):
        info: dict[str, InfoValue] = {
            "is_depth_map": False,
            "video.height": height,
            "video.width": width,
            "video.codec": encoder.codec,
            "video.pix_fmt": PIXEL_FORMAT,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
            "video.g": GROUP_SIZE,
            "video.crf": encoder.crf,
            "video.preset": encoder.preset,
            "video.fast_decode": 0,
            "video.video_backend": "pyav",
            "video.extra_options": {},
        }
        shape, axes = [height, width, 3], ["height", "width", "channels"]
        features[IMAGE_PREFIX + camera] = Feature("video", shape, axes, info)
    features["timestamp"] = Feature("float32", [1], None)
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = Feature("int64", [1], None)
    return features


def video_keys(features: Mapping[str, Feature]) -> list[str]:
    """Return the features that are videos."""
    return [key for key, feature in features.items() if feature.dtype == "video"]


def describe_difference(old: DatasetInfo, new: DatasetInfo) -> list[str]:
    """Return one line for each field in which two datasets cannot be one."""
    lines = [
        f"{name}: {getattr(old, name)!r} there, {getattr(new, name)!r} here"
        for name in ("codebase_version", "fps", "robot_type")
        if getattr(old, name) != getattr(new, name)
    ]
    for key in sorted(set(old.features) | set(new.features)):
        there, here = old.features.get(key), new.features.get(key)
        if there is None or here is None:
            lines.append(f"feature {key}: {'only there' if here is None else 'only here'}")
            continue
        lines.extend(
            f"feature {key}, {name}: {getattr(there, name)} there, {getattr(here, name)} here"
            for name in ("dtype", "shape", "names")
            if getattr(there, name) != getattr(here, name)
        )
        lines.extend(_codec_difference(key, there, here))
    return lines


def _codec_difference(key: str, there: Feature, here: Feature) -> list[str]:
    if isinstance(there.info, dict) and isinstance(here.info, dict):
        old, new = there.info.get("video.codec"), here.info.get("video.codec")
        if old != new:
            return [f"feature {key}, codec: {old} there, {new} here"]
    return []


def stats_to_plain(stats: Stats) -> dict[str, object]:
    """Return nested lists, `count` as integers, for JSON and Parquet."""
    return {
        name: (stats[name].astype(np.int64) if name == "count" else stats[name]).tolist()
        for name in NAMES
    }
