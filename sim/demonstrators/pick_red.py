"""A scripted person who picks the red block with the leader in hand.

The hand moves the *leader*; the demonstration then passes through the same bus, loop, limits and
recorder as a person's. It knows where the block is (it may look at the world) and watches the
follower (`steady_hand`). Speed, path and aim vary from a seed.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robot.joints import GRIPPER, FloatVector
from robot.kinematics import (
    RANGE_MAX_RAD,
    RANGE_MIN_RAD,
    ArmKinematics,
    deg_to_model_rad,
    model_rad_to_deg,
)
from sim.demonstrators.steady_hand import SteadyHand
from sim.hands import row_at
from sim.tasks.pick_red import HELD_S, HeldUp
from sim.world import FollowerWorld

# In the gripper body, midway between the open jaws: as much room on either side of the block, which
# the moving jaw then pushes against the fixed one.
GRASP_POINT_M = np.array([0.0145, 0.0, -0.095])
WRIST_ROLL = 4

RISE_M = np.array([0.205, 0.0, 0.085])  # the first move, out of the fold
HOVER_HEIGHT_M = 0.072  # of the grasp point, while aiming
GRASP_HEIGHT_M = 0.016  # while closing: the fingertips are 5 mm above the table
LIFT_HEIGHT_M = 0.11
SCATTER_M = np.array(
    [0.008, 0.01, 0.008]
)  # of the first move; the aim itself scatters by AIM_SCATTER_M
AIM_SCATTER_M = 0.0015
# A person arrives beside the block and corrects by eye; a learner needs to see such corrections,
# since its own arrivals are never exact.
ARRIVAL_SCATTER_M = np.array([0.008, 0.008, 0.005])
ARRIVAL_TWIST_RAD = np.deg2rad(5.0)
SPACING_M = 0.008  # between the points of a straight line

OPEN_RAD = math.radians(30.0)  # 57 mm between the jaws, a good two blocks wide
SQUEEZE_RAD = math.radians(-0.5)  # a 25 mm block stops the jaw at 6.5 degrees: 7 degrees of squeeze

SPEED_M_S = (0.17, 0.25)
TURN_RAD_S = (math.radians(85.0), math.radians(110.0))  # no joint is swung faster than this
CLOSE_S = (0.35, 0.5)
GRIP_S = 0.25  # from closed jaws to lifting
AIM_TOLERANCE_M = 0.008  # over the block
TOLERANCE_M = 0.004  # around it
PATIENCE_S = 0.8  # a person does not wait for ever for the arm to creep into place
HOLD_S = HELD_S + 0.1  # a little longer than the task asks for
GIVE_UP_S = 12.0


class _Phase(IntEnum):
    APPROACH = 0
    AIM = 1
    DESCEND = 2
    SETTLE = 3
    CLOSE = 4
    LIFT = 5


@dataclass(frozen=True, slots=True)
class _Line:
    """A course through joint space, timed."""

    times_s: FloatVector  # shape (N,), from 0
    points_rad: FloatVector  # shape (N, 6)

    def at(self, elapsed_s: float) -> FloatVector:
        return row_at(self.times_s, self.points_rad, elapsed_s)


class PickRedDemonstrator:
    """A `Hand` for the leader: one attempt at picking the red block of `world`.

    `done` once the block has been up for `HOLD_S`, or when the attempt was given up
    (`has_given_up`).
    """

    def __init__(self, world: FollowerWorld, seed: int) -> None:
        self.done = False
        self.has_given_up = False
        self._world = world
        self._kinematics = ArmKinematics()
        self._rng = np.random.default_rng(seed)
        self._phase = _Phase.APPROACH
        self._start_s: float | None = None
        self._phase_s = 0.0
        self._held_up = HeldUp(world, HOLD_S)

    def target_rad(
        self, now_s: float, own_rad: FloatVector, follower_rad: FloatVector
    ) -> FloatVector:
        """Return where the hand holds the leader now; it never lets go, not even when done."""
        if self._start_s is None:
            self._start_s = self._phase_s = now_s
            self._hand = SteadyHand(own_rad, self._rng)
            self._plan(own_rad)
        while self._is_phase_over(now_s, follower_rad):
            self._phase = _Phase(self._phase + 1)
            self._phase_s = now_s
        wished = self._lines[self._phase].at(now_s - self._phase_s)
        self._judge(now_s)
        target = self._hand.leader_rad(wished, follower_rad, self._world.gravity_nm())
        return np.clip(target, RANGE_MIN_RAD, RANGE_MAX_RAD)

    def _plan(self, start_rad: FloatVector) -> None:
        """Lay out the whole attempt from where the arm is and where the block lies."""
        rng = self._rng
        speed_m_s = rng.uniform(*SPEED_M_S)
        block = self._world.block_position_m("red")
        aim = block[:2] + AIM_SCATTER_M * rng.uniform(-1, 1, 2)
        rise = RISE_M + SCATTER_M * rng.uniform(-1, 1, 3)
        rise[1] += rng.uniform(0.2, 0.5) * aim[1]
        self._hover_m = np.append(aim, HOVER_HEIGHT_M + rng.uniform(-0.006, 0.006))
        self._grasp_m = np.append(aim, GRASP_HEIGHT_M)
        lift_m = np.append(aim, LIFT_HEIGHT_M)

        open_rad = np.array(start_rad)
        open_rad[GRIPPER] = OPEN_RAD
        hover = self._joints(self._hover_m, self._rolled(self._joints(self._hover_m, open_rad)))
        rising = self._joints(rise, self._half_rolled(open_rad, hover))
        arrival_m = self._hover_m + ARRIVAL_SCATTER_M * rng.uniform(-1, 1, 3)
        arrival = self._joints(arrival_m, hover)
        arrival[WRIST_ROLL] += ARRIVAL_TWIST_RAD * rng.uniform(-1, 1)
        approach = np.array([start_rad, rising, arrival, hover])
        points = np.array([self._point(row) for row in approach])
        legs_s = np.maximum(
            np.linalg.norm(np.diff(points, axis=0), axis=1) / speed_m_s,
            np.abs(np.diff(approach, axis=0)).max(axis=1) / rng.uniform(*TURN_RAD_S),
        )
        down = self._straight(self._hover_m, self._grasp_m, hover)
        closed = down[-1].copy()
        closed[GRIPPER] = SQUEEZE_RAD
        up = self._straight(self._grasp_m, lift_m, closed)
        close_s = rng.uniform(*CLOSE_S)
        self._lines = {
            _Phase.APPROACH: _Line(np.concatenate([[0.0], np.cumsum(legs_s)]), approach),
            _Phase.AIM: _still(hover),
            _Phase.DESCEND: _even(down, abs(self._hover_m[2] - GRASP_HEIGHT_M) / (0.7 * speed_m_s)),
            _Phase.SETTLE: _still(down[-1]),
            _Phase.CLOSE: _Line(
                np.array([0.0, close_s, close_s + GRIP_S]), np.array([down[-1], closed, closed])
            ),
            _Phase.LIFT: _even(up, (LIFT_HEIGHT_M - GRASP_HEIGHT_M) / (0.8 * speed_m_s)),
        }

    def _is_phase_over(self, now_s: float, follower_rad: FloatVector) -> bool:
        if self._phase is _Phase.LIFT:
            return False
        elapsed_s = now_s - self._phase_s
        if self._phase is _Phase.AIM:
            error = (self._point(follower_rad) - self._hover_m)[:2]
            return elapsed_s > PATIENCE_S or float(np.linalg.norm(error)) < AIM_TOLERANCE_M
        if self._phase is _Phase.SETTLE:
            error = self._point(follower_rad) - self._grasp_m
            return elapsed_s > PATIENCE_S or float(np.linalg.norm(error)) < TOLERANCE_M
        return bool(elapsed_s >= self._lines[self._phase].times_s[-1])

    def _judge(self, now_s: float) -> None:
        self._held_up.look(now_s)
        self.done = self.done or self._held_up.is_reached
        if self._start_s is not None and now_s - self._start_s > GIVE_UP_S and not self.done:
            self.has_given_up = self.done = True

    def _joints(self, point_m: FloatVector, near_rad: FloatVector) -> FloatVector:
        """Return joints that bring the grasp point there, fingers down if the wrist allows."""
        solution = self._kinematics.inverse(
            point_m, model_rad_to_deg(near_rad), point_m=GRASP_POINT_M
        )
        return deg_to_model_rad(solution.position_deg)

    def _point(self, joints_rad: FloatVector) -> FloatVector:
        gripper = self._kinematics.gripper_body(model_rad_to_deg(joints_rad))
        point: FloatVector = gripper.position_m + gripper.rotation @ GRASP_POINT_M
        return point

    def _rolled(self, joints_rad: FloatVector) -> FloatVector:
        """Turn the wrist until the jaws close square on the block's nearest pair of faces."""
        closing = self._kinematics.gripper_body(model_rad_to_deg(joints_rad)).rotation[:, 0]
        turn = self._world.block_yaw_rad("red") - np.arctan2(closing[1], closing[0])
        rolled = joints_rad.copy()
        rolled[WRIST_ROLL] += (turn + np.pi / 4) % (np.pi / 2) - np.pi / 4
        return rolled

    def _half_rolled(self, joints_rad: FloatVector, hover_rad: FloatVector) -> FloatVector:
        half = joints_rad.copy()
        half[WRIST_ROLL] = (half[WRIST_ROLL] + hover_rad[WRIST_ROLL]) / 2
        return half

    def _straight(
        self, from_m: FloatVector, to_m: FloatVector, near_rad: FloatVector
    ) -> FloatVector:
        """Return joints along a straight line of the grasp point, shape (N, 6)."""
        count = max(2, round(float(np.linalg.norm(to_m - from_m)) / SPACING_M))
        rows = [near_rad]
        for share in np.linspace(0, 1, count + 1)[1:]:
            rows.append(self._joints(from_m + share * (to_m - from_m), rows[-1]))
        return np.array(rows)


def _still(joints_rad: FloatVector) -> _Line:
    return _Line(np.array([0.0, 1.0]), np.array([joints_rad, joints_rad]))


def _even(rows_rad: FloatVector, duration_s: float) -> _Line:
    return _Line(np.linspace(0.0, duration_s, len(rows_rad), dtype=np.float64), rows_rad)
