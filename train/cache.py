"""Every image of a dataset, decoded once and made small, in memory-mapped files.

Reading a video frame by random access costs about ten times what the small network spends on it, so
each MP4 is decoded once from front to back. The cache is keyed by the dataset's content: a dataset
that changed gets a new one, and one that was never finished is never used.
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import av
import numpy as np
import pyarrow.parquet as pq
import torch
from av.error import FFmpegError
from lerobot_policy_so101.images import shrink_images
from numpy.typing import NDArray
from PIL import Image

from robot.errors import ConfigError
from train.dataset import Dataset, data_files
from train.storage import PARTIAL, StorageGuard, drop_leftovers, replace_folder

LAYOUT = 1  # part of the key: bump when what a cache file holds changes
KEPT_CACHES = 3  # newest datasets whose images stay on disk
ABANDONED_S = 86400.0  # an unfinished cache of that age belongs to a killed process
BATCH = 32  # frames made small at once
ZEROS_BYTES = 2**20  # written at once
DECODERS = 2  # threads; PyAV and torch work outside of Python's lock

ByteArray = NDArray[np.uint8]
CacheProgress = Callable[[int, int], None]  # frames done, frames in all


def cached_images(
    dataset: Dataset, cache_root: Path, size_px: int, progress: CacheProgress | None = None
) -> dict[str, ByteArray]:
    """Return one read-only array a camera, uint8 (N, 3, size, size), row by row as the dataset.

    Raises:
        ConfigError: a video is missing, unreadable or shorter than its rows.
        StorageFull: no room for the cache.
    """
    folder = cache_root / f"{dataset.sha256[:24]}-{size_px}px-{LAYOUT}"
    if not (folder / "complete.json").exists():
        _build(dataset, folder, size_px, progress)
    images = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in dataset.cameras}
    (folder / "complete.json").touch()  # newest use, for the clean-up
    _drop_old(cache_root, (folder / "complete.json").stat().st_mtime)
    return images


def _build(dataset: Dataset, folder: Path, size_px: int, progress: CacheProgress | None) -> None:
    rows = len(dataset.state)
    total = rows * len(dataset.cameras)
    guard = StorageGuard(folder.parent, f"the image cache {folder.parent}")
    with guard:
        folder.parent.mkdir(parents=True, exist_ok=True)
        guard.need(total * 3 * size_px * size_px)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder.parent))
        try:
            done = 0
            for key in dataset.cameras:
                images = _reserve(partial / f"{key}.npy", (rows, 3, size_px, size_px))
                for count in _fill(dataset, key, images):
                    done += count
                    if progress is not None:
                        progress(done, total)
                del images  # unmapped: its pages are the file's
            (partial / "complete.json").write_text(
                json.dumps({"dataset_sha256": dataset.sha256, "rows": rows})
            )
            replace_folder(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _reserve(path: Path, shape: tuple[int, ...]) -> ByteArray:
    """Map a new array file with all its blocks: a full disk behind a mapping kills a process."""
    fresh: np.memmap[tuple[int, ...], np.dtype[np.uint8]] = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=shape
    )  # type: ignore[no-untyped-call]  # numpy has no types here
    with path.open("r+b") as file:
        _take_blocks(file, fresh.offset, path.stat().st_size)
    images: ByteArray = np.load(path, mmap_mode="r+")
    return images


def _take_blocks(file: IO[bytes], start: int, end: int) -> None:
    """Make the zeros from `start` to `end` occupy the disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), start, end - start)
        return
    file.seek(start)  # macOS: what is written has its blocks
    for at in range(start, end, ZEROS_BYTES):
        file.write(bytes(min(ZEROS_BYTES, end - at)))


def _fill(dataset: Dataset, key: str, images: ByteArray) -> Iterator[int]:
    """Fill `images`; yields the number of rows of each finished file."""
    if key not in dataset.meta.video_keys:
        yield _fill_from_rows(dataset, key, images)
        return
    rows_of_file: dict[Path, dict[int, int]] = defaultdict(dict)  # frame number in the file → row
    for episode in dataset.episodes:
        path, starts_s = episode.videos[key]
        first = round(starts_s * dataset.fps)
        rows_of_file[path].update(
            {first + index: episode.start + index for index in range(episode.stop - episode.start)}
        )
    with ThreadPoolExecutor(DECODERS) as pool:
        yield from pool.map(
            lambda item: _decode(item[0], item[1], dataset.fps, images), rows_of_file.items()
        )


def _decode(path: Path, row_of_frame: dict[int, int], fps: int, images: ByteArray) -> int:
    """Decode one MP4 from front to back into the rows of its frames; return their number."""
    missing = dict(row_of_frame)
    rows: list[int] = []
    frames: list[NDArray[np.uint8]] = []

    def flush() -> None:
        batch = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
        images[rows] = shrink_images(batch, images.shape[-1]).numpy()
        rows.clear()
        frames.clear()

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                if frame.pts is None or frame.time_base is None:
                    continue
                row = missing.pop(round(float(frame.pts * frame.time_base) * fps), None)
                if row is None:
                    continue
                rows.append(row)
                frames.append(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
                if len(rows) == BATCH:
                    flush()
                if not missing:
                    break
    except (FFmpegError, OSError, IndexError) as error:
        raise ConfigError(
            f"cannot decode the video {path} ({error}); export the dataset again with so101 export"
        ) from error
    if rows:
        flush()
    if missing:
        raise ConfigError(
            f"the video {path} lacks {len(missing)} of {len(row_of_frame)} frames "
            f"(first: frame {min(missing)}); export the dataset again with so101 export"
        )
    return len(row_of_frame)


def _fill_from_rows(dataset: Dataset, key: str, images: ByteArray) -> int:
    """Read PNGs that were stored in the rows themselves (datasets recorded without video)."""
    row = 0
    for path in data_files(dataset.meta, dataset.root):
        for item in pq.read_table(path, columns=[key])[key].to_pylist():
            data = item["bytes"]
            source = io.BytesIO(data) if data is not None else dataset.root / item["path"]
            with Image.open(source) as image:
                pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
            images[row] = shrink_images(pixels[None], images.shape[-1])[0].numpy()
            row += 1
    return row


def _drop_old(cache_root: Path, now_s: float) -> None:
    """Keep the caches used last; a process that still has an older one mapped keeps its pages."""
    used_s: list[tuple[float, Path]] = []
    for file in cache_root.glob("*/complete.json"):
        with contextlib.suppress(FileNotFoundError):  # dropped by another process
            used_s.append((file.stat().st_mtime, file.parent))
    for _, stale in sorted(used_s)[:-KEPT_CACHES]:
        shutil.rmtree(stale, ignore_errors=True)
    drop_leftovers(cache_root, before_s=now_s - ABANDONED_S)
