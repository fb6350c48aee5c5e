"""Demonstrations in virtual time, over several processes.

The result depends on the seed alone, not on the number of processes. Each worker records its share
of the episode numbers on a twin of its own, through the same bus, loop, limits and recorder as a
person's.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from rich.console import Console

from record.episode import SessionPlan
from robot.parent_death import die_with_parent
from robot.terminal_signals import leave_terminal_to_parent
from scripts.driving import Driver
from scripts.follower_setup import configure_virtual_follower
from scripts.operators import TwinOperator
from scripts.recording import RecordingSession, first_number, journal_path, session_header
from scripts.rig_session import Rig, open_rig
from scripts.stopping import StopRequest
from scripts.twin_asker import twin_asker

# Short enough for a smooth progress bar, long enough to carry the set-up of a twin.
EPISODES_A_JOB = 5


def record_virtually(
    *,
    rig: Path,
    folder: Path,
    task: str,
    episodes: int,
    seed: int,
    workers: int,
    on_saved: Callable[[], None],
) -> tuple[int, int]:
    """Record `episodes` demonstrations after those already in `folder`.

    Returns how many were saved and how many tries failed.
    """
    # A discarded or unfinished episode keeps its number: the next one never meets its file.
    first = first_number(folder)
    numbers = list(range(first, first + episodes))
    jobs = [numbers[start : start + EPISODES_A_JOB] for start in range(0, episodes, EPISODES_A_JOB)]
    configure_virtual_follower(rig)
    record_job = partial(_record_job, rig, folder, task, seed)
    saved = failed = 0
    if workers == 1:
        for job in jobs:
            failed += record_job(job)
            saved += len(job)
            for _ in job:
                on_saved()
        return saved, failed
    context = multiprocessing.get_context("spawn")
    initializer = partial(_begin_worker, os.getpid())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=initializer) as pool:
        pending = {pool.submit(record_job, job): job for job in jobs}
        try:
            for future in as_completed(pending):
                failed += future.result()
                saved += len(pending[future])
                for _ in pending[future]:
                    on_saved()
        except BaseException:  # else the pool would record all the rest before it lets go
            for worker in multiprocessing.active_children():
                worker.kill()  # virtual rigs hold nothing that needs a good-bye
            raise
    return saved, failed


def _begin_worker(parent_pid: int) -> None:
    """Leave Ctrl-C to the parent, and go when the parent goes."""
    leave_terminal_to_parent()
    die_with_parent(parent_pid, signal.SIGKILL)


def _record_job(rig_path: Path, folder: Path, task: str, seed: int, numbers: list[int]) -> int:
    """Record the episodes of these numbers on one twin; returns the number of failed tries."""
    with open_rig(rig_path, virtual=True) as rig:
        return _record_numbers(rig, folder, task, seed, numbers)


def _record_numbers(rig: Rig, folder: Path, task: str, seed: int, numbers: list[int]) -> int:
    twin = rig.require_control("--virtual")
    with rig.open_control("leader") as control:
        operator = TwinOperator(
            twin,
            twin_asker(twin),
            control,
            rig.clock,
            lambda saved, attempt: seed + 1000 * numbers[saved] + attempt,
        )
        session = RecordingSession(
            rig,
            SessionPlan(len(numbers)),
            operator,
            session_header(rig, task, control.facts),
            lambda saved: journal_path(folder, numbers[saved]),
            Console(quiet=True),
        )
        driver = Driver(control, StopRequest(), Console(quiet=True))
        with session:
            driver.drive(None, [session], lambda: session.is_done)
    return operator.failures
