"""Jog the gripper with held keys: along the base's axes, tilt, roll, open and close.

Each tick turns the keys that count as held into a velocity (ramped, so that nothing starts or stops
with a jolt) and integrates it on the last goal asked, never on the measured position: a loaded
joint sags below its goal, and integrating the sag would make the arm creep. No key, no motion; what
a key is allowed to mean is `key_state`'s business, how the joints follow `jog_motion`'s.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robot.joint_sample import JointSample
from robot.joints import GRIPPER, JOINTS, FloatVector
from robot.kinematics import ArmKinematics
from robot.loop import Goal, Tick
from teleop.jog_motion import JogMotion
from teleop.key_map import JogAxis, jog_fractions

RISE_S = 0.25  # from rest to full speed
FALL_S = 0.05  # from full speed to rest: letting go must feel immediate, yet be no step in velocity
LONGEST_STEP_S = (
    0.05  # a tick that comes later than this moves no farther: a stalled loop must not lurch
)
RANGE_MARGIN_DEG = (
    1.0  # as robot/limits.py keeps free, so that the goal never runs ahead of what is sent
)
WIND_UP_DEG = 5.0  # farthest a goal asked may run ahead of the goal sent


class HeldKeys(Protocol):
    """What the jog needs of `key_state.KeyState`."""

    @property
    def confirmed_s(self) -> float:
        """Time of the newest proof that the keys are what `held` says."""
        ...

    def held(self, now_s: float) -> AbstractSet[str]:
        """Return the names of the keys that count as held."""
        ...


@dataclass(frozen=True, slots=True)
class JogSpeeds:
    """How fast each motion is at full speed."""

    linear_m_s: float = 0.08
    tilt_deg_s: float = 40.0
    roll_deg_s: float = 60.0
    gripper_pct_s: float = 80.0

    def velocity(self, fractions: FloatVector) -> FloatVector:
        """Scale fractions of full speed, shape (6,) as `JogAxis`, to m/s, rad/s and percent/s."""
        linear = self.linear_m_s
        tilt, roll = np.deg2rad(self.tilt_deg_s), np.deg2rad(self.roll_deg_s)
        full: FloatVector = np.array([linear, linear, linear, tilt, roll, self.gripper_pct_s])
        return fractions * full


class JogGoals:
    """A goal source driven by held keys; as a tick listener it learns what was sent."""

    def __init__(
        self,
        keys: HeldKeys,
        kinematics: ArmKinematics,
        range_deg: tuple[FloatVector, FloatVector],
        speeds: JogSpeeds | None = None,
    ) -> None:
        """Jog within `range_deg`: lower and upper end of each joint (`Calibration.range_deg`)."""
        margin_deg: FloatVector = np.full(len(JOINTS), RANGE_MARGIN_DEG)
        margin_deg[GRIPPER] = 0.0
        self._keys = keys
        self._low_deg = range_deg[0] + margin_deg
        self._high_deg = range_deg[1] - margin_deg
        self._motion = JogMotion(kinematics, self._low_deg, self._high_deg)
        self._speeds = speeds or JogSpeeds()
        self._fractions: FloatVector = np.zeros(len(JogAxis))
        self._goal_deg: FloatVector | None = None
        self._last_s = 0.0
        self.blocked = ""  # why the motion asked for does not happen, for the console

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Return the next goal, as old as the display's last sign of life; the first: stay."""
        if self._goal_deg is None:
            self._goal_deg = np.clip(observed.position_deg, self._low_deg, self._high_deg)
            self._last_s = now_s
        step_s = min(now_s - self._last_s, LONGEST_STEP_S)
        self._last_s = now_s
        self._fractions = ramp(self._fractions, jog_fractions(self._keys.held(now_s)), step_s)
        self.blocked = ""
        if self._fractions.any():
            step = self._motion.step(self._goal_deg, self._speeds.velocity(self._fractions), step_s)
            self._goal_deg, self.blocked = step.position_deg, step.blocked
        return Goal(position_deg=self._goal_deg.copy(), made_s=min(now_s, self._keys.confirmed_s))

    def on_tick(self, tick: Tick) -> None:
        """Stay near what was really sent: a goal held back by a limit must not wind up."""
        if self._goal_deg is not None:
            self._goal_deg = np.clip(
                self._goal_deg, tick.sent_deg - WIND_UP_DEG, tick.sent_deg + WIND_UP_DEG
            )


def ramp(fractions: FloatVector, wanted: FloatVector, step_s: float) -> FloatVector:
    """Move fractions of full speed towards those wanted: gently from rest, quickly to it."""
    is_slowing = (np.abs(wanted) < np.abs(fractions)) | (wanted * fractions < 0)
    largest = step_s / np.where(is_slowing, FALL_S, RISE_S)
    return fractions + np.clip(wanted - fractions, -largest, largest)
