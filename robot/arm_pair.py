"""Leader and follower as one arm to the loop, so that both buses work at the same time.

Each arm has its own adapter: both requests leave before either reply is awaited, and the pair takes
as long as the slower of the two.
"""

from collections.abc import Callable

from robot.arm import Follower, Leader
from robot.clock import Clock
from robot.errors import So101Error
from robot.health import Finding
from robot.joint_sample import JointSample
from robot.joints import SERVO_IDS, FloatVector
from robot.packets import BYTE_S
from robot.torque import TorqueStates

# The follower says 13 bytes a servo more than the leader. Asked so much later (less a wake-up),
# both are done together, and the goal is made of where the hand is, not of where it was.
LEADER_LATER_S = 13 * len(SERVO_IDS) * BYTE_S - 80e-6


class ArmPair:
    """A follower that is driven, and the leader that is read with it on every tick."""

    def __init__(self, leader: Leader, follower: Follower) -> None:
        self.leader = leader
        self.follower = follower
        self._leader_sample: JointSample | None = None
        self._leader_error: So101Error | None = None

    @property
    def torque_state(self) -> TorqueStates:
        """The follower's, as last read back."""
        return self.follower.torque_state

    def read(self) -> JointSample:
        """Read both arms at once; return the follower's sample and keep the leader's.

        What is wrong with the leader is told to whoever asks for its sample: without a leader the
        follower can still walk to rest.

        Raises:
            NotConnected: the follower's port went away.
        """
        self._leader_error = None
        self.follower.request()
        clock = self.follower.clock
        clock.sleep_until(clock.now_s() + LEADER_LATER_S)
        try:
            self.leader.request()
        except So101Error as error:
            self._leader_error = error
        sample = self.follower.collect()
        if self._leader_error is None:
            try:
                self._leader_sample = self.leader.collect()
            except So101Error as error:
                self._leader_error = error
        return sample

    def read_leader(self) -> JointSample:
        """Return the leader's sample of the newest `read`; asks the bus only before the first.

        Raises:
            NotConnected: the leader's port went away. ServoTimeout: a servo of it stays silent.
        """
        if self._leader_error is not None:
            raise self._leader_error
        if self._leader_sample is None:
            self._leader_sample = self.leader.read()
        return self._leader_sample

    def torque_on(self) -> None:
        """Power the follower where it stands; see `Follower.torque_on`."""
        self.follower.torque_on()

    def send_deg(self, goal_deg: FloatVector) -> None:
        """Write six goals to the follower."""
        self.follower.send_deg(goal_deg)

    def restore_power(self) -> tuple[Finding, ...]:
        """Set up joints of the follower again that had lost their power."""
        return self.follower.restore_power()

    def set_torque_limit_pct(self, limit_pct: float) -> None:
        """Limit the follower's torque, percent of stall torque."""
        self.follower.set_torque_limit_pct(limit_pct)

    def sink(self, clock: Clock, is_off_wanted: Callable[[], bool] = lambda: False) -> None:
        """Let the follower sink."""
        self.follower.sink(clock, is_off_wanted)

    def reconnect(self) -> bool:
        """Find the follower's adapter again if it went."""
        return self.follower.reconnect()

    def release(self) -> TorqueStates:
        """Take the follower's torque off and say the states; never raises."""
        return self.follower.release()
