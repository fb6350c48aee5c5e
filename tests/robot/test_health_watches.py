"""What the rules remember: grades, trips, stalls and grips, step by step."""

import math

import pytest

from robot.health_fences import Fence, GripWatch, StallWatch
from robot.health_rules import (
    CARRIES_BACK_DEG,
    CARRIES_LOAD_PCT,
    FENCE_LEFT_DEG,
    GRIP_LOST_S,
    GRIP_SETTLE_S,
    LATCHED_S,
    SQUEEZE_S,
    STALL_BACK_OFF_DEG,
    STALL_CLEAR_S,
    STALL_RETRY_S,
    STALL_S,
    STALLS_TO_DERATE,
    TRIP_SHOWN_S,
    TRIP_WINDOW_S,
    Response,
)
from robot.health_timers import Grade, Lasting, Trips

GO, WARN, DERATE, HOLD, STOP = Response
TICK_S = 0.01


# --- how long ------------------------------------------------------------------------------------


def test_lasting_starts_over_at_every_break() -> None:
    lasting = Lasting()

    times = [lasting.update(is_so, 0.5) for is_so in (True, True, False, True)]

    assert times == [0.5, 1.0, 0.0, 0.5]


# --- grades --------------------------------------------------------------------------------------


def test_a_grade_grows_worse_only_when_that_lasts() -> None:
    grade = Grade(0.3)

    found = [grade.update(DERATE, 0.1) for _ in range(4)]

    assert found == [GO, GO, DERATE, DERATE]


def test_a_dwell_is_over_just_when_it_is() -> None:
    grade = Grade(0.5)

    assert [grade.update(WARN, 0.25) for _ in range(2)] == [GO, WARN]
    assert Grade(0.5).response is GO


def test_a_break_starts_the_dwell_over() -> None:
    grade = Grade(0.3)

    found = [grade.update(wanted, 0.1) for wanted in (WARN, WARN, GO, WARN, WARN, WARN)]

    assert found == [GO, GO, GO, GO, GO, WARN]


def test_a_grade_grows_as_bad_as_all_that_lasted() -> None:
    """One deep dip at the end of a shallow one is no stop."""
    grade = Grade(0.3)

    found = [grade.update(wanted, 0.1) for wanted in (WARN, DERATE, STOP)]

    assert found == [GO, GO, WARN]
    assert [grade.update(STOP, 0.1) for _ in range(3)] == [WARN, WARN, STOP]


def test_a_grade_grows_better_at_once() -> None:
    grade = Grade(0.1)
    grade.update(STOP, 0.1)

    assert grade.update(WARN, 0.1) is WARN
    assert grade.update(GO, 0.1) is GO
    assert grade.response is GO


# --- trips ---------------------------------------------------------------------------------------


def trip(trips: Trips, wait_s: float) -> Response:
    """Let the bit be set for one tick, then wait."""
    found = trips.update(True, TICK_S)
    trips.update(False, wait_s)
    return found


def test_a_trip_derates_for_a_while() -> None:
    trips = Trips()

    assert trips.update(False, TICK_S) is GO
    assert trips.update(True, TICK_S) is DERATE
    assert trips.update(False, TRIP_SHOWN_S) is DERATE
    assert trips.update(False, TICK_S) is GO


def test_the_third_trip_within_the_window_stops() -> None:
    trips = Trips()

    assert [trip(trips, 2.0) for _ in range(3)] == [DERATE, DERATE, STOP]


@pytest.mark.parametrize(("between_s", "expected"), [(4.98, STOP), (5.02, DERATE)])
def test_trips_before_the_window_do_not_count(between_s: float, expected: Response) -> None:
    assert 2.0 * 4.98 < TRIP_WINDOW_S < 2.0 * 5.02
    trips = Trips()
    trip(trips, between_s)
    trip(trips, between_s)

    assert trips.update(True, TICK_S) is expected


