"""What the arrival times of goal packets say about a loop. Pure functions.

**Lateness** is measured on the ideal grid: one slot every period of the rate asked for, laid
through the earliest phase that the loop kept. A goal is late by the time since the first slot that
was still unserved; slots that pass while it is late are lost. A loop that starts each wait anew
after its work (as LeRobot's does) runs slower than it was asked and slides over this grid, so
**excess**, the gap to the goal before less one period, is given beside it: it forgives all drift.
A **missed tick** is a gap of more than 1.5 periods.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.arms_messages import Change, Goal
from benchmarks.quantiles import Quantiles, quantiles

MISSED_PERIODS = 1.5
_EARLIEST_SHARE = 0.01  # so many goals may lie before the grid: one odd early bird lays no grid


class Punctuality(msgspec.Struct, frozen=True):
    """How a loop kept the rate it was asked for."""

    asked_hz: float
    achieved_hz: float
    goals: int
    missed: int  # gaps over 1.5 periods
    lost_slots: int  # periods of the ideal grid in which no goal came
    lateness: Quantiles | None
    excess: Quantiles | None


def lateness_s(times_s: Sequence[float], period_s: float) -> tuple[NDArray[np.float64], int]:
    """Return how late each goal is on the ideal grid, and how many slots nobody served.

    Args:
        times_s: arrivals, increasing.
        period_s: of the grid.
    """
    if not times_s:
        return np.empty(0), 0
    times = np.asarray(times_s, dtype=np.float64)
    phase = np.mod(times - times[0] + period_s / 2, period_s) - period_s / 2
    origin_s = times[0] + float(np.sort(phase)[int(len(times) * _EARLIEST_SHARE)])
    late = np.empty(len(times))
    served = round((times[0] - origin_s) / period_s) - 1
    first = served + 1
    for index, time_s in enumerate(times):
        since_origin = (time_s - origin_s) / period_s
        late[index] = (since_origin - (served + 1)) * period_s
        served = max(served + 1, int(np.floor(since_origin)))
    return late, served - first + 1 - len(times)


def excess_s(times_s: Sequence[float], period_s: float) -> NDArray[np.float64]:
    """Return how much longer than a period each gap between two goals was; negative: shorter."""
    return np.diff(np.asarray(times_s, dtype=np.float64)) - period_s


def punctuality(times_s: Sequence[float], rate_hz: float) -> Punctuality:
    """Judge the arrivals of one run at the rate asked for."""
    period_s = 1.0 / rate_hz
    late, lost = lateness_s(times_s, period_s)
    excess = excess_s(times_s, period_s)
    span_s = times_s[-1] - times_s[0] if len(times_s) > 1 else 0.0
    return Punctuality(
        asked_hz=rate_hz,
        achieved_hz=(len(times_s) - 1) / span_s if span_s > 0 else 0.0,
        goals=len(times_s),
        missed=int(np.count_nonzero(excess > (MISSED_PERIODS - 1) * period_s)),
        lost_slots=lost,
        lateness=quantiles(late.tolist()),
        excess=quantiles(excess.tolist()),
    )


def reactions_s(changes: Sequence[Change], goals: Sequence[Goal], joint: int = 0) -> list[float]:
    """Return the time from each change of the leader's joint to the first goal that follows it.

    A goal follows when it has moved from where the goals stood at the change, in the direction of
    the change. Changes that no goal followed before the next one are left out.
    """
    found: list[float] = []
    times_s = [goal.time_s for goal in goals]
    ends_s = [change.time_s for change in changes[1:]] + [float("inf")]
    for change, end_s in zip(changes, ends_s, strict=True):
        at = int(np.searchsorted(times_s, change.time_s))
        if at == 0:
            continue
        before = goals[at - 1].ticks[joint]
        for goal in goals[at:]:
            if goal.time_s >= end_s:
                break
            if (goal.ticks[joint] - before) * np.sign(change.ticks) > 0:
                found.append(goal.time_s - change.time_s)
                break
    return found


def ages_s(samples_s: Sequence[float], goals: Sequence[Goal]) -> list[float]:
    """Return the age of the newest sample at the last byte of each goal.

    Args:
        samples_s: when the leader's servos took the values of each read, increasing.
        goals: the goals, in order.
    """
    samples = np.asarray(samples_s, dtype=np.float64)
    found: list[float] = []
    for goal in goals:
        at = int(np.searchsorted(samples, goal.time_s)) - 1
        if at >= 0:
            found.append(goal.time_s - float(samples[at]))
    return found
