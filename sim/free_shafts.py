"""Six joints that are nothing but inertia and friction: an arm without a world, cheap to step.

For the mock bus and for tests of faults, where what matters is that a servo turns, stalls or falls
still, not where gravity would take it. Figures are those of the world (`world.py`).
"""

import numpy as np

from robot.joints import SERVO_IDS, FloatVector
from sim.servo import ServoBank

STEP_S = 0.002
# As docs/provenance.md, "servo friction": STS3215 with gear 1:345.
_COULOMB_NM = 0.15
_VISCOUS_NM_S = 0.059
_INERTIA_KG_M2 = 0.0284
_HELD_BACK_STEPS = 100  # computed at a stretch; time beyond that is let go


class FreeShafts:
    """The joints of one bank, stepped to a time by whoever owns the clock.

    The bank must have been made with `step_s=STEP_S`. `position_rad` and `velocity_rad_s` have
    shape (6,).
    """

    def __init__(self, bank: ServoBank, now_s: float) -> None:
        self.position_rad: FloatVector = np.zeros(len(SERVO_IDS))
        self.velocity_rad_s: FloatVector = np.zeros(len(SERVO_IDS))
        self._bank = bank
        self._now_s = now_s
        self._stick_rad_s = _COULOMB_NM / _INERTIA_KG_M2 * STEP_S  # what friction takes in a step

    def advance(self, now_s: float) -> None:
        """Step to the last whole step that is not after `now_s`."""
        due = int((now_s - self._now_s) / STEP_S + 1e-6)
        self._now_s += due * STEP_S
        for _ in range(min(due, _HELD_BACK_STEPS)):
            self._step()

    def _step(self) -> None:
        torque_nm = self._bank.step(self.position_rad, self.velocity_rad_s)
        accelerated = self.velocity_rad_s + STEP_S / _INERTIA_KG_M2 * (
            torque_nm - _VISCOUS_NM_S * self.velocity_rad_s
        )
        slower = np.maximum(np.abs(accelerated) - self._stick_rad_s, 0.0)
        self.velocity_rad_s = np.copysign(slower, accelerated)
        self.position_rad += STEP_S * self.velocity_rad_s