def test_a_trip_counts_to_the_very_end_of_the_window() -> None:
    trips = Trips()
    trip(trips, TRIP_WINDOW_S / 2.0)
    trips.update(True, 0.0)
    trips.update(False, TRIP_WINDOW_S / 2.0)

    assert trips.update(True, 0.0) is STOP


def test_a_stop_for_trips_ends_with_their_window() -> None:
    trips = Trips()
    for _ in range(3):
        trip(trips, 1.0)

    assert trips.update(False, 5.0) is STOP
    assert trips.update(False, 3.0) is GO


def test_a_bit_that_no_goal_clears_stops() -> None:
    trips = Trips()
    trips.update(True, TICK_S)

    assert trips.update(True, LATCHED_S) is DERATE
    assert trips.update(True, 1e-6) is STOP


def test_a_bit_that_stays_is_one_trip() -> None:
    trips = Trips()

    found = [trips.update(True, 0.1) for _ in range(5)]

    assert found == [DERATE] * 5


def test_how_long_a_bit_was_set_is_forgotten_when_it_clears() -> None:
    trips = Trips()
    trips.update(True, TICK_S)
    trips.update(True, LATCHED_S)
    trips.update(False, TICK_S)

    assert trips.update(True, TICK_S) is DERATE
    assert trips.update(True, LATCHED_S) is DERATE


# --- fences --------------------------------------------------------------------------------------


def test_how_far_a_joint_is_behind_a_fence() -> None:
    fence = Fence()
    assert fence.behind_deg(3.0) == math.inf

    fence.put_up(10.0, 1.0)
    assert fence.behind_deg(7.0) == 3.0
    fence.put_up(10.0, -1.0)
    assert fence.behind_deg(7.0) == -3.0


def test_a_fence_stands_on_the_side_of_the_push() -> None:
    fence = Fence()
    assert (fence.is_up, fence.not_below_deg, fence.not_above_deg) == (False, -math.inf, math.inf)

    fence.put_up(10.0, 1.0)
    assert (fence.is_up, fence.not_below_deg, fence.not_above_deg) == (True, -math.inf, 10.0)
    fence.put_up(10.0, -1.0)
    assert (fence.is_up, fence.not_below_deg, fence.not_above_deg) == (True, 10.0, math.inf)
    fence.put_up(10.0, 0.0)
    assert (fence.is_up, fence.not_below_deg, fence.not_above_deg) == (True, 10.0, math.inf)
    fence.take_down()
    assert (fence.is_up, fence.not_below_deg, fence.not_above_deg) == (False, -math.inf, math.inf)


@pytest.mark.parametrize("way", [1.0, -1.0])
@pytest.mark.parametrize(
    ("back_deg", "expected"),
    [(0.0, False), (FENCE_LEFT_DEG, False), (FENCE_LEFT_DEG + 1e-6, True), (9.0, True)],
)
def test_a_fence_is_left_by_a_goal_that_turned_round(
    way: float, back_deg: float, expected: bool
) -> None:
    fence = Fence()
    fence.put_up(10.0, way)

    assert fence.is_left(10.0 - way * back_deg) is expected


# --- stalls --------------------------------------------------------------------------------------


def is_shown(watch: StallWatch) -> bool:
    return watch.response is not GO


def stalled(way: float = 1.0) -> StallWatch:
    """A joint that stands at 20, blocked on its way to 30 (or 10), just backed off."""
    watch = StallWatch()
    watch.update(True, 0.0, 20.0, 20.0 + way * 10.0, STALL_S)
    return watch


def retrying() -> StallWatch:
    """The same joint when it just may try again."""
    watch = stalled()
    watch.update(False, 0.0, 20.0, 21.0, STALL_RETRY_S)
    watch.update(False, 0.0, 20.0, 21.0, TICK_S)
    assert not watch.fence.is_up
    return watch


