"""How a practised person holds a leader so that the *follower* goes where it should.

A raised follower sags by several degrees at LeRobot's gain (P = 16) and trails the leader by more
than a tenth of a second. People hold the leader higher where the arm is heavy, watch the follower,
and take out what error is left; they also round off corners and tremble a little. This is that, as
numbers.
"""

from collections import deque

import numpy as np

from robot.joints import GRIPPER, FloatVector

PERIOD_S = 0.01  # how often a hand is asked

# Nm/rad of the follower's position law at P = 16 and 6.5 V: kt/R * V * P/4000 * 4096/(2 pi).
SERVO_STIFFNESS_NM = 7.7
LAG_S = 0.14  # how far the follower trails behind
INTEGRAL_HZ = 2.0  # share of the error a person takes out per second
CORRECTION_LIMIT_RAD = np.deg2rad(12.0)
CORNER_RAD_S = 12.0  # a critically damped course of this frequency round every corner
TREMOR_RAD = np.deg2rad(0.12)
TREMOR_HZ = (0.6, 2.5)
TAKE_UP_S = 0.6  # time over which the weight of the arm is felt and answered


class SteadyHand:
    """Turns wished follower joints into leader joints, 100 times a second; radians, shape (6,)."""

    def __init__(self, start_rad: FloatVector, rng: np.random.Generator) -> None:
        self._position: FloatVector = np.array(start_rad)
        self._velocity: FloatVector = np.zeros(6)
        self._past: deque[FloatVector] = deque(maxlen=round(LAG_S / PERIOD_S))
        self._correction: FloatVector = np.zeros(6)
        self._elapsed_s = 0.0
        self._tremor_rad_s = 2 * np.pi * rng.uniform(*TREMOR_HZ, (2, 6))
        self._tremor_phase = rng.uniform(0, 2 * np.pi, (2, 6))

    def leader_rad(
        self, wished_rad: FloatVector, follower_rad: FloatVector, gravity_nm: FloatVector
    ) -> FloatVector:
        """Return where to hold the leader now.

        Args:
            wished_rad: where the follower shall be; corners and jumps are rounded off here.
            follower_rad: where it is.
            gravity_nm: torque its joints need against their own weight.
        """
        pull = CORNER_RAD_S**2 * (wished_rad - self._position) - 2 * CORNER_RAD_S * self._velocity
        self._velocity += PERIOD_S * pull
        self._position = self._position + PERIOD_S * self._velocity
        self._past.append(self._position)
        # The follower cannot be where the hand is now: compare it with where the hand was.
        error = self._past[0] - follower_rad
        error[GRIPPER] = 0.0  # jaws are meant to be stopped by what they hold
        self._correction = np.clip(
            self._correction + INTEGRAL_HZ * PERIOD_S * error,
            -CORRECTION_LIMIT_RAD,
            CORRECTION_LIMIT_RAD,
        )
        self._elapsed_s += PERIOD_S
        take_up = min(1.0, self._elapsed_s / TAKE_UP_S)
        sag = gravity_nm / SERVO_STIFFNESS_NM
        sag[GRIPPER] = 0.0
        tremor = TREMOR_RAD * np.sin(self._tremor_rad_s * self._elapsed_s + self._tremor_phase).sum(
            axis=0
        )
        leader: FloatVector = self._position + self._correction + take_up * (sag + tremor)
        return leader
