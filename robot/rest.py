"""The walk to rest: a goal source that folds the arm up, wherever it is, clear of the table.

It freezes a moment, so that a person sees that the stop was heard, and then goes from the last goal
(not from where the arm sags to: that would let it dip) along a path laid out beforehand. It goes on
only as fast as the limits let the goals that are sent follow: an arm that is slow, held or backed
off comes to rest later, not higher up. The gripper keeps what it holds.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from robot.joint_sample import JointSample
from robot.joints import GRIPPER, Calibration, FloatVector
from robot.limit_rules import RANGE_MARGIN_DEG
from robot.loop import Goal
from robot.table import Floor

# Folded: the forearm leans on the shoulder, the fingers hover 34 mm over the table, and the arm
# stays put without torque. The five joints before the gripper; found with the twin.
REST_DEG = (0.0, -95.5, 94.5, 38.0, 0.0)
FREEZE_S = 0.2
SPEED_DEG_S = 60.0  # of the joint that has farthest to go
ACCELERATION_DEG_S2 = 200.0
# How much higher than the table the path stays where it starts higher: more than an arm that has
# half its torque sags.
CLEARANCE_M = 0.03
ARRIVED_DEG = 5.0  # a folded arm leans on itself, and may stay a little away from its goal
SETTLE_S = 1.0  # then it has had the time it may take
# The walk waits while a goal that was sent is farther behind; less than where a ramp ends.
LAG_DEG = 2.0
STUCK_S = 2.5  # waited for so long in one go: it is blocked; a stalled joint tries again sooner
LONGEST_S = 20.0  # of the whole, however slowly it goes
LONGEST_TICK_S = 0.1  # a loop that was held up for longer does not make up for it
_SPACING_DEG = 2.0  # between the points of the path
_ROOM_DEG = 4.0  # how far a joint goes from point to point where the path is lifted
_MOST_POINTS = 120  # the farthest way takes 98


class RestGoals:
    """A walk from one pose to the rest pose, at most 4 s long where nothing holds it up.

    Args:
        calibration: of the follower; the rest pose is clipped to its range.
        last_sent_deg: tells the last goal sent, six joints; None: none yet. The walk starts from
            there, or else from where the arm stands, and goes on when it is near enough.
        rest_deg: five joints, degrees.
        table_height_m: in the base frame; most arms stand on the table they work on.
    """

    def __init__(
        self,
        calibration: Calibration,
        last_sent_deg: Callable[[], FloatVector | None],
        rest_deg: Sequence[float] | None = None,
        table_height_m: float | None = None,
    ) -> None:
        low_deg, high_deg = calibration.range_deg
        wanted_deg = REST_DEG if rest_deg is None else rest_deg
        self._rest_deg = np.clip(wanted_deg, low_deg[:GRIPPER], high_deg[:GRIPPER])
        self._low_deg = low_deg[:GRIPPER] + RANGE_MARGIN_DEG  # no goal that is sent lies beyond
        self._high_deg = high_deg[:GRIPPER] - RANGE_MARGIN_DEG
        self._floor = Floor((table_height_m or 0.0) + CLEARANCE_M)
        self._last_sent_deg = last_sent_deg
        self._start_s: float | None = None
        self._last_s = 0.0  # of the last call
        self._waited_s = 0.0  # for goals that were behind, in all
        self._stuck_s = 0.0  # and without a break
        self.has_arrived = False
        self.is_done = False  # arrived, or has had the time it may take

    @property
    def duration_s(self) -> float:
        """How long the walk takes, once it has begun, where nothing holds it up."""
        return FREEZE_S + self._walk_s

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Return the place on the path that is next."""
        sent_deg = self._last_sent_deg()
        if self._start_s is None:
            self._start_s = self._last_s = now_s
            self._goal_deg = observed.position_deg if sent_deg is None else sent_deg
            self._lay_out(self._goal_deg)
        self._wait(sent_deg, now_s - self._last_s)
        self._last_s = now_s
        walked_s = now_s - self._start_s - FREEZE_S - self._waited_s
        self._goal_deg = self._at(travelled_deg(walked_s, self._length_deg))
        if walked_s >= self._walk_s:
            error_deg = np.abs(self._goal_deg - observed.position_deg)[:GRIPPER]
            self.has_arrived = bool(error_deg.max() <= ARRIVED_DEG)
        self.is_done = (
            self.has_arrived
            or walked_s >= self._walk_s + SETTLE_S
            or self._stuck_s > STUCK_S
            or now_s - self._start_s > LONGEST_S
        )
        return Goal(self._goal_deg, now_s)

    def _wait(self, sent_deg: FloatVector | None, passed_s: float) -> None:
        """Let the time that passed not count where the goals sent are behind the path."""
        if sent_deg is not None and self._lag_deg(sent_deg) <= LAG_DEG:
            self._stuck_s = 0.0
            self._waited_s += max(0.0, passed_s - LONGEST_TICK_S)
        else:
            self._stuck_s += passed_s
            self._waited_s += passed_s

    def _lag_deg(self, sent_deg: FloatVector) -> float:
        """Return how far what was sent is from what was asked, of the farthest joint."""
        possible_deg = np.clip(self._goal_deg[:GRIPPER], self._low_deg, self._high_deg)
        return float(np.abs(possible_deg - sent_deg[:GRIPPER]).max())

    def _lay_out(self, start_deg: FloatVector) -> None:
        """Lay the path, and how long it is."""
        end_deg = np.append(self._rest_deg, start_deg[GRIPPER])
        rows_deg = [start_deg, *self._way_round(start_deg, end_deg), end_deg]
        self._rows_deg: FloatVector = np.array(rows_deg)
        steps_deg = np.abs(np.diff(self._rows_deg, axis=0)).max(axis=1)
        self._places_deg = np.concatenate([[0.0], np.cumsum(steps_deg)])
        self._length_deg = float(self._places_deg[-1])
        self._walk_s = walk_s(self._length_deg)

    def _way_round(self, start_deg: FloatVector, end_deg: FloatVector) -> list[FloatVector]:
        """Return the points between, as straight as can be without coming near the table.

        None where no way was found, so that the path is straight: an arm that is folded into
        itself, which none is. The limits on the way still hold.
        """
        points: list[FloatVector] = []
        here_deg = start_deg
        for _ in range(_MOST_POINTS):
            way_deg = end_deg - here_deg
            farthest_deg = float(np.abs(way_deg).max())
            if farthest_deg <= _SPACING_DEG:
                return points
            straight_deg = here_deg + way_deg * (_SPACING_DEG / farthest_deg)
            here_deg = np.array(
                self._floor.lift(
                    straight_deg.tolist(),
                    here_deg.tolist(),
                    (here_deg - _ROOM_DEG).tolist(),
                    (here_deg + _ROOM_DEG).tolist(),
                )
            )
            points.append(here_deg)
        return []

    def _at(self, place_deg: float) -> FloatVector:
        columns: list[FloatVector] = list(self._rows_deg.T)
        return np.array(
            [float(np.interp(place_deg, self._places_deg, column)) for column in columns]
        )


def walk_s(length_deg: float) -> float:
    """Return how long a way takes: faster and faster, evenly, and slower and slower."""
    speed_up_deg = SPEED_DEG_S**2 / ACCELERATION_DEG_S2  # and slow down
    if length_deg < speed_up_deg:
        return 2.0 * math.sqrt(length_deg / ACCELERATION_DEG_S2)
    return length_deg / SPEED_DEG_S + SPEED_DEG_S / ACCELERATION_DEG_S2


def travelled_deg(walked_s: float, length_deg: float) -> float:
    """Return how much of a way is behind one after a time: 0 before it, all of it afterwards."""
    duration_s = walk_s(length_deg)
    if walked_s <= 0.0:
        return 0.0
    if walked_s > duration_s / 2.0:
        return length_deg - travelled_deg(duration_s - walked_s, length_deg)
    speed_up_s = SPEED_DEG_S / ACCELERATION_DEG_S2
    if walked_s < speed_up_s:
        return ACCELERATION_DEG_S2 * walked_s**2 / 2.0
    return ACCELERATION_DEG_S2 * speed_up_s * (walked_s - speed_up_s / 2.0)
