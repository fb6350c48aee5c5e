"""Journals → a LeRobotDataset, in worker processes: `export_dataset`.

Workers align and encode, one episode each; the calling process alone commits, in order. A run that
was interrupted is continued by running it again: journals already in the dataset are skipped.
"""

import contextlib
import dataclasses
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

from record.dataset_format import DatasetInfo, make_features
from record.dataset_writer import DatasetWriter
from record.episode_encoder import EncodedEpisode, EncodeJob, encode_episode
from record.journal_reader import read_header
from record.video import encoder_named
from robot.errors import ConfigError, So101Error
from robot.files import storage_errors
from robot.terminal_signals import leave_terminal_to_parent

type Progress = Callable[[int, int, str], None]  # journals done, journals in all, name of the last

_NICENESS = 5  # encoding never competes with a control loop


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export did."""

    root: Path
    episodes: int  # in the dataset now
    frames: int
    added: int
    already_there: int
    skipped: tuple[tuple[str, str], ...]  # (journal, why it makes no episode)
    gaps: tuple[tuple[str, str], ...]  # (journal that was added, rows it lost and why)


@dataclass(frozen=True, slots=True)
class _Options:
    repo_id: str
    fps: int
    task: str | None
    codec: str
    workers: int
    allow_gaps: bool
    progress: Progress | None


def export_dataset(
    journals: Sequence[Path],
    root: Path,
    *,
    repo_id: str,
    fps: int = 30,
    task: str | None = None,
    codec: str = "h264",
    workers: int = 2,
    rebuild: bool = False,
    allow_gaps: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Append journals to the dataset at `root`, in the order given; create it when it is new.

    Args:
    journals: finished or recovered journals.
    root: the dataset's folder.
    repo_id: `owner/name`, kept for a later upload.
    fps: rows a second.
    task: instruction for all rows; None: each journal's own.
    codec: `h264` or `libsvtav1`.
    workers: encoding processes; 0: encode in this process.
    rebuild: write the dataset anew beside the old one and exchange them at the end.
    allow_gaps: also take episodes that lose more than a twentieth of their rows.
    progress: called after each journal.

    Raises:
    ConfigError: no journal, another dataset in `root`, or no journal that makes an episode.
    StorageFull: the disk is full; episodes committed before are kept.
    """
    encoder_named(codec)
    if not journals:
        raise ConfigError("no journal to export; name a folder that holds episode_*.mcap files")
    if fps <= 0:
        raise ConfigError(f"a dataset needs at least 1 row a second, not {fps}")
    options = _Options(repo_id, fps, task, codec, workers, allow_gaps, progress)
    if not rebuild:
        return _append(journals, root, options)
    fresh = root.with_name(f".{root.name}.rebuild")
    old = root.with_name(f".{root.name}.old")
    if root.exists():
        DatasetWriter(root, repo_id)  # refuses a folder that is not ours
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        result = _append(journals, fresh, options)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # the old dataset is untouched
        raise
    with storage_errors(root):
        if root.exists():
            root.rename(old)
        fresh.rename(root)
    shutil.rmtree(old, ignore_errors=True)
    return dataclasses.replace(result, root=root)


def journal_identity(path: Path) -> str:
    """Identify an episode by its header, which holds the moment it began, not by its file name."""
    return hashlib.sha256(msgspec.json.encode(read_header(path))).hexdigest()


def _append(journals: Sequence[Path], root: Path, options: _Options) -> ExportResult:
    writer = DatasetWriter(root, options.repo_id)
    identities = {path: journal_identity(path) for path in journals}
    if writer.total_episodes:
        writer.check_encoding(options.fps, encoder_named(options.codec))
    wanted = [path for path in journals if not writer.holds(identities[path])]
    jobs = [
        EncodeJob(
            path,
            identities[path],
            writer.staging,
            options.fps,
            options.codec,
            options.task,
            options.allow_gaps,
        )
        for path in wanted
    ]
    skipped: list[tuple[str, str]] = []
    gaps: list[tuple[str, str]] = []
    added = 0
    try:
        for done, (job, outcome) in enumerate(_encoded(jobs, options.workers), start=1):
            if isinstance(outcome, EncodedEpisode):
                writer.commit(outcome, _info(outcome, options))
                added += 1
                if outcome.gap:
                    gaps.append((job.journal.name, outcome.gap))
            else:
                skipped.append((job.journal.name, str(outcome)))
            if options.progress:
                options.progress(done, len(jobs), job.journal.name)
    finally:
        writer.close()
    if skipped and writer.total_episodes == 0:
        raise ConfigError(f"no journal makes an episode; the first: {skipped[0][1]}")
    return ExportResult(
        root=root,
        episodes=writer.total_episodes,
        frames=writer.total_frames,
        added=added,
        already_there=len(journals) - len(wanted),
        skipped=tuple(skipped),
        gaps=tuple(gaps),
    )


def _info(episode: EncodedEpisode, options: _Options) -> DatasetInfo:
    features = make_features(episode.cameras, options.fps, encoder_named(options.codec))
    return DatasetInfo(fps=options.fps, features=features, robot_type=episode.robot_type)


def _encoded(
    jobs: Sequence[EncodeJob], workers: int
) -> Iterator[tuple[EncodeJob, EncodedEpisode | ConfigError]]:
    """Encode the jobs, results in order; an episode that cannot be made is its error."""
    if workers <= 0 or len(jobs) <= 1:
        for job in jobs:
            yield job, _outcome(partial(encode_episode, job))
        return
    context = multiprocessing.get_context("spawn")
    count = min(workers, len(jobs))
    pool = ProcessPoolExecutor(max_workers=count, mp_context=context, initializer=_begin_worker)
    waiting: deque[tuple[EncodeJob, Future[EncodedEpisode]]] = deque()
    rest = iter(jobs)
    try:
        while True:
            waiting.extend(
                (job, pool.submit(encode_episode, job))
                for job in islice(rest, 2 * count - len(waiting))
            )
            if not waiting:
                return
            job, future = waiting.popleft()
            yield job, _outcome(future.result)
    except BrokenProcessPool as error:
        raise So101Error(
            "an export worker died (out of memory, or killed); finished episodes are kept: "
            "run the same command again"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _outcome(work: Callable[[], EncodedEpisode]) -> EncodedEpisode | ConfigError:
    try:
        return work()
    except ConfigError as error:
        return error


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, run at low priority, and go when the parent goes."""
    leave_terminal_to_parent()
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()


def _leave_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
