"""Trials for a worker process: a module of its own, because a fresh interpreter imports it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.evaluate import TrialStart
from deploy.results import Outcome, TrialOutcome
from robot.errors import ConfigError


class CountingTrials:
    def run(self, start: TrialStart[float]) -> TrialOutcome:
        outcome: Outcome = "success" if start.seed % 2 else "failure"
        return TrialOutcome(
            start.seed, {"x_m": start.start}, outcome, 1.0, {"pid": float(os.getpid())}
        )

    def statistics(self) -> None:
        return None


class InterruptedTrials(CountingTrials):
    """Trials in the midst of which somebody works the terminal's keys."""

    def run(self, start: TrialStart[float]) -> TrialOutcome:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
            os.kill(os.getpid(), number)
        return super().run(start)


class DyingTrials(CountingTrials):
    def run(self, start: TrialStart[float]) -> TrialOutcome:
        os._exit(9)


@contextmanager
def open_counting() -> Iterator[CountingTrials]:
    yield CountingTrials()


@contextmanager
def open_interrupted() -> Iterator[CountingTrials]:
    yield InterruptedTrials()


@contextmanager
def open_dying() -> Iterator[CountingTrials]:
    yield DyingTrials()


@contextmanager
def open_refusing(sentence: str) -> Iterator[CountingTrials]:
    if sentence:
        raise ConfigError(sentence)
    yield CountingTrials()