def test_a_joint_is_backed_off_after_a_while_and_not_before() -> None:
    watch = StallWatch()
    watch.update(True, 0.0, 20.0, 30.0, STALL_S - 1e-6)
    assert (watch.fence.is_up, is_shown(watch)) == (False, False)

    watch.update(True, 0.0, 20.0, 30.0, 1e-6)

    assert (watch.fence.is_up, is_shown(watch)) == (True, True)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_it_is_backed_off_to_a_degree_beyond_where_it_stands(way: float) -> None:
    fence = stalled(way).fence

    stop_deg = fence.not_above_deg if way > 0 else fence.not_below_deg
    assert stop_deg == 20.0 + way * STALL_BACK_OFF_DEG
    assert math.isinf(fence.not_below_deg if way > 0 else fence.not_above_deg)


def test_the_fence_stands_still_when_the_joint_sags() -> None:
    watch = stalled()

    watch.update(True, 0.0, 12.0, 21.0, 0.5)

    assert watch.fence.not_above_deg == 20.0 + STALL_BACK_OFF_DEG


def test_a_stall_is_over_when_the_goal_turns_round() -> None:
    watch = stalled()
    watch.update(False, 0.0, 20.0, 20.0, TICK_S)
    assert watch.fence.is_up

    watch.update(False, 0.0, 20.0, 19.9, TICK_S)

    assert not watch.fence.is_up


def test_a_joint_may_try_again_after_a_while_and_not_before() -> None:
    watch = stalled()
    watch.update(False, 0.0, 20.0, 21.0, STALL_RETRY_S)

    assert watch.fence.is_up
    assert not retrying().fence.is_up
    assert is_shown(retrying())


def test_the_time_of_a_second_fence_counts_from_its_own_beginning() -> None:
    watch = retrying()
    watch.update(True, 0.0, 20.0, 30.0, STALL_S)

    watch.update(False, 0.0, 20.0, 21.0, STALL_RETRY_S - TICK_S)

    assert watch.fence.is_up


def test_a_stall_is_told_of_until_the_joint_was_free_for_a_while() -> None:
    watch = retrying()

    watch.update(False, 0.0, 21.0, 22.0, STALL_CLEAR_S - TICK_S)
    before = is_shown(watch)
    watch.update(False, 0.0, 22.0, 23.0, 2 * TICK_S)

    assert [before, is_shown(watch)] == [True, False]


def test_a_joint_that_stalls_again_was_not_free() -> None:
    watch = retrying()

    for _ in range(5):
        watch.update(False, 0.0, 20.0, 22.0, STALL_CLEAR_S - 2 * TICK_S)
        watch.update(True, 0.0, 20.0, 30.0, TICK_S)

    assert is_shown(watch)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_joint_that_sinks_loaded_when_backed_off_carries_and_is_let_pull_again(
    way: float,
) -> None:
    watch = stalled(way)
    load_pct = 40.0 * way

    watch.update(False, load_pct, 20.0 - way * CARRIES_BACK_DEG, 20.0 + way, TICK_S)
    assert (watch.fence.is_up, watch.response) == (True, WARN)
    watch.update(False, load_pct, 20.0 - way * (CARRIES_BACK_DEG + 0.1), 20.0 + way, TICK_S)
    assert (watch.fence.is_up, watch.response) == (False, DERATE)
    for _ in range(5):
        watch.update(True, 2.0 * load_pct, 20.0, 20.0 + way * 10.0, 1.0)

    assert (watch.fence.is_up, watch.response) == (False, DERATE)


def test_a_joint_that_carries_no_more_is_free_after_a_while_and_may_be_blocked_again() -> None:
    watch = stalled()
    watch.update(False, 40.0, 15.0, 21.0, TICK_S)
    watch.update(False, 5.0, 29.0, 30.0, STALL_CLEAR_S)
    watch.update(False, 5.0, 29.0, 30.0, TICK_S)
    assert watch.response is GO

    watch.update(True, 70.0, 29.0, 40.0, STALL_S)

    assert (watch.fence.is_up, watch.response) == (True, WARN)


def test_a_joint_that_is_pushed_back_without_load_stays_backed_off() -> None:
    watch = stalled()

    watch.update(False, CARRIES_LOAD_PCT, 10.0, 21.0, TICK_S)

    assert watch.fence.is_up


