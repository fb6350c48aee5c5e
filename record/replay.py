"""Play a recorded episode on the arm: a goal source that follows the sent goals against time.

By time, not by tick: a loop at another rate, or one that lost slots, still moves as fast as the
recording. The clock starts when the follower has reached the first goal, through the start ramp of
the limits, so the beginning is never skipped.
"""

import numpy as np

from record.journal_reader import Journal
from robot.errors import ConfigError
from robot.joint_sample import JointSample
from robot.joints import FloatVector
from robot.loop import Goal

START_TOLERANCE_DEG = (
    6.0  # gravity sag at P = 16 is 2 to 3 degrees (20 to 30 steps at 10 % of stall)
)
START_TIMEOUT_S = 5.0  # then play on: the limits still hold every step


class ReplayGoals:
    """Goals of one episode, interpolated at the time since its first goal."""

    def __init__(
        self,
        times_s: FloatVector,
        goals_deg: FloatVector,
        *,
        start_tolerance_deg: float = START_TOLERANCE_DEG,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """Follow `goals_deg` (n, 6), each in force from `times_s` (n,), increasing."""
        if len(times_s) < 2:
            raise ConfigError("an episode with fewer than two goals cannot be replayed")
        self._times_s = times_s - times_s[0]
        self._goals_deg = goals_deg
        self._start_tolerance_deg = start_tolerance_deg
        self._start_timeout_s = start_timeout_s
        self._first_call_s: float | None = None
        self._start_s: float | None = None
        self._played_s = 0.0

    @classmethod
    def from_journal(cls, journal: Journal) -> "ReplayGoals":
        """Follow what was sent in a recorded episode."""
        return cls(journal.goals.sent_s, journal.goals.sent_deg)

    @property
    def duration_s(self) -> float:
        """Return the length of the recording."""
        return float(self._times_s[-1])

    @property
    def progress(self) -> float:
        """Return how much has been played, 0 to 1; 0 while the arm walks to the first goal."""
        return min(self._played_s / self.duration_s, 1.0)

    @property
    def finished(self) -> bool:
        """Say whether the last goal has been given."""
        return self._played_s >= self.duration_s

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Return this tick's goal: the first until the follower is there, then by time."""
        if self._first_call_s is None:
            self._first_call_s = now_s
        if self._start_s is None and self._is_ready(observed, now_s - self._first_call_s):
            self._start_s = now_s
        if self._start_s is not None:
            self._played_s = now_s - self._start_s
        columns = [
            np.interp(self._played_s, self._times_s, self._goals_deg[:, joint])
            for joint in range(6)
        ]
        return Goal(position_deg=np.array(columns, dtype=np.float64), made_s=now_s)

    def _is_ready(self, observed: JointSample, waited_s: float) -> bool:
        distance_deg = float(np.abs(observed.position_deg - self._goals_deg[0]).max())
        return distance_deg <= self._start_tolerance_deg or waited_s >= self._start_timeout_s
