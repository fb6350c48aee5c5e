"""How the servos are: findings, and what they ask of the loop. The rules are H2's, under way."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from robot.joint_sample import JointSample
from robot.joints import FloatVector


class Response(IntEnum):
    """What a finding asks of the loop, mildest first."""

    GO = 0
    WARN = 1  # say it and go on
    DERATE = 2  # go on slowly
    HOLD = 3  # keep the last goal until it clears
    STOP = 4  # come to rest and let go


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one joint."""

    joint: str
    kind: str
    response: Response
    sentence: str


@dataclass(frozen=True, slots=True)
class Health:
    """How six servos are on one tick."""

    response: Response  # of the worst finding
    speed_factor: float  # 1.0, less when derated
    yielding: NDArray[np.bool_]  # shape (6,): joints whose goal becomes the present position
    findings: tuple[Finding, ...]  # all that hold now
    news: tuple[Finding, ...]  # those that began with this tick


GOOD = Health(Response.GO, 1.0, np.zeros(6, dtype=np.bool_), (), ())


class HealthMonitor:
    """Join the rules and their timers."""

    def judge(self, observed: JointSample, sent_deg: FloatVector | None, now_s: float) -> Health:
        """Return how six servos are."""
        return GOOD