def test_a_joint_that_is_blocked_time_after_time_derates_until_it_is_free() -> None:
    watch = StallWatch()
    found: list[Response] = []
    for _ in range(STALLS_TO_DERATE):
        watch.update(True, 70.0, 20.0, 30.0, STALL_S)
        found.append(watch.response)
        watch.update(False, 5.0, 20.0, 21.0, STALL_RETRY_S)
        watch.update(False, 5.0, 20.0, 21.0, TICK_S)

    assert found == [WARN] * (STALLS_TO_DERATE - 1) + [DERATE]
    watch.update(False, 5.0, 25.0, 26.0, STALL_CLEAR_S + TICK_S)
    assert watch.response is GO


# --- grips ---------------------------------------------------------------------------------------


def gripping() -> GripWatch:
    """A gripper at 30 %, told to close to 20 % on something, at 39.1 % of duty."""
    watch = GripWatch()
    watch.update(-39.1, 0.0, 30.0, 20.0, SQUEEZE_S)
    return watch


def test_a_squeeze_is_loosened_after_a_while_and_not_before() -> None:
    watch = GripWatch()
    watch.update(-39.1, 0.0, 30.0, 20.0, SQUEEZE_S - 1e-6)
    assert not watch.fence.is_up

    watch.update(-39.1, 0.0, 30.0, 20.0, 1e-6)

    assert watch.fence.not_below_deg == pytest.approx(25.0)
    assert watch.fence.not_above_deg == math.inf


def test_a_gripper_that_opens_against_something_is_loosened_too() -> None:
    watch = GripWatch()
    watch.update(39.1, 0.0, 30.0, 40.0, SQUEEZE_S)

    assert watch.fence.not_above_deg == pytest.approx(35.0)
    assert watch.fence.not_below_deg == -math.inf


def test_it_is_loosened_further_once_the_first_time_showed() -> None:
    watch = gripping()
    watch.update(-30.0, 0.0, 30.0, 25.0, GRIP_SETTLE_S - TICK_S)
    assert watch.fence.not_below_deg == pytest.approx(25.0)

    watch.update(-30.0, 0.0, 30.0, 25.0, TICK_S + 1e-9)

    assert watch.fence.not_below_deg == pytest.approx(30.0 - 5.0 * 19.1 / 29.1)


def test_a_grip_is_kept_while_something_is_held() -> None:
    watch = gripping()

    for _ in range(1000):
        watch.update(-19.0, 0.0, 30.0, 25.0, TICK_S)

    assert watch.fence.not_below_deg == pytest.approx(25.0)


def test_a_grip_ends_when_the_gripper_is_told_to_open() -> None:
    watch = gripping()
    watch.update(-19.0, 0.0, 30.0, 25.0 + FENCE_LEFT_DEG, TICK_S)
    assert watch.fence.is_up

    watch.update(-19.0, 0.0, 30.0, 25.1 + FENCE_LEFT_DEG, TICK_S)

    assert not watch.fence.is_up


def test_a_grip_ends_when_nothing_is_held_any_more() -> None:
    watch = gripping()
    watch.update(-9.9, 0.0, 26.0, 25.0, GRIP_LOST_S)
    assert watch.fence.is_up

    watch.update(9.9, 0.0, 26.0, 25.0, TICK_S)

    assert not watch.fence.is_up


def test_a_grip_that_is_weak_for_a_moment_is_kept() -> None:
    watch = gripping()

    for load_pct in (-9.9, -10.0) * 20:
        watch.update(load_pct, 0.0, 26.0, 25.0, GRIP_LOST_S)

    assert watch.fence.is_up


def test_an_empty_gripper_is_not_a_grip_that_was_lost() -> None:
    watch = GripWatch()
    watch.update(0.0, 0.0, 30.0, 30.0, 10.0)
    watch.update(-39.1, 0.0, 30.0, 20.0, SQUEEZE_S)

    assert watch.fence.is_up
