"""Trials in several processes at once, for evaluations in virtual time.

The outcome does not depend on their number.

Each worker is a fresh interpreter (spawn), opens its own rig and policy once, and runs one start
after another. Whoever is free takes the next start; outcomes come back in the order of the starts.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple, Protocol

from deploy.evaluate import TrialStart, evaluate
from deploy.plan_log import PlanStatistics
from deploy.results import TrialOutcome
from robot.errors import ConfigError, PolicyFailed, So101Error
from robot.parent_death import die_with_parent
from robot.terminal_signals import leave_terminal_to_parent

JOIN_S = 5.0


class Trials[StartT](Protocol):
    """An opened rig on which trials can be run."""

    def run(self, start: TrialStart[StartT]) -> TrialOutcome:
        """Run one trial to its end."""
        ...

    def statistics(self) -> PlanStatistics | None:
        """Return the plan timing of all trials so far; None where there are no plans."""
        ...


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class _Opened(NamedTuple):
    """The worker is ready for its first start."""


class _Outcome(NamedTuple):
    number: int
    outcome: TrialOutcome


class _Done(NamedTuple):
    """There was no start left; the worker ends."""

    statistics: PlanStatistics | None


class _Failure(NamedTuple):
    sentence: str
    is_config_error: bool


def run_trials[StartT](
    open_trials: Callable[[], AbstractContextManager[Trials[StartT]]],
    starts: Sequence[TrialStart[StartT]],
    *,
    workers: int,
    progress: Callable[[int, TrialOutcome], None] | None = None,
) -> tuple[list[TrialOutcome], list[PlanStatistics]]:
    """Run all starts in `workers` processes; no process is left behind on any way out.

    Args:
        open_trials: must be picklable; called once in each worker.
        starts: must be picklable.
        workers: how many processes; 1 is this one.
        progress: told the number of finished trials and the last outcome.

    Raises:
        ConfigError: what a worker says is wrong with files or arguments.
        PolicyFailed: a worker failed or died.
    """
    if workers == 1:
        return _run_here(open_trials, starts, progress)
    context = multiprocessing.get_context("spawn")
    running: list[_Worker] = []
    try:
        for _ in range(min(workers, len(starts))):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(open_trials, theirs, os.getpid()), daemon=True
            )
            process.start()
            theirs.close()
            running.append(_Worker(process, ours))
        return _distribute(running, starts, progress)
    finally:
        for worker in running:
            worker.process.kill()  # virtual rigs hold nothing that needs a good-bye
            worker.process.join(JOIN_S)
            worker.connection.close()
            worker.process.close()


def _run_here[StartT](
    open_trials: Callable[[], AbstractContextManager[Trials[StartT]]],
    starts: Sequence[TrialStart[StartT]],
    progress: Callable[[int, TrialOutcome], None] | None,
) -> tuple[list[TrialOutcome], list[PlanStatistics]]:
    with open_trials() as trials:
        outcomes = evaluate(starts, trials.run, progress=progress)
        statistics = trials.statistics()
    return outcomes, [] if statistics is None else [statistics]


def _distribute[StartT](
    running: list[_Worker],
    starts: Sequence[TrialStart[StartT]],
    progress: Callable[[int, TrialOutcome], None] | None,
) -> tuple[list[TrialOutcome], list[PlanStatistics]]:
    outcomes: dict[int, TrialOutcome] = {}
    statistics: list[PlanStatistics] = []
    waiting = list(enumerate(starts))[::-1]
    busy = list(running)
    while busy:
        ready = wait([worker.connection for worker in busy])
        for worker in [worker for worker in busy if worker.connection in ready]:
            answer = _receive(worker)
            if isinstance(answer, _Done):
                busy.remove(worker)
                if answer.statistics is not None:
                    statistics.append(answer.statistics)
                continue
            if isinstance(answer, _Outcome):
                outcomes[answer.number] = answer.outcome
                if progress is not None:
                    progress(len(outcomes), answer.outcome)
            worker.connection.send(waiting.pop() if waiting else None)
    return [outcomes[index] for index in sorted(outcomes)], statistics


def _receive(worker: _Worker) -> _Opened | _Outcome | _Done:
    try:
        answer: _Opened | _Outcome | _Done | _Failure = worker.connection.recv()
    except (EOFError, ConnectionResetError) as error:
        worker.process.join(JOIN_S)
        raise PolicyFailed(
            f"an evaluation process ended with exit code {worker.process.exitcode}; "
            "if memory is short, try --workers 1"
        ) from error
    if isinstance(answer, _Failure):
        raise (ConfigError if answer.is_config_error else PolicyFailed)(answer.sentence)
    return answer


def _work[StartT](
    open_trials: Callable[[], AbstractContextManager[Trials[StartT]]],
    connection: Connection,
    parent_pid: int,
) -> None:
    """Run what the parent hands out until there is no more."""
    die_with_parent(parent_pid)
    leave_terminal_to_parent()
    try:
        with open_trials() as trials:
            connection.send(_Opened())
            while (work := connection.recv()) is not None:
                index, start = work
                connection.send(_Outcome(index, trials.run(start)))
            connection.send(_Done(trials.statistics()))
    except So101Error as error:
        connection.send(_Failure(str(error), isinstance(error, ConfigError)))
