"""Follower and leader: degrees in and out, and a torque state that is always known.

An arm here is opened on a bus, checked against its calibration, configured by difference, and
released on every way out. `release` never raises: it broadcasts torque-off twice and reads every
servo back, so that it can say one of two things: off (read back), or not reachable: cut the power.
"""

import numpy as np

from robot.arm_setup import check_calibration, check_servos, configure
from robot.bus import BlockRead, BlockReply, ServoBus, joint_name
from robot.clock import Clock
from robot.errors import CalibrationMismatch, ServoTimeout, So101Error
from robot.health import Finding
from robot.joint_sample import JointSample
from robot.joints import (
    DEG_PER_TICK,
    GRIPPER,
    JOINTS,
    SERVO_IDS,
    Calibration,
    FloatVector,
    TickVector,
    deg_to_ticks,
    ticks_to_deg,
)
from robot.registers import (
    GOAL_POSITION,
    LOCK,
    PRESENT_POSITION,
    STATE_BLOCK,
    TORQUE_ENABLE,
    decode_sign_magnitude,
)

TORQUE_OFF = "off (read back)"
TORQUE_ON = "on (read back)"
TORQUE_UNKNOWN = "not reachable: cut the power"

MA_PER_COUNT = 6.5
FIRST_READ_TRIES = 10
# The follower holds its last goal meanwhile; then the loop ends and releases it.
SILENCE_LIMIT_S = 0.5
# A joint that stands farther outside its range is not powered: a servo drives straight into its
# limits. Less than the play of a joint and the width of a sweep's hand is let pass.
OUTSIDE_LIMIT_DEG = 2.0


class JointReader:
    """Turn block replies into joint samples.

    A servo that was silent keeps its last value, with its old time.
    """

    def __init__(self, bus: ServoBus, calibration: Calibration, arm_name: str) -> None:
        self._bus = bus
        self._calibration = calibration
        self._arm_name = arm_name
        self._block = BlockRead(STATE_BLOCK, SERVO_IDS)
        count = len(SERVO_IDS)
        self._ticks: TickVector = np.zeros(count, dtype=np.int64)
        self._raw = np.zeros((4, count))  # velocity, load, voltage, temperature
        self._current = np.zeros(count)
        self._status = [0] * count
        self._time_s: FloatVector = np.full(count, -np.inf)
        # Per joint, when it first missed a read since it was last heard: a joint that nobody asked
        # is not silent.
        self._silent_since_s: list[float | None] = [None] * count
        low, high = calibration.range_min_ticks, calibration.range_max_ticks
        self._units_per_tick = np.full(count, DEG_PER_TICK)
        self._units_per_tick[GRIPPER] = 100.0 / (high[GRIPPER] - low[GRIPPER])

    def prime(self) -> None:
        """Read until every servo was heard: no sample ever holds a value that nobody sent.

        Raises:
            ServoTimeout: a servo was never heard.
        """
        reply = self._bus.read_block(self._block)
        for _ in range(FIRST_READ_TRIES - 1):
            if len(reply.data) == len(SERVO_IDS):
                break
            reply = self._bus.read_block(self._block)
        silent = [joint_name(servo_id) for servo_id in SERVO_IDS if servo_id not in reply.data]
        if silent:
            raise ServoTimeout(
                f"{', '.join(silent)} of the {self._arm_name} on {self._bus.port.name} "
                "gave no state: check the plug"
            )
        self._take(reply)

    def request(self) -> None:
        """Ask all servos; returns at once."""
        self._bus.request(self._block)

    def collect(self) -> JointSample:
        """Wait for the answers; raises ServoTimeout when a servo has been silent for too long."""
        return self._take(self._bus.collect(self._block))

    def _take(self, reply: BlockReply) -> JointSample:
        for index, servo_id in enumerate(SERVO_IDS):
            data = reply.data.get(servo_id)
            if data is None:
                self._check_silence(index, reply.time_s)
                continue
            position, velocity, load, current = (
                int.from_bytes(data[start : start + 2], "little") for start in (0, 2, 4, 13)
            )
            self._ticks[index] = decode_sign_magnitude(position, 15)
            self._raw[0, index] = decode_sign_magnitude(velocity, 15)
            self._raw[1, index] = decode_sign_magnitude(load, 10) / 10
            self._raw[2, index] = data[6] / 10
            self._raw[3, index] = data[7]
            self._current[index] = decode_sign_magnitude(current, 15) * MA_PER_COUNT
            self._status[index] = reply.status[servo_id]
            self._time_s[index] = reply.time_s
            self._silent_since_s[index] = None
        return JointSample(
            time_s=self._time_s.copy(),
            position_deg=ticks_to_deg(self._ticks, self._calibration),
            velocity_deg_s=self._raw[0] * self._units_per_tick,
            load_pct=self._raw[1].copy(),
            voltage_v=self._raw[2].copy(),
            temperature_celsius=self._raw[3].copy(),
            current_ma=self._current.copy(),
            status=tuple(self._status),
        )

    def _check_silence(self, index: int, now_s: float) -> None:
        since_s = self._silent_since_s[index]
        if since_s is None:
            self._silent_since_s[index] = now_s
        elif now_s - since_s > SILENCE_LIMIT_S:
            raise ServoTimeout(
                f"{joint_name(SERVO_IDS[index])} of the {self._arm_name} on {self._bus.port.name} "
                "stays silent: check its plug and the power, then start again"
            )


