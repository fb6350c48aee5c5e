"""Follower and leader: degrees in and out, and a torque state that is always known.

An arm here is opened on a bus, checked against its calibration, configured by difference, and
released on every way out. `release` never raises: it broadcasts torque-off twice and reads every
servo back, so that it can say of each joint: off (read back), on (read back), or not reachable.
"""

import contextlib
from collections.abc import Callable

import numpy as np

from robot.arm_setup import (
    check_calibration,
    check_servos,
    configure,
    read_return_delays_s,
)
from robot.bus import ServoBus, joint_name
from robot.clock import Clock
from robot.errors import CalibrationMismatch, NotConnected, ServoTimeout, So101Error
from robot.health import Finding
from robot.joint_reader import JointReader
from robot.joint_sample import JointSample
from robot.joints import SERVO_IDS, Calibration, FloatVector, deg_to_ticks
from robot.power import GLITCH_S, PowerWatch
from robot.power_on import power_on
from robot.replug import Reopen, find_arm, take_over
from robot.torque import TorqueState, TorqueStates, release_torque, telling_torque
from robot.torque_limits import TorqueLimits

# A leader's servo that is silent for longer ends the loop; the follower's are the health monitor's.
SILENCE_LIMIT_S = 0.5


class Leader:
    """An arm that a person moves: torque off, positions only read."""

    def __init__(
        self, bus: ServoBus, calibration: Calibration, return_delays_s: float | None = None
    ) -> None:
        self.bus = bus
        self.calibration = calibration
        self._reader = JointReader(
            bus, calibration, "leader", is_position_only=True, return_delays_s=return_delays_s
        )

    @classmethod
    def open(cls, bus: ServoBus, calibration: Calibration) -> "Leader":
        """Take torque off, then check the servos and the calibration."""
        state = release_torque(bus)
        with telling_torque(lambda: state):
            check_servos(bus, "leader")
            check_calibration(bus, calibration, "leader")
        leader = cls(bus, calibration, read_return_delays_s(bus))
        leader._reader.prime()
        if not state.is_off:
            raise ServoTimeout(_did_not_let_go("leader", bus, state))
        return leader

    def request(self) -> None:
        """Ask for positions and return at once; `collect` waits for them."""
        self._reader.request()

    def collect(self) -> JointSample:
        """Return the sample asked for: positions and times, the rest is NaN.

        Raises:
            ServoTimeout: a servo has been silent for too long.
        """
        sample = self._reader.collect()
        for index, servo_id in enumerate(SERVO_IDS):
            if self._reader.silent_s(index) > SILENCE_LIMIT_S:
                raise ServoTimeout(
                    f"{joint_name(servo_id)} of the leader on {self.bus.port.name} stays silent: "
                    "check its plug and the power, then start again"
                )
        return sample

    def read(self) -> JointSample:
        """Return the newest sample of all six joints; see `collect`."""
        self.request()
        return self.collect()

    def release(self) -> TorqueStates:
        """Take torque off and say the states; never raises."""
        return release_torque(self.bus)


