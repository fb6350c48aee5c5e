import os
from functools import partial
from pathlib import Path

import pytest

from deploy.evaluate import TrialStart
from deploy.trial_workers import run_trials
from robot.errors import ConfigError, PolicyFailed

pytestmark = pytest.mark.realtime

STARTS = [TrialStart(seed, float(seed)) for seed in range(7)]


@pytest.fixture(autouse=True)
def _doubles_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spawned interpreter inherits sys.path."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_outcomes_come_in_the_order_of_the_starts_from_both_workers() -> None:
    from trial_doubles import open_counting

    counts: list[int] = []

    outcomes, statistics = run_trials(
        open_counting, STARTS, workers=2, progress=lambda count, _: counts.append(count)
    )

    assert [outcome.seed for outcome in outcomes] == list(range(7))
    assert counts == list(range(1, 8))
    assert statistics == []
    assert os.getpid() not in {outcome.notes["pid"] for outcome in outcomes}


def test_a_terminals_keys_are_the_commands_business() -> None:
    from trial_doubles import open_interrupted

    outcomes, _ = run_trials(open_interrupted, STARTS, workers=2)

    assert [outcome.seed for outcome in outcomes] == list(range(7))


def test_a_worker_that_cannot_open_its_rig_says_why() -> None:
    from trial_doubles import open_refusing

    with pytest.raises(ConfigError, match="no such rig"):
        run_trials(partial(open_refusing, "no such rig"), STARTS, workers=2)


def test_a_worker_that_dies_ends_the_evaluation_with_a_sentence() -> None:
    from trial_doubles import open_dying

    with pytest.raises(PolicyFailed, match="exit code 9"):
        run_trials(open_dying, STARTS, workers=2)


def test_one_worker_is_this_process() -> None:
    from trial_doubles import open_counting

    outcomes, _ = run_trials(open_counting, STARTS, workers=1)

    assert [outcome.seed for outcome in outcomes] == list(range(7))
    assert {outcome.notes["pid"] for outcome in outcomes} == {os.getpid()}
