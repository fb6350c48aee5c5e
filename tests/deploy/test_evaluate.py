import numpy as np
import pytest

from deploy.evaluate import TrialStart, draw_starts, evaluate, nearest_index
from deploy.results import TrialOutcome
from robot.errors import ConfigError
from robot.joints import FloatVector


def draw(rng: np.random.Generator) -> FloatVector:
    return rng.uniform(-0.05, 0.05, 2)


def position_m(start: FloatVector) -> FloatVector:
    return start


def starts(count: int, training: list[FloatVector], seed: int = 1) -> list[TrialStart[FloatVector]]:
    return draw_starts(
        draw=draw, position_m=position_m, training_m=training, count=count, seed=seed
    )


def test_no_start_lies_within_five_millimetres_of_a_training_start() -> None:
    training = [draw(np.random.default_rng(index)) for index in range(60)]

    found = starts(50, training)

    distances = [np.linalg.norm(np.array(training) - s.start, axis=1).min() for s in found]
    assert min(distances) > 0.005
    assert any(
        np.linalg.norm(np.array(training) - s.start, axis=1).min() <= 0.005 for s in starts(50, [])
    )  # without the rule some would


def test_the_list_depends_on_the_seed_alone_and_longer_lists_begin_alike() -> None:
    short, long = starts(10, []), starts(50, [])

    assert [s.seed for s in short] == [s.seed for s in long[:10]]
    assert all(np.array_equal(a.start, b.start) for a, b in zip(short, long[:10], strict=True))
    assert starts(10, [], seed=2)[0].seed != short[0].seed


def test_says_when_training_leaves_no_room() -> None:
    grid = np.arange(-0.05, 0.051, 0.004)
    training = [np.array([float(x), float(y)]) for x in grid for y in grid]

    with pytest.raises(ConfigError, match="--min-distance-mm"):
        starts(1, training)


def test_nearest_index_and_distance() -> None:
    others = [np.array([0.0, 0.0]), np.array([0.3, 0.0]), np.array([0.3, 0.1])]

    index, distance_m = nearest_index(np.array([0.29, 0.07]), others)

    assert index == 2
    assert distance_m == pytest.approx(np.hypot(0.01, 0.03))


def test_evaluate_runs_each_start_once_and_tells_of_each() -> None:
    told: list[int] = []

    def run_trial(start: TrialStart[FloatVector]) -> TrialOutcome:
        return TrialOutcome(start.seed, {}, "success", 1.0)

    tried = starts(3, [])
    outcomes = evaluate(tried, run_trial, progress=lambda count, _: told.append(count))

    assert [outcome.seed for outcome in outcomes] == [start.seed for start in tried]
    assert told == [1, 2, 3]