class Follower:
    """An arm that this program moves.

    Use as a context: leaving it takes torque off, whatever happened.
    """

    def __init__(self, bus: ServoBus, calibration: Calibration, clock: Clock) -> None:
        self.calibration = calibration
        self.clock = clock
        self.torque_state = TorqueStates.of_all(TorqueState.UNREACHABLE)
        self._reopen: Reopen | None = None
        self._low = calibration.range_min_ticks
        self._high = calibration.range_max_ticks
        self._driven: frozenset[int] = frozenset()  # servo ids whose torque we turned on
        self.bus = bus
        # `configure` leaves all return delays at 0.
        self._reader = JointReader(bus, calibration, "follower", return_delays_s=0.0)
        self._power = PowerWatch(bus, calibration)
        self._limits = TorqueLimits(bus)

    @classmethod
    def open(
        cls,
        bus: ServoBus,
        calibration: Calibration,
        clock: Clock,
        reopen: Reopen | None = None,
    ) -> "Follower":
        """Take torque off, check the servos and the calibration, and configure what differs.

        Torque goes first: a killed program may have left it on, and an arm that is refused is
        not left powered.

        Args:
            bus: the follower's.
            calibration: of this arm.
            clock: tells the time.
            reopen: looks for the adapter anew and opens it, after it went away; raises
                NotConnected as long as it is not there.

        Raises:
            NotConnected, CalibrationMismatch: see `arm_setup`.
            ServoTimeout: a servo does not answer, or torque cannot be read back as off.
        """
        state = release_torque(bus)
        with telling_torque(lambda: state):
            check_servos(bus, "follower")
            check_calibration(bus, calibration, "follower")
        follower = cls(bus, calibration, clock)
        follower._reopen = reopen
        if not follower.release().is_off:
            raise ServoTimeout(_did_not_let_go("follower", bus, follower.torque_state))
        configure(bus)
        follower._reader.prime()
        return follower

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    # Power ----------------------------------------------------------------------------------------

    def torque_on(self) -> None:
        """Power the joints where they stand, at their full torque limit.

        The stale goal register is overwritten before torque comes on, and the first sample that
        the loop can see is of after it. A joint a little outside its range, which the servo would
        drive inside at full speed, goes there slowly.

        Raises:
            CalibrationMismatch: a joint stands far outside its range; nothing was powered.
            ServoTimeout: a servo did not take its goal or torque; torque is off again everywhere
            (see `torque_state`).
        """
        with telling_torque(lambda: self.torque_state):
            try:
                power_on(self.bus, self.calibration, self.clock)
                self._reader.prime()
            except So101Error:
                self.release()
                raise
        self._limits.note_full()
        self.torque_state = TorqueStates.of_all(TorqueState.ON)
        self._driven = frozenset(SERVO_IDS)
        self._power.suspects.clear()

    def set_torque_limit_pct(self, limit_pct: float) -> None:
        """Limit the torque of every joint, percent of its stall torque; the gripper's stays lower.

        Raises:
            NotConnected: the port went away.
        """
        self._limits.set_pct(limit_pct)

    def sink(self, clock: Clock, is_off_wanted: Callable[[], bool] = lambda: False) -> None:
        """Lower the torque limit step by step to nothing: a raised arm sinks and does not fall."""
        self._limits.sink(clock, is_off_wanted)

    def restore_power(self) -> tuple[Finding, ...]:
        """Set up joints again that had lost their power, and say which; mostly none.

        Call on every tick, after the goals have left.

        Raises:
            JointLost: a joint came back with another EEPROM than it had.
            NotConnected: the port went away.
        """
        if not self._driven:
            return ()
        is_back = any(
            not self._reader.is_silent(SERVO_IDS.index(servo_id))
            for servo_id in self._power.suspects
        )
        return self._power.look(is_back, self._limits.counts)

    def release(self) -> TorqueStates:
        """Take torque off, read it back, and say the states; never raises.

        No goal leaves after it: one alone would turn torque on again. An adapter that is gone is
        looked for once.
        """
        self._driven = frozenset()
        self.torque_state = release_torque(self.bus)
        if not self.bus.port.is_there():
            with contextlib.suppress(CalibrationMismatch):
                if self._look_again():
                    self.torque_state = release_torque(self.bus)
        return self.torque_state

    # The loop -------------------------------------------------------------------------------------

    def request(self) -> None:
        """Ask all servos and return at once; `collect` waits for the answers."""
        self._reader.request()

    def collect(self) -> JointSample:
        """Return the sample asked for; a silent servo keeps its last values and their time."""
        sample = self._reader.collect()
        for index, servo_id in enumerate(SERVO_IDS):
            if self._reader.silent_s(index) > GLITCH_S:
                self._power.suspect(servo_id)
        return sample

    def read(self) -> JointSample:
        """Return the newest sample of all six joints.

        Raises:
            NotConnected: the port went away. PortBusy: somebody else talks on this bus.
        """
        self.request()
        return self.collect()

    def send_deg(self, goal_deg: FloatVector) -> None:
        """Write six goals, rounded to ticks and clipped to the calibrated range.

        A joint that is not powered, or has been silent, gets none: a goal would turn its torque on.
        """
        ticks = np.clip(deg_to_ticks(goal_deg, self.calibration), self._low, self._high).tolist()
        self.bus.write_goals(ticks, self._driven - self._power.suspects)

    # A cable that was pulled ----------------------------------------------------------------------

    def reconnect(self) -> bool:
        """Find the adapter again if it went; False while it is not there.

        The servos kept their torque and their last goal meanwhile. An arm that is driven gets its
        present position as goal and goes on; one that is not is let go of, see `torque_state`.

        Raises:
            CalibrationMismatch: another arm is there now; nothing was written to it.
            JointLost: it is back, and a joint does not answer or has no torque while others have.
        """
        if self.bus.port.is_there():
            return True
        if not self._look_again():
            return False
        if not self._driven:
            self.release()
            return True
        try:
            self._driven &= take_over(self.bus, self.calibration, self._driven)
        except NotConnected:
            return False  # gone again
        return True

    def _look_again(self) -> bool:
        """Look for the adapter once, and go on over it; nothing is written before it is this arm.

        Raises:
            CalibrationMismatch: another arm is there.
        """
        self.bus.close()
        bus = None if self._reopen is None else find_arm(self._reopen, self.calibration)
        if bus is None:
            return False
        self.bus = bus
        self._reader.go_on(bus)
        self._limits.go_on(bus)
        self._power = PowerWatch(bus, self.calibration)
        return True


def _did_not_let_go(arm_name: str, bus: ServoBus, states: TorqueStates) -> str:
    return (
        f"the {arm_name} on {bus.port.name} did not let go (torque {states}): "
        "power it off and on, then start again"
    )