class Leader:
    """An arm that a person moves: torque off, positions only read."""

    def __init__(self, bus: ServoBus, calibration: Calibration) -> None:
        self.bus = bus
        self.calibration = calibration
        self._reader = JointReader(bus, calibration, "leader")

    @classmethod
    def open(cls, bus: ServoBus, calibration: Calibration) -> "Leader":
        """Take torque off, then check the servos and the calibration."""
        state = release_torque(bus)
        check_servos(bus, "leader")
        check_calibration(bus, calibration, "leader")
        leader = cls(bus, calibration)
        leader._reader.prime()
        if state != TORQUE_OFF:
            raise ServoTimeout(_did_not_let_go("leader", bus, state))
        return leader

    def read(self) -> JointSample:
        """Return the newest sample of all six joints."""
        self._reader.request()
        return self._reader.collect()

    def release(self) -> str:
        """Take torque off and say the state; never raises."""
        return release_torque(self.bus)


class Follower:
    """An arm that this program moves.

    Use as a context: leaving it takes torque off, whatever happened.
    """

    def __init__(self, bus: ServoBus, calibration: Calibration, clock: Clock) -> None:
        self.bus = bus
        self.calibration = calibration
        self.clock = clock
        self.torque_state = TORQUE_UNKNOWN
        self._reader = JointReader(bus, calibration, "follower")
        self._low = calibration.range_min_ticks
        self._high = calibration.range_max_ticks

    @classmethod
    def open(cls, bus: ServoBus, calibration: Calibration, clock: Clock) -> "Follower":
        """Take torque off, check the servos and the calibration, and configure what differs.

        Torque goes first: a killed program may have left it on, and an arm that is refused is
        not left powered.

        Raises:
            NotConnected, CalibrationMismatch: see `arm_setup`.
            ServoTimeout: a servo does not answer, or torque cannot be read back as off.
        """
        release_torque(bus)
        check_servos(bus, "follower")
        check_calibration(bus, calibration, "follower")
        follower = cls(bus, calibration, clock)
        if follower.release() != TORQUE_OFF:
            raise ServoTimeout(_did_not_let_go("follower", bus, follower.torque_state))
        configure(bus)
        follower._reader.prime()
        return follower

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def torque_on(self) -> None:
        """Power the joints where they stand.

        The stale goal register is overwritten before torque comes on, and the first sample that
        the loop can see is of after it.

        Raises:
            CalibrationMismatch: a joint stands outside its range; nothing was powered.
            ServoTimeout: a servo did not take its goal or torque; torque is off again everywhere
            (see `torque_state`).
        """
        try:
            self._check_inside()
            for servo_id in SERVO_IDS:
                present = self.bus.read(servo_id, PRESENT_POSITION)
                joint = self.calibration.joints[servo_id - 1]
                goal = min(max(present, joint.range_min), joint.range_max)
                self.bus.write_verified(servo_id, GOAL_POSITION, goal)
                self.bus.write_verified(servo_id, TORQUE_ENABLE, 1)
                self.bus.write(servo_id, LOCK, 1)
            self._reader.prime()
        except So101Error:
            self.release()
            raise
        self.torque_state = TORQUE_ON

    def _check_inside(self) -> None:
        """Refuse joints that would jump into their range when powered, before any is."""
        outside: list[str] = []
        for name, joint in zip(JOINTS, self.calibration.joints, strict=True):
            present = self.bus.read(joint.id, PRESENT_POSITION)
            out_deg = max(joint.range_min - present, present - joint.range_max) * DEG_PER_TICK
            if out_deg > OUTSIDE_LIMIT_DEG:
                outside.append(f"{name} stands {out_deg:.0f}° outside")
        if outside:
            raise CalibrationMismatch(
                f"the follower on {self.bus.port.name}: {', '.join(outside)} its calibrated range: "
                "move it inside by hand, then start again"
            )

    def read(self) -> JointSample:
        """Return the newest sample of all six joints.

        Raises:
            ServoTimeout: a servo stays silent.
        """
        self._reader.request()
        return self._reader.collect()

    def send_deg(self, goal_deg: FloatVector) -> None:
        """Write six goals, rounded to ticks and clipped to the calibrated range."""
        ticks = np.clip(deg_to_ticks(goal_deg, self.calibration), self._low, self._high)
        self.bus.write_goals(ticks.tolist())

    def restore_power(self) -> tuple[Finding, ...]:
        """Set up joints again that had lost their power, and say which; mostly none."""
        return ()

    def release(self) -> str:
        """Take torque off, read it back, and say the state; never raises."""
        self.torque_state = release_torque(self.bus)
        return self.torque_state


def _did_not_let_go(arm_name: str, bus: ServoBus, state: str) -> str:
    return (
        f"the {arm_name} on {bus.port.name} did not let go (torque {state}): "
        "power it off and on, then start again"
    )


def release_torque(bus: ServoBus) -> str:
    """Broadcast torque-off twice, read every servo back, and return the state; never raises."""
    is_off = True
    try:
        bus.broadcast_torque_off()
    except So101Error:
        return TORQUE_UNKNOWN
    for servo_id in bus.ids:
        try:
            if bus.read(servo_id, TORQUE_ENABLE) != 0:
                bus.write(servo_id, TORQUE_ENABLE, 0)
                is_off &= bus.read(servo_id, TORQUE_ENABLE) == 0
        except So101Error:
            is_off = False
    return TORQUE_OFF if is_off else TORQUE_UNKNOWN
