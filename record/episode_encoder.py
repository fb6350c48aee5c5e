"""One journal → one dataset episode: rows, statistics, staged videos. Runs in an export worker."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from record.align import Alignment, align
from record.dataset_format import ACTION, IMAGE_PREFIX, STATE
from record.feature_stats import ImageLevels, Stats, number_stats, sampled_frames
from record.header import header_to_metadata
from record.images import Image, decode_jpeg
from record.journal_reader import FrameTrack, Journal, read_journal
from record.video import check_video, encode_video, encoder_named
from robot.errors import ConfigError
from robot.files import write_whole

MAX_LEFT_OUT = 0.05  # of an episode's rows: what is left of a longer gap may lack the task's end


@dataclass(frozen=True, slots=True)
class EncodedEpisode:
    """What a worker hands back; the videos lie in the staging folder, whole and synced."""

    journal: str  # file name
    identity: str
    task: str
    robot_type: str
    columns: dict[str, NDArray[np.float32]]  # action and state, (m, 6)
    stats: dict[str, Stats]  # of images, action and state
    videos: dict[str, Path]  # feature → staged file
    cameras: dict[str, tuple[int, int]]  # name → (width, height)
    sidecar: dict[
        str, object
    ]  # JSON: everything of the journal's header, and how well the rows are covered
    timing: dict[str, NDArray[np.float64]]  # a column a name: row times, frame offsets, asked goals
    gap: str  # rows left out and why; empty when none is

    @property
    def length(self) -> int:
        """Return the number of rows."""
        return len(self.columns[ACTION])


@dataclass(frozen=True, slots=True)
class EncodeJob:
    """What a worker is asked for."""

    journal: Path
    identity: str
    staging: Path
    fps: int
    codec: str
    task: str | None  # None: the journal's own
    allow_gaps: bool = False  # also episodes that lose more than MAX_LEFT_OUT of their rows


def encode_episode(job: EncodeJob) -> EncodedEpisode:
    """Align, encode and check one episode.

    Raises:
        ConfigError: the journal cannot make an episode, or not a whole one; says why.
        StorageFull: no room for the videos.
    """
    journal = read_journal(job.journal)
    alignment = align(journal, job.fps)
    rows_in_all = len(alignment.row_s) + alignment.rows_left_out
    if alignment.rows_left_out > MAX_LEFT_OUT * rows_in_all and not job.allow_gaps:
        raise ConfigError(
            f"{job.journal}: {alignment.gap}, which is too many: "
            "record it again, or export with --allow-gaps"
        )
    encoder = encoder_named(job.codec)
    columns = {
        ACTION: alignment.action_deg.astype(np.float32),
        STATE: alignment.state_deg.astype(np.float32),
    }
    stats = {key: number_stats(values) for key, values in columns.items()}
    videos: dict[str, Path] = {}
    for camera, track in journal.cameras.items():
        key = IMAGE_PREFIX + camera
        levels = ImageLevels()
        data = encode_video(
            _images(job.journal, track, alignment.frame_index[camera], levels), job.fps, encoder
        )
        check_video(data, frames=len(alignment.row_s), fps=job.fps, source=job.journal)
        videos[key] = job.staging / f"{job.journal.stem}.{camera}.mp4"
        write_whole(videos[key], data)
        stats[key] = levels.stats(len(alignment.row_s))
    return EncodedEpisode(
        journal=job.journal.name,
        identity=job.identity,
        task=journal.header.task if job.task is None else job.task,
        robot_type=journal.header.robot_type,
        columns=columns,
        stats=stats,
        videos=videos,
        cameras={camera: (track.width, track.height) for camera, track in journal.cameras.items()},
        sidecar=_sidecar(journal, alignment),
        timing=_timing(alignment),
        gap=alignment.gap,
    )


def _images(
    path: Path, track: FrameTrack, index: NDArray[np.int64], levels: ImageLevels
) -> Iterator[Image]:
    sampled = set(sampled_frames(len(index)).tolist())
    image: Image | None = None
    shown = -1
    for row, frame in enumerate(index.tolist()):
        if image is None or frame != shown:  # a frame nearest to two rows is decoded once
            image, shown = decode_jpeg(track.jpeg(frame), path), frame
        if row in sampled:
            levels.add(image)
        yield image


def _sidecar(journal: Journal, alignment: Alignment) -> dict[str, object]:
    header = journal.header
    lost = {
        name: int((np.diff(track.sequence) - 1).clip(min=0).sum())
        for name, track in journal.cameras.items()
    }
    return {
        "journal": journal.path.name,
        "is_complete": journal.is_complete,
        "outcome": journal.outcome,
        "start_s": alignment.start_s,
        "rows": len(alignment.row_s),
        "rows_left_out": alignment.rows_left_out,
        "missed_ticks": int(journal.goals.missed[-1] - journal.goals.missed[0]),
        "lost_frames": lost,
        "max_frame_offset_s": {
            name: float(np.abs(offset_s).max())
            for name, offset_s in alignment.frame_offset_s.items()
        },
        "calibration_sha256": header.calibration_sha256,
        "seed": header.seed,
        "task_start": msgspec.json.decode(header.task_start) if header.task_start else None,
        "header": header_to_metadata(header),
    }


def _timing(alignment: Alignment) -> dict[str, NDArray[np.float64]]:
    columns = {"row_s": alignment.row_s}
    for camera, offset_s in alignment.frame_offset_s.items():
        columns[f"frame_offset_s.{camera}"] = offset_s
    for joint in range(alignment.asked_deg.shape[1]):
        columns[f"asked_deg.{joint}"] = alignment.asked_deg[:, joint]
    return columns
