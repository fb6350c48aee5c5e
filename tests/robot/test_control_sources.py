"""What control puts between a source and the loop: goals that are held, in virtual time."""

import numpy as np
import pytest

from robot.control_sources import HeldWhileSilent, StreamedGoals
from robot.errors import ControlLost
from robot.health import GOOD
from robot.joint_sample import JointSample
from robot.joints import SERVO_IDS, Calibration, JointCalibration
from robot.limits import GoalLimiter
from robot.loop import Goal
from robot.messages import GoalAsked
from robot.session_pulse import HOLD_AFTER_S, REST_AFTER_S

PERIOD_S = 0.01


def sample(position_deg: float = 1.0) -> JointSample:
    zeros = np.zeros(6)
    here = np.full(6, position_deg)
    return JointSample(zeros, here, zeros, zeros, zeros, zeros, zeros, (0,) * 6)


class Stream:
    """Stands for the goals that come, and keeps what was published."""

    def __init__(self) -> None:
        self.published: list[float] = []
        self.coming: GoalAsked | None = None

    def publish(self, observed: JointSample, now_s: float) -> None:
        self.published.append(now_s)

    def take(self) -> GoalAsked | None:
        goal, self.coming = self.coming, None
        return goal


class Moving:
    """A source that moves, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        self.asked += 1
        return Goal(np.full(6, 20.0), now_s)


def test_before_the_first_goal_the_arm_is_asked_to_stay_and_the_goal_is_stale() -> None:
    stream = Stream()
    source = StreamedGoals(stream.publish, stream.take)

    goal = source.goal(sample(7.0), 1.0)

    assert goal.position_deg.tolist() == [7.0] * 6
    assert goal.made_s == -float("inf")
    assert stream.published == [1.0]


def test_the_newest_goal_is_kept_with_its_time() -> None:
    stream = Stream()
    source = StreamedGoals(stream.publish, stream.take)
    stream.coming = GoalAsked(1, 0.9, np.full(6, 3.0))

    first = source.goal(sample(), 1.0)
    second = source.goal(sample(), 1.01)

    assert first.position_deg.tolist() == second.position_deg.tolist() == [3.0] * 6
    assert first.made_s == second.made_s == 0.9


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_session_that_beats_but_gives_no_goals_ends_the_drive(has_begun: bool) -> None:
    stream = Stream()
    source = StreamedGoals(stream.publish, stream.take)
    if has_begun:
        stream.coming = GoalAsked(1, 0.0, np.zeros(6))
    source.goal(sample(), 0.0)

    source.goal(sample(), REST_AFTER_S)
    with pytest.raises(ControlLost, match="no goal for 5 s"):
        source.goal(sample(), REST_AFTER_S + 0.001)


@pytest.mark.parametrize(
    ("silence_s", "is_asked"),
    [(0.0, True), (HOLD_AFTER_S, True), (HOLD_AFTER_S + 1e-9, False), (float("inf"), False)],
)
def test_a_source_is_asked_only_while_the_session_beats(silence_s: float, is_asked: bool) -> None:
    moving = Moving()
    silences = [0.0, silence_s]
    source = HeldWhileSilent(moving, lambda _now_s: silences.pop(0))
    first = source.goal(sample(), 1.0)

    second = source.goal(sample(), 2.0)

    assert moving.asked == 1 + is_asked
    assert second.made_s == (2.0 if is_asked else first.made_s)


def test_the_arm_stands_still_while_the_session_is_silent_and_ramps_afterwards() -> None:
    calibration = Calibration(tuple(JointCalibration(i, 0, 0, 700, 3396) for i in SERVO_IDS))
    limiter = GoalLimiter(calibration, rate_hz=1 / PERIOD_S, max_speed_deg_s=270.0)
    silence_s = [0.0]
    source = HeldWhileSilent(Moving(), lambda _now_s: silence_s[0])
    now_s = 0.0
    position = sample(0.0)
    sent: list[float] = []
    for turn in range(400):
        silence_s[0] = max(0.0, (turn - 20) * PERIOD_S) if turn < 300 else 0.0
        goal = source.goal(position, now_s)
        sent.append(float(limiter.limit(goal, position, GOOD, now_s)[0]))
        position = sample(sent[-1])
        now_s += PERIOD_S

    # Silent from turn 20 on: goals end at turn 71, and are stale 0.3 s later.
    assert len(set(sent[110:300])) == 1
    assert limiter.last_sent_deg is not None
    assert max(np.abs(np.diff(sent))) < 1.0  # the resume is a ramp, never a jump
    assert sent[-1] == pytest.approx(20.0, abs=0.1)
