"""What arrival times say about a loop, on arrivals whose lateness is known."""

import numpy as np
import pytest

from benchmarks.arms_messages import Change, Goal
from benchmarks.arrivals import ages_s, excess_s, lateness_s, punctuality, reactions_s

PERIOD_S = 0.01
GRID_S = [100.0 + PERIOD_S * slot for slot in range(1000)]


def goals(*pairs: tuple[float, int]) -> list[Goal]:
    return [Goal(time_s, [ticks, 0, 0, 0, 0, 0]) for time_s, ticks in pairs]


def test_a_loop_on_the_grid_is_never_late() -> None:
    kept = punctuality(GRID_S, 100.0)

    assert kept.lateness is not None
    assert kept.lateness.max_ms == pytest.approx(0.0, abs=1e-6)
    assert (kept.goals, kept.missed, kept.lost_slots) == (1000, 0, 0)
    assert kept.achieved_hz == pytest.approx(100.0)


@pytest.mark.parametrize("late_s", [0.001, 0.004, 0.0049])
def test_one_late_goal_is_late_by_its_own_delay_and_misses_nothing(late_s: float) -> None:
    times_s = list(GRID_S)
    times_s[500] += late_s

    kept = punctuality(times_s, 100.0)

    assert kept.lateness is not None
    assert kept.lateness.max_ms == pytest.approx(1000 * late_s)
    assert kept.missed == 0


def test_a_gap_over_one_and_a_half_periods_is_a_missed_tick() -> None:
    times_s = list(GRID_S)
    times_s[500] += 0.0051

    assert punctuality(times_s, 100.0).missed == 1


def test_a_skipped_slot_is_lost_and_the_goal_after_it_is_late_by_a_period() -> None:
    times_s = GRID_S[:500] + GRID_S[501:]

    late, lost = lateness_s(times_s, PERIOD_S)

    assert lost == 1
    assert late[500] == pytest.approx(PERIOD_S)
    assert late[501] == pytest.approx(0.0, abs=1e-9)  # the loop is back on its grid
    assert punctuality(times_s, 100.0).missed == 1


def test_a_stall_is_late_in_full_and_costs_its_slots() -> None:
    times_s = [*GRID_S[:500], GRID_S[500] + 0.042, *GRID_S[505:]]

    late, lost = lateness_s(times_s, PERIOD_S)

    assert late[500] == pytest.approx(0.042)
    assert lost == 4


def test_drift_is_late_on_the_grid_and_forgiven_in_the_excess() -> None:
    slow_s = [100.0 + 1.03 * PERIOD_S * tick for tick in range(1000)]

    kept = punctuality(slow_s, 100.0)

    assert kept.lateness is not None
    assert kept.excess is not None
    assert kept.achieved_hz == pytest.approx(100 / 1.03)
    assert kept.lost_slots == pytest.approx(30, abs=1)
    assert kept.lateness.max_ms == pytest.approx(10.0, abs=0.5)
    assert kept.excess.max_ms == pytest.approx(0.3)
    assert kept.missed == 0


def test_one_early_goal_lays_no_grid() -> None:
    times_s = list(GRID_S)
    times_s[300] -= 0.004

    late, _ = lateness_s(times_s, PERIOD_S)

    assert np.median(late) == pytest.approx(0.0, abs=1e-9)


def test_no_goals_have_no_lateness() -> None:
    kept = punctuality([], 100.0)

    assert kept.lateness is None
    assert kept.excess is None
    assert kept.goals == 0


def test_excess_is_the_gap_less_a_period() -> None:
    assert excess_s([0.0, 0.01, 0.025], PERIOD_S) == pytest.approx([0.0, 0.005])


def test_a_reaction_ends_with_the_first_goal_that_moves_the_right_way() -> None:
    changes = [Change(1.0, 8), Change(2.0, -8)]
    seen = goals((0.9, 2000), (1.01, 2000), (1.02, 2003), (1.03, 2008), (2.015, 2000))

    assert reactions_s(changes, seen) == pytest.approx([0.02, 0.015])


def test_a_change_that_nothing_follows_has_no_reaction() -> None:
    changes = [Change(1.0, 8), Change(2.0, -8)]
    seen = goals((0.9, 2000), (1.01, 2000), (1.99, 1998), (2.01, 1990))

    assert reactions_s(changes, seen) == pytest.approx([0.01])


def test_a_goal_that_came_before_the_change_does_not_follow_it() -> None:
    assert reactions_s([Change(1.0, 8)], goals((0.5, 2000), (0.999, 2008))) == []


def test_the_age_is_that_of_the_newest_sample_before_the_goal() -> None:
    seen = goals((0.5, 0), (1.002, 0), (1.011, 0))

    assert ages_s([1.0, 1.01], seen) == pytest.approx([0.002, 0.001])
