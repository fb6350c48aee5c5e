import pytest

from deploy.statistics import percentiles, wilson_interval

# Computed independently when evaluation practice was studied: 90 % observed, and all successes.
TABLE = [
    (10, 0.60, 0.98, 0.72),
    (20, 0.70, 0.97, 0.84),
    (50, 0.79, 0.96, 0.93),
    (100, 0.83, 0.94, 0.96),
    (200, 0.85, 0.93, 0.98),
    (500, 0.87, 0.92, 0.99),
]


@pytest.mark.parametrize(("trials", "low", "high", "low_of_all"), TABLE)
def test_wilson_matches_the_published_table(
    trials: int, low: float, high: float, low_of_all: float
) -> None:
    found = wilson_interval(round(0.9 * trials), trials)
    of_all = wilson_interval(trials, trials)

    assert list(found) == pytest.approx([low, high], abs=0.005)
    assert list(of_all) == pytest.approx([low_of_all, 1.0], abs=0.005)


def test_wilson_is_symmetric_between_success_and_failure() -> None:
    low, high = wilson_interval(3, 17)
    other_low, other_high = wilson_interval(14, 17)

    assert [low, high] == pytest.approx([1 - other_high, 1 - other_low])


def test_wilson_at_the_ends() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 20)[0] == 0.0
    assert wilson_interval(20, 20)[1] == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5)])
def test_wilson_refuses_the_impossible(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        wilson_interval(successes, trials)


def test_percentiles_are_values_that_occurred() -> None:
    found = percentiles([float(value) for value in range(1, 1001)])

    assert found is not None
    assert (found.count, found.p50, found.p99, found.p999, found.max) == (
        1000,
        500.0,
        990.0,
        999.0,
        1000.0,
    )
    assert percentiles([]) is None
    single = percentiles([4.0])
    assert single is not None
    assert single.p50 == single.max == 4.0
