"""Which starts to try, and trying them: pure, over functions handed in.

Starts are drawn from the task's own distribution, but none within a few millimetres of a training
start: success there would say that the policy remembers, not that it sees.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from deploy.results import TrialOutcome
from robot.errors import ConfigError
from robot.joints import FloatVector

MIN_DISTANCE_M = 0.005
DRAWS_PER_START = (
    1000  # far more than any sensible distribution needs; then the distance cannot be kept
)


class TrialStart[StartT](NamedTuple):
    """A start to try, and the seed of everything random in its trial."""

    seed: int
    start: StartT


def draw_starts[StartT](
    *,
    draw: Callable[[np.random.Generator], StartT],
    position_m: Callable[[StartT], FloatVector],
    training_m: Sequence[FloatVector],
    count: int,
    seed: int,
    min_distance_m: float = MIN_DISTANCE_M,
) -> list[TrialStart[StartT]]:
    """Draw `count` starts, each farther than `min_distance_m` from every training start.

    Each start has a generator of its own from (seed, index), so that the first ten of fifty are the
    ten of ten.

    Args:
        draw: the task's sampler.
        position_m: where the object stands in a start, shape (2,).
        training_m: the same of the training starts.
        count: how many.
        seed: of the whole list.
        min_distance_m: see above.

    Raises:
        ConfigError: the training starts leave no room.
    """
    starts: list[TrialStart[StartT]] = []
    training = np.array(training_m, dtype=np.float64).reshape(-1, 2)
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        for _ in range(DRAWS_PER_START):
            start = draw(rng)
            distances_m = np.linalg.norm(training - position_m(start), axis=1)
            if len(distances_m) == 0 or float(distances_m.min()) > min_distance_m:
                starts.append(TrialStart(int(rng.integers(2**31)), start))
                break
        else:
            raise ConfigError(
                f"no start was found that is {1000 * min_distance_m:.0f} mm from all "
                f"{len(training)} training starts; "
                "lower --min-distance-mm"
            )
    return starts


def nearest_index(position_m: FloatVector, others_m: Sequence[FloatVector]) -> tuple[int, float]:
    """Return the index of the nearest of `others_m`, at least one, and its distance in metres."""
    distances_m = np.linalg.norm(
        np.array(others_m, dtype=np.float64).reshape(-1, 2) - position_m, axis=1
    )
    index = int(np.argmin(distances_m))
    return index, float(distances_m[index])


def evaluate[StartT](
    starts: Sequence[TrialStart[StartT]],
    run_trial: Callable[[TrialStart[StartT]], TrialOutcome],
    *,
    progress: Callable[[int, TrialOutcome], None] | None = None,
) -> list[TrialOutcome]:
    """Run each start once, in order; `progress` is told the number done and the last outcome."""
    outcomes: list[TrialOutcome] = []
    for start in starts:
        outcomes.append(run_trial(start))
        if progress is not None:
            progress(len(outcomes), outcomes[-1])
    return outcomes
