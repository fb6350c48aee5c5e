import numpy as np
import pytest

from record.replay import ReplayGoals
from robot.errors import ConfigError
from robot.joint_sample import JointSample
from robot.joints import FloatVector

TIMES_S = np.array([50.0, 50.5, 51.0])
GOALS_DEG = np.array([[0.0] * 6, [10.0] * 6, [30.0] * 6])


def at(position_deg: FloatVector) -> JointSample:
    zero = np.zeros(6)
    return JointSample(zero, position_deg, zero, zero, zero, zero, zero, (0,) * 6)


def test_follows_time_not_ticks() -> None:
    replay = ReplayGoals(TIMES_S, GOALS_DEG)
    there = at(np.zeros(6))

    given = [
        replay.goal(there, now_s).position_deg[0] for now_s in (200.0, 200.25, 200.5, 200.9, 201.0)
    ]

    np.testing.assert_allclose(given, [0.0, 5.0, 10.0, 26.0, 30.0])


def test_is_finished_after_the_last_goal_and_holds_it() -> None:
    replay = ReplayGoals(TIMES_S, GOALS_DEG)
    there = at(np.zeros(6))
    replay.goal(there, 0.0)
    replay.goal(there, 0.99)
    before = replay.finished

    late = replay.goal(there, 7.0)

    assert (before, replay.finished) == (False, True)
    assert replay.progress == 1.0
    np.testing.assert_array_equal(late.position_deg, np.full(6, 30.0))


def test_waits_at_the_first_goal_until_the_follower_is_there() -> None:
    replay = ReplayGoals(TIMES_S, GOALS_DEG, start_tolerance_deg=2.0)
    for now_s in (0.0, 1.0, 2.0):
        np.testing.assert_array_equal(replay.goal(at(np.full(6, 20.0)), now_s).position_deg, 0.0)

    replay.goal(at(np.full(6, 1.5)), 3.0)

    np.testing.assert_allclose(replay.goal(at(np.full(6, 9.0)), 3.5).position_deg, 10.0)


def test_begins_without_the_follower_after_the_timeout() -> None:
    replay = ReplayGoals(TIMES_S, GOALS_DEG, start_timeout_s=1.0)
    far = at(np.full(6, 90.0))
    replay.goal(far, 0.0)
    replay.goal(far, 1.0)

    assert replay.goal(far, 1.5).position_deg[0] == 10.0


def test_an_episode_of_one_goal_is_refused() -> None:
    with pytest.raises(ConfigError, match="two goals"):
        ReplayGoals(TIMES_S[:1], GOALS_DEG[:1])
