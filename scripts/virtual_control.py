"""The loop right here, for a twin in virtual time: what the control process does in real time.

Nothing else may run beside a virtual clock, so nothing is lost by having no process. A virtual arm
needs no walk to rest: nobody minds that it drops.
"""

import os
from collections.abc import Callable, Sequence

from robot.arm import Follower, Leader
from robot.health import HealthMonitor
from robot.joint_sample import JointSample
from robot.joints import SERVO_IDS
from robot.limits import GoalLimiter
from robot.loop import GoalSource, TickListener, run_control_loop
from robot.messages import Facts
from robot.registers import NAMES
from robot.torque import TorqueStates
from teleop.leader import LeaderGoals

GAINS = ("P_Coefficient", "I_Coefficient", "D_Coefficient")


class VirtualControl:
    """An `ArmControl` over an arm and a loop of this process."""

    def __init__(
        self, follower: Follower, leader: Leader | None, limiter: GoalLimiter, rate_hz: float
    ) -> None:
        low_deg, high_deg = follower.calibration.range_deg
        self.facts = Facts(
            control_pid=os.getpid(),
            guard_pid=0,
            follower_sha256=follower.calibration.sha256,
            leader_sha256="" if leader is None else leader.calibration.sha256,
            low_deg=low_deg,
            high_deg=high_deg,
            gains={name: [follower.bus.read(i, NAMES[name]) for i in SERVO_IDS] for name in GAINS},
            realtime=(),
        )
        self._follower = follower
        self._leader = None if leader is None else LeaderGoals(leader)
        self._limiter = limiter
        self._rate_hz = rate_hz

    def observe(self) -> JointSample:
        """Read the follower."""
        return self._follower.read()

    def torque_on(self) -> None:
        """Power the joints where they stand."""
        self._follower.torque_on()

    def rearm(self) -> None:
        """Ramp again from where the follower stands."""
        self._limiter.rearm()

    def drive(
        self,
        source: GoalSource | None = None,
        *,
        listeners: Sequence[TickListener],
        should_stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> TorqueStates:
        """Run the loop until told to stop, and let go where the arm stands."""
        del say  # it has nothing to say
        goals = self._leader if source is None else source
        assert goals is not None, "without a leader a drive needs a source"
        self._limiter.rearm()
        run_control_loop(
            arm=self._follower,
            source=goals,
            monitor=HealthMonitor(),
            limiter=self._limiter,
            listeners=listeners,
            rate_hz=self._rate_hz,
            clock=self._follower.clock,
            should_stop=should_stop,
        )
        return self.off()

    def stop(self) -> TorqueStates:
        """Let go."""
        return self.off()

    def off(self) -> TorqueStates:
        """Let go and read back."""
        return self._follower.release()
